//! When the handling of a record is over.

/// Visits after which what was learned live before fades for the first time; then twice as many,
/// and so on.
pub(crate) const FIRST_FADE: f64 = 24.0;
pub(crate) const FADE: f64 = 0.4;

/// Probability that a record is done before its first call, and the number of records that this
/// stands for.
const FRESH_PRIOR: f64 = 0.1;
const FRESH_STRENGTH: f64 = 0.7;
/// The same after a call. Consumers do the same for each record, as a rule: the first few that are
/// done after a call say much about the next.
const CALLED_PRIOR: f64 = 0.5;
const CALLED_STRENGTH: f64 = 0.06;

/// How often the handling of a record was over after a history, and how often it was not.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DoneCount {
    done: f64,
    went_on: f64,
    /// Records that were learned from live, ever, and those after which older ones fade.
    live: f64,
    fade_at: f64,
}

// === impl DoneCount ===

impl Default for DoneCount {
    fn default() -> Self {
        Self {
            done: 0.0,
            went_on: 0.0,
            live: 0.0,
            fade_at: FIRST_FADE,
        }
    }
}

impl DoneCount {
    pub(crate) const fn counts(&self) -> (f64, f64) {
        (self.done, self.went_on)
    }

    pub(crate) fn add(&mut self, done: bool, weight: f64) {
        if done {
            self.done += weight;
        } else {
            self.went_on += weight;
        }
    }

    pub(crate) fn scale(&mut self, factor: f64) {
        self.done *= factor;
        self.went_on *= factor;
    }

    /// Forgets the first records once there are more: they were learned from guesses.
    pub(crate) fn fade(&mut self, weight: f64) {
        self.live += weight;
        if self.live >= self.fade_at {
            self.fade_at *= 2.0;
            self.scale(FADE);
        }
    }

    /// Returns the probability that a record is done; `recent` are counts that are not added yet.
    pub(crate) fn probability(&self, recent: (f64, f64), is_fresh: bool) -> f64 {
        let (prior, strength) = if is_fresh {
            (FRESH_PRIOR, FRESH_STRENGTH)
        } else {
            (CALLED_PRIOR, CALLED_STRENGTH)
        };
        let (done, went_on) = (self.done + recent.0, self.went_on + recent.1);
        let share = (done + prior * strength) / (done + went_on + strength);
        share.clamp(1e-4, 1.0 - 1e-4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consumer_that_never_passes_a_record_over_is_soon_expected_to_go_on_so() {
        let mut count = DoneCount::default();
        let passed_over = |count: &DoneCount| count.probability((0.0, 0.0), true);
        assert!(passed_over(&count) > 0.05);
        (0..20).for_each(|_| count.add(false, 1.0));
        assert!(passed_over(&count) < 0.005);
        assert!(count.probability((0.0, 200.0), true) < passed_over(&count));
    }

    #[test]
    fn restored_counts_do_not_fade_at_the_first_record() {
        let mut count = DoneCount::default();
        count.add(true, 50.0);
        count.add(true, 1.0);
        count.fade(1.0);
        assert_eq!(count.counts(), (51.0, 0.0));
    }
}
