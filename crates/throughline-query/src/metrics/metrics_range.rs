//! The times of the samples of a query.

/// The times of the samples.
#[derive(Debug, Clone, Copy)]
pub struct MetricsRange {
    /// Start of the first step, in nanoseconds since the Unix epoch.
    pub start: u64,
    /// Length of a step in nanoseconds.
    pub step: u64,
    /// Number of steps.
    pub steps: u64,
}

// === impl MetricsRange ===

impl MetricsRange {
    /// Creates the steps that cover the time from `start` to `end`; they end at multiples of
    /// `step`.
    #[must_use]
    pub fn covering(start: u64, end: u64, step: u64) -> Self {
        let step = step.max(1);
        let first = start / step * step;
        let length = end.max(start.saturating_add(1)).saturating_sub(first);
        Self {
            start: first,
            step,
            steps: length.div_ceil(step),
        }
    }

    /// Creates one step.
    #[must_use]
    pub fn instant(start: u64, end: u64) -> Self {
        Self {
            start,
            step: end.saturating_sub(start).max(1),
            steps: 1,
        }
    }

    /// Returns the end of the last step.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.start
            .saturating_add(self.step.saturating_mul(self.steps))
    }

    /// Returns the step that contains a time.
    pub(super) fn step_of(&self, time: u64) -> Option<usize> {
        let after = time.checked_sub(self.start)?.checked_sub(1)?;
        let step = after / self.step.max(1);
        (step < self.steps).then(|| usize::try_from(step).ok())?
    }

    pub(super) fn time_of(&self, step: usize) -> u64 {
        let steps = (step as u64).saturating_add(1);
        self.start.saturating_add(self.step.saturating_mul(steps))
    }

    pub(super) fn step_count(&self) -> usize {
        usize::try_from(self.steps).unwrap_or(usize::MAX)
    }
}
