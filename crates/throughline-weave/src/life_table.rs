//! Life tables: when a request in a given state makes its next step, and which.
//!
//! A table counts, over logarithmic bins of the time since the clock of the state started, the
//! steps that were taken and the requests that left without one (censored). The hazard of a step is
//! its count over the requests still at risk, as in survival analysis; repeats, retries, skips and
//! branches need no case of their own.

use std::ops::Range;

use crate::event::Nanos;

/// Bins of every table.
pub(crate) const BINS: usize = 216;
/// Bins per doubling of the gap.
const BINS_PER_OCTAVE: f64 = 8.0;
/// The gap that no table resolves, whatever the clock.
const MIN_RESOLUTION_NS: Nanos = 10_000;
/// Pseudo-requests that a table takes over from the coarser one.
const PRIOR_REQUESTS: f64 = 1.5;
/// Narrowest and widest smoothing, in bins.
const BANDWIDTH: (f64, f64) = (0.8, 8.0);
/// Deviation that is expected of the gaps of a step, in bins, and the number of gaps that this
/// stands for: that the first few are alike does not show that all are.
const PRIOR_SPREAD: (f64, f64) = (8.0, 2.0);
/// Bins over which an unseen step is thought possible.
const PRIOR_BINS: usize = 160;

/// Share of steps that a stall of the process delays, for however long: a garbage collection, or a
/// processor that others use. That a table has seen none does not rule them out.
const STALLED_SHARE: f64 = 0.01;
/// Bins over which a stalled step is spread, at least.
const STALLED_BINS: usize = 8;

/// A step of a request: a call by the index of its kind, or the end.
pub(crate) type Step = u32;
/// The response of a request.
pub(crate) const END: Step = Step::MAX;

/// The failure of a call.
pub(crate) const FAILURE: Step = Step::MAX - 1;

/// Logarithmic bins of a gap.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GapScale {
    resolution_ns: f64,
}

/// Place of a gap on the scale.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GapBin {
    pub(crate) index: usize,
    /// Position inside the bin, from 0 to 1.
    pub(crate) fraction: f64,
}

/// Counts of one state.
#[derive(Debug, Clone, Default)]
pub(crate) struct LifeTable {
    /// Requests that left without a step, per bin.
    pub(crate) censored: Vec<f32>,
    /// Steps, per bin.
    pub(crate) steps: Vec<(Step, Vec<f32>)>,
    /// Requests that entered.
    pub(crate) visits: f64,
}

/// Hazards of one state, computed from its table and the coarser one.
#[derive(Debug, Clone, Default)]
pub(crate) struct HazardCurve {
    /// Hazards per second.
    steps: Vec<(Step, Vec<f32>)>,
    /// The hazard of a step never seen in this state.
    unseen: Vec<f32>,
    /// Hazard of all steps together, accumulated up to the start of each bin.
    cumulative: Vec<f32>,
}

/// Expectations that stand in for counts: smoothed counts of the coarser table, per request.
#[derive(Debug, Clone)]
pub(crate) struct StepPrior {
    steps: Vec<(Step, Vec<f64>)>,
    /// One unseen kind, and their number.
    unseen: Vec<f64>,
    unseen_kinds: f64,
    censored: Vec<f64>,
}

/// Masses of the steps of a request about which nothing is known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PriorMass {
    pub(crate) call: f64,
    pub(crate) end: f64,
    /// The kind made last, which is less likely to come next.
    pub(crate) last: Option<Step>,
    pub(crate) repeat: f64,
    /// Kinds of calls of the process.
    pub(crate) kinds: usize,
}

// === impl GapScale ===

impl GapScale {
    pub(crate) fn new(clock_tick_ns: Nanos) -> Self {
        Self {
            resolution_ns: clock_tick_ns.max(MIN_RESOLUTION_NS) as f64,
        }
    }

    pub(crate) fn bin(self, gap_ns: Nanos) -> GapBin {
        let gap = gap_ns.max(0) as f64;
        let position = BINS_PER_OCTAVE * (1.0 + gap / self.resolution_ns).log2();
        let index = (position as usize).min(BINS - 1);
        GapBin {
            index,
            fraction: (position - index as f64).min(1.0),
        }
    }

    /// Returns a gap in the middle of a bin.
    pub(crate) fn gap_of(self, bin: usize) -> Nanos {
        let ticks = ((bin as f64 + 0.5) / BINS_PER_OCTAVE).exp2() - 1.0;
        (ticks * self.resolution_ns) as Nanos
    }

    /// Seconds that a bin covers, never fewer than the clock resolves.
    fn width_s(self, bin: usize) -> f64 {
        let edge = |bin: usize| (bin as f64 / BINS_PER_OCTAVE).exp2() - 1.0;
        let ticks = (edge(bin + 1) - edge(bin)).max(1.0);
        ticks * self.resolution_ns * 1e-9
    }
}

// === impl LifeTable ===

impl LifeTable {
    pub(crate) fn add_step(&mut self, bin: usize, step: Step, weight: f64) {
        let known = self.steps.iter().position(|(known, _)| *known == step);
        let index = known.unwrap_or_else(|| {
            self.steps.push((step, vec![0.0; BINS]));
            self.steps.len() - 1
        });
        let counts = &mut self.steps[index].1;
        counts[bin] += weight as f32;
        self.visits += weight;
    }

    pub(crate) fn add_censored(&mut self, bin: usize, weight: f64) {
        if self.censored.is_empty() {
            self.censored = vec![0.0; BINS];
        }
        self.censored[bin] += weight as f32;
        self.visits += weight;
    }

    /// Adds a request that left with a step, or without one.
    pub(crate) fn add(&mut self, bin: usize, step: Option<Step>, weight: f64) {
        match step {
            Some(step) => self.add_step(bin, step, weight),
            None => self.add_censored(bin, weight),
        }
    }

    /// Returns all counts: step, bin and count.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (Option<Step>, usize, f32)> {
        let steps = self
            .steps
            .iter()
            .map(|(step, counts)| (Some(*step), counts));
        steps
            .chain([(None, &self.censored)])
            .flat_map(|(step, counts)| {
                let counts = counts.iter().enumerate();
                counts.map(move |(bin, count)| (step, bin, *count))
            })
    }

    pub(crate) fn count(&self, step: Step) -> f64 {
        self.steps
            .iter()
            .filter(|(known, _)| *known == step)
            .flat_map(|(_, counts)| counts)
            .map(|count| f64::from(*count))
            .sum()
    }

    pub(crate) fn scale(&mut self, factor: f64) {
        let factor32 = factor as f32;
        for counts in self.steps.iter_mut().map(|(_, counts)| counts) {
            counts.iter_mut().for_each(|count| *count *= factor32);
        }
        self.censored
            .iter_mut()
            .for_each(|count| *count *= factor32);
        self.visits *= factor;
    }

    /// Smooths the table, adds `prior` for [`PRIOR_REQUESTS`] requests, and returns the sums.
    /// Unseen steps weigh `unseen_weight` times as much.
    fn blend(&self, prior: &StepPrior, unseen_weight: f64) -> StepPrior {
        let unseen_requests = PRIOR_REQUESTS * unseen_weight;
        let mut steps: Vec<(Step, Vec<f64>)> = Vec::with_capacity(prior.steps.len() + 1);
        let mut unseen_kinds = prior.unseen_kinds;
        for (step, expected) in &prior.steps {
            steps.push((
                *step,
                expected.iter().map(|mass| mass * PRIOR_REQUESTS).collect(),
            ));
        }
        for (step, counts) in &self.steps {
            let smoothed = smooth(counts);
            let index = match steps.iter().position(|(known, _)| known == step) {
                Some(index) => index,
                None => {
                    unseen_kinds -= 1.0;
                    let share = prior.unseen.iter().map(|mass| mass * unseen_requests);
                    steps.push((*step, share.collect()));
                    steps.len() - 1
                }
            };
            for (sum, count) in steps[index].1.iter_mut().zip(smoothed) {
                *sum += count;
            }
            let (stalled, count) = stalled(counts);
            for sum in &mut steps[index].1[stalled] {
                *sum += count;
            }
        }
        let mut censored: Vec<f64> = prior.censored.iter().map(|c| c * PRIOR_REQUESTS).collect();
        if !self.censored.is_empty() {
            for (sum, count) in censored.iter_mut().zip(smooth(&self.censored)) {
                *sum += count;
            }
        }
        StepPrior {
            steps,
            unseen: prior
                .unseen
                .iter()
                .map(|mass| mass * unseen_requests)
                .collect(),
            unseen_kinds: unseen_kinds.max(0.0),
            censored,
        }
    }

    /// Returns the expectations of one request for a finer table.
    pub(crate) fn as_prior(&self, ignorance: &StepPrior) -> StepPrior {
        let mut sums = self.blend(ignorance, 1.0);
        sums.normalize(self.visits + PRIOR_REQUESTS);
        sums
    }

    /// Returns the same, but a step that no visit has shown stays as likely as before the first.
    /// The visits of this table are those of the finer ones, which must not count twice.
    pub(crate) fn as_cautious_prior(&self, ignorance: &StepPrior) -> StepPrior {
        let mut sums = self.as_prior(ignorance);
        sums.unseen.clone_from(&ignorance.unseen);
        for (step, masses) in &mut sums.steps {
            let expected = ignorance.steps.iter().find(|(known, _)| known == step);
            if *step != END
                && self.count(*step) == 0.0
                && let Some((_, expected)) = expected
            {
                masses.clone_from(expected);
            }
        }
        sums
    }

    /// Returns the hazards. Of the visits, `proven` show that no other step was taken.
    pub(crate) fn curve(&self, prior: &StepPrior, proven: f64, scale: GapScale) -> HazardCurve {
        let unseen_weight = (self.visits + PRIOR_REQUESTS) / (proven + PRIOR_REQUESTS);
        self.blend(prior, unseen_weight).curve(scale)
    }
}

// === impl StepPrior ===

impl StepPrior {
    /// Expectations about a request of which nothing is known: any step, log-uniformly in time.
    pub(crate) fn ignorance(mass: PriorMass) -> Self {
        let spread = |mass: f64| {
            let share = mass / PRIOR_BINS as f64;
            (0..BINS)
                .map(|bin| if bin < PRIOR_BINS { share } else { 0.0 })
                .collect::<Vec<f64>>()
        };
        let mut steps = vec![(END, spread(mass.end))];
        let mut unseen_kinds = mass.kinds as f64;
        if let Some(last) = mass.last {
            steps.push((last, spread(mass.call * mass.repeat)));
            unseen_kinds -= 1.0;
        }
        let mut censored = vec![0.0; BINS];
        // A request that never takes a step leaves at the end of the scale.
        censored[BINS - 1] = 0.1;
        Self {
            steps,
            unseen: spread(mass.call),
            unseen_kinds: unseen_kinds.max(0.0),
            censored,
        }
    }

    /// Expects a step that no request has shown less than other ones.
    pub(crate) fn lower_unseen(&mut self, step: Step, factor: f64) {
        if self.steps.iter().all(|(known, _)| *known != step) {
            let masses = self.unseen.iter().map(|mass| mass * factor);
            self.steps.push((step, masses.collect()));
            self.unseen_kinds = (self.unseen_kinds - 1.0).max(0.0);
        }
    }

    fn normalize(&mut self, requests: f64) {
        let factor = 1.0 / requests;
        let arrays = self.steps.iter_mut().map(|(_, masses)| masses);
        for masses in arrays.chain([&mut self.unseen, &mut self.censored]) {
            masses.iter_mut().for_each(|mass| *mass *= factor);
        }
    }

    fn curve(&self, scale: GapScale) -> HazardCurve {
        let mut leaving: Vec<f64> = self.censored.clone();
        for bin in 0..BINS {
            leaving[bin] += self.unseen_kinds * self.unseen[bin];
            leaving[bin] += self
                .steps
                .iter()
                .map(|(_, masses)| masses[bin])
                .sum::<f64>();
        }
        let mut at_risk = vec![0.0; BINS];
        let mut sum = 0.0;
        for bin in (0..BINS).rev() {
            // Those that leave in a bin are at risk during half of it.
            at_risk[bin] = (sum + 0.5 * leaving[bin]).max(1e-9);
            sum += leaving[bin];
        }
        let risk_s: Vec<f64> = (0..BINS)
            .map(|bin| at_risk[bin] * scale.width_s(bin))
            .collect();
        let hazard = |masses: &[f64]| -> Vec<f32> {
            let hazards = masses.iter().zip(&risk_s);
            hazards.map(|(mass, risk)| (mass / risk) as f32).collect()
        };
        let mut cumulative = Vec::with_capacity(BINS + 1);
        let mut total = 0.0;
        cumulative.push(0.0);
        for bin in 0..BINS {
            total += (leaving[bin] - self.censored[bin]).max(0.0) / at_risk[bin];
            cumulative.push(total as f32);
        }
        HazardCurve {
            steps: self
                .steps
                .iter()
                .map(|(step, masses)| (*step, hazard(masses)))
                .collect(),
            unseen: hazard(&self.unseen),
            cumulative,
        }
    }
}

// === impl HazardCurve ===

impl HazardCurve {
    /// Returns the hazard of a step per second.
    pub(crate) fn hazard(&self, step: Step, bin: GapBin) -> f64 {
        let known = self.steps.iter().find(|(known, _)| *known == step);
        let hazards = known.map_or(&self.unseen, |(_, hazards)| hazards);
        f64::from(hazards[bin.index])
    }

    /// Returns the hazard of all steps, accumulated from the start of the clock.
    pub(crate) fn cumulative(&self, bin: GapBin) -> f64 {
        let (low, high) = (self.cumulative[bin.index], self.cumulative[bin.index + 1]);
        f64::from(low) + bin.fraction * f64::from(high - low)
    }
}

/// Returns the bins in which stalled steps are expected, all after the mean of `counts`, and how
/// many in each.
fn stalled(counts: &[f32]) -> (Range<usize>, f64) {
    let total: f64 = counts.iter().map(|count| f64::from(*count)).sum();
    if total <= 0.0 {
        return (0..0, 0.0);
    }
    let weighted = counts.iter().enumerate();
    let sum: f64 = weighted
        .map(|(bin, count)| bin as f64 * f64::from(*count))
        .sum();
    let from = ((sum / total) as usize).min(PRIOR_BINS);
    let bins = (PRIOR_BINS - from).max(STALLED_BINS);
    (from..PRIOR_BINS, STALLED_SHARE * total / bins as f64)
}

/// Smooths counts with a Gaussian kernel whose width follows the spread and number of the counts.
fn smooth(counts: &[f32]) -> Vec<f64> {
    let total: f64 = counts.iter().map(|count| f64::from(*count)).sum();
    let mut smoothed = vec![0.0; BINS];
    if total <= 0.0 {
        return smoothed;
    }
    let weighted = |power: i32| -> f64 {
        let terms = counts.iter().enumerate();
        terms
            .map(|(bin, count)| f64::from(*count) * (bin as f64).powi(power))
            .sum::<f64>()
            / total
    };
    let mean = weighted(1);
    let variance = (weighted(2) - mean * mean).max(0.0);
    let (prior_deviation, prior_count) = PRIOR_SPREAD;
    let spread = total * variance + prior_count * prior_deviation.powi(2);
    let deviation = (spread / (total + prior_count)).sqrt();
    let bandwidth = 1.06 * deviation * total.max(1.0).powf(-0.2);
    let bandwidth = bandwidth.clamp(BANDWIDTH.0, BANDWIDTH.1);
    let reach = (bandwidth * 3.5).ceil() as usize;
    let kernel: Vec<f64> = (0..=reach)
        .map(|distance| (-0.5 * (distance as f64 / bandwidth).powi(2)).exp())
        .collect();
    for (bin, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0.0) {
        let (from, to) = (bin.saturating_sub(reach), (bin + reach).min(BINS - 1));
        let inside: f64 = (from..=to).map(|near| kernel[near.abs_diff(bin)]).sum();
        for near in from..=to {
            smoothed[near] += f64::from(*count) * kernel[near.abs_diff(bin)] / inside;
        }
    }
    smoothed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_step_in_a_hundred_may_be_stalled() {
        let scale = GapScale::new(MIN_RESOLUTION_NS);
        let mut table = LifeTable::default();
        for gap in 0..1_000 {
            table.add_step(scale.bin(3_000_000 + gap * 1_000).index, 0, 1.0);
        }
        let mass = PriorMass {
            call: 0.1,
            end: 0.3,
            last: None,
            repeat: 1.0,
            kinds: 1,
        };
        let curve = table.curve(&StepPrior::ignorance(mass), 1_000.0, scale);
        let survival = |gap: Nanos| (-curve.cumulative(scale.bin(gap))).exp();
        assert!(survival(2_000_000) > 0.98, "{}", survival(2_000_000));
        let (late, very_late) = (survival(20_000_000), survival(1_000_000_000));
        assert!((0.005..0.015).contains(&late), "{late}");
        assert!((0.001..late).contains(&very_late), "{very_late}");
    }
}
