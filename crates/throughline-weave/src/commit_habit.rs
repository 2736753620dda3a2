//! Whether the commits of a process cover all records that it is done with.

/// Commits that leave out a record which is done, and commits, that are taken as given before any
/// was seen.
const PRIOR: (f64, f64) = (0.1, 2.0);
/// Leaving one out is never ruled out.
const LEAST: f64 = 0.01;

/// How often commits left out a record that its consumer was done with. Most consumers commit all
/// that they have handled; some lag behind by design.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CommitHabit {
    commits: f64,
    lagging: f64,
}

// === impl CommitHabit ===

impl CommitHabit {
    /// Returns the probability that a commit leaves out a record that is done.
    pub(crate) fn left_out(self) -> f64 {
        let (lagging, commits) = PRIOR;
        ((self.lagging + lagging) / (self.commits + commits)).max(LEAST)
    }

    /// Records a commit that left a record out with this probability.
    pub(crate) fn observe(&mut self, left_out: f64) {
        self.commits += 1.0;
        self.lagging += left_out;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn habit_is_learned_both_ways() {
        let mut prompt = CommitHabit::default();
        let mut lagging = CommitHabit::default();
        assert!((0.02..0.1).contains(&prompt.left_out()));
        for _ in 0..8 {
            prompt.observe(0.0);
            lagging.observe(1.0);
        }
        assert!(prompt.left_out() < 0.02);
        assert!(lagging.left_out() > 0.7);
        (0..1_000).for_each(|_| prompt.observe(0.0));
        assert!(prompt.left_out() >= LEAST);
    }
}
