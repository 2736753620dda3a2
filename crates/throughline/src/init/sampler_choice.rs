//! The choice of a sampler.

/// The sampler of new traces.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct SamplerChoice {
    /// Whether the decision of the parent takes precedence.
    pub(crate) parent_based: bool,
    /// The ratio of recorded traces, 0 to 1.
    pub(crate) ratio: f64,
}

// === impl SamplerChoice ===

impl SamplerChoice {
    /// The default of OpenTelemetry: `parentbased_always_on`.
    pub(crate) const DEFAULT: Self = Self {
        parent_based: true,
        ratio: 1.0,
    };
}
