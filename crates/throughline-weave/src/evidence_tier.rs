//! The kinds of evidence, from exact to likely.

/// The kind of evidence that decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EvidenceTier {
    /// The message named its parent.
    Exact,
    /// Nothing else was possible.
    Proven,
    /// Rare values that both messages share.
    Tokens,
    /// The order of a request's steps: others in flight could not have made this call then.
    Structure,
    /// Others could have made the call, but not likely at this moment.
    Timing,
}

// === impl EvidenceTier ===

impl EvidenceTier {
    /// All tiers, the strongest first.
    pub const ALL: [Self; 5] = [
        Self::Exact,
        Self::Proven,
        Self::Tokens,
        Self::Structure,
        Self::Timing,
    ];

    /// Returns the name of the tier in attributes and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Proven => "proven",
            Self::Tokens => "tokens",
            Self::Structure => "structure",
            Self::Timing => "timing",
        }
    }
}
