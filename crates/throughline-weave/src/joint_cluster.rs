//! Lanes that have competed for the same calls, with the ways in which they can have shared them.
//!
//! A hypothesis is one way for all lanes of a cluster at once. The possibilities of one lane thus
//! depend on what the others did: a call that one of them made was not made by the other.

/// Hypotheses below this share are given up.
const MIN_SHARE: f64 = 1e-4;

/// One way in which the lanes of a cluster can have shared the calls.
#[derive(Debug, Clone)]
pub(crate) struct JointHypothesis {
    pub(crate) weight: f64,
    /// The path of each lane, in the order of the lanes.
    pub(crate) paths: Vec<u16>,
}

/// Lanes whose paths depend on each other.
#[derive(Debug, Clone, Default)]
pub(crate) struct JointCluster {
    pub(crate) lanes: Vec<u32>,
    pub(crate) hypotheses: Vec<JointHypothesis>,
}

/// A hypothesis with its weight at some time, while it competes with others.
#[derive(Debug, Clone)]
pub(crate) struct WeighedHypothesis {
    pub(crate) hypothesis: JointHypothesis,
    /// Its weight including what has not happened since the last steps.
    pub(crate) mass: f64,
}

// === impl JointCluster ===

impl JointCluster {
    /// A lane by itself that has come to where it is in one way.
    pub(crate) fn single(lane: u32) -> Self {
        Self {
            lanes: vec![lane],
            hypotheses: vec![JointHypothesis {
                weight: 1.0,
                paths: vec![0],
            }],
        }
    }

    pub(crate) fn column(&self, lane: u32) -> Option<usize> {
        self.lanes.iter().position(|other| *other == lane)
    }

    /// Returns the mass of each hypothesis; `survival` is that of a path, by the index of its lane,
    /// since its last step.
    pub(crate) fn masses(&self, survival: impl Fn(usize, u16) -> f64) -> Vec<f64> {
        let mass = |hypothesis: &JointHypothesis| {
            let paths = hypothesis.paths.iter().enumerate();
            let survivals = paths.map(|(column, path)| survival(column, *path));
            hypothesis.weight * survivals.product::<f64>()
        };
        self.hypotheses.iter().map(mass).collect()
    }

    /// Returns all combinations with the hypotheses of another cluster, the heaviest `max`.
    pub(crate) fn combine(&self, other: &Self, max: usize) -> Self {
        let pairs = self.hypotheses.iter().flat_map(|first| {
            other.hypotheses.iter().map(move |second| JointHypothesis {
                weight: first.weight * second.weight,
                paths: [first.paths.as_slice(), &second.paths].concat(),
            })
        });
        let mut hypotheses: Vec<JointHypothesis> = pairs.collect();
        hypotheses.sort_by(|a, b| b.weight.total_cmp(&a.weight));
        hypotheses.truncate(max);
        let mut combined = Self {
            lanes: [self.lanes.as_slice(), &other.lanes].concat(),
            hypotheses,
        };
        combined.scale();
        combined
    }

    /// Replaces the hypotheses by the heaviest `max` of these.
    pub(crate) fn replace(&mut self, mut weighed: Vec<WeighedHypothesis>, max: usize) {
        let total: f64 = weighed.iter().map(|one| one.mass).sum();
        weighed.sort_by(|a, b| b.mass.total_cmp(&a.mass));
        weighed.truncate(max);
        let mut index = 0;
        weighed.retain(|one| {
            index += 1;
            // One is left, whatever it weighs.
            index == 1 || one.mass >= MIN_SHARE * total
        });
        self.hypotheses = weighed.into_iter().map(|one| one.hypothesis).collect();
        self.merge_equal();
    }

    /// Removes a lane.
    pub(crate) fn remove(&mut self, lane: u32) {
        let Some(column) = self.column(lane) else {
            return;
        };
        self.lanes.remove(column);
        for hypothesis in &mut self.hypotheses {
            hypothesis.paths.remove(column);
        }
        self.merge_equal();
    }

    pub(crate) fn merge_equal(&mut self) {
        self.hypotheses.sort_by(|a, b| a.paths.cmp(&b.paths));
        self.hypotheses.dedup_by(|later, kept| {
            let is_equal = later.paths == kept.paths;
            if is_equal {
                kept.weight += later.weight;
            }
            is_equal
        });
        self.scale();
    }

    fn scale(&mut self) {
        let weights = self.hypotheses.iter().map(|one| one.weight);
        let most = weights.fold(0.0, f64::max);
        for hypothesis in &mut self.hypotheses {
            hypothesis.weight = if most > 0.0 {
                hypothesis.weight / most
            } else {
                1.0
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(lanes: &[u32], hypotheses: &[(f64, &[u16])]) -> JointCluster {
        let hypotheses = hypotheses.iter().map(|(weight, paths)| JointHypothesis {
            weight: *weight,
            paths: paths.to_vec(),
        });
        JointCluster {
            lanes: lanes.to_vec(),
            hypotheses: hypotheses.collect(),
        }
    }

    #[test]
    fn combinations_keep_the_heaviest() {
        let first = cluster(&[1], &[(1.0, &[0]), (0.5, &[1])]);
        let second = cluster(&[2], &[(1.0, &[0]), (0.1, &[1])]);
        let combined = first.combine(&second, 3);
        assert_eq!(combined.lanes, [1, 2]);
        let weights: Vec<f64> = combined.hypotheses.iter().map(|one| one.weight).collect();
        assert_eq!(weights, [1.0, 0.5, 0.1]);
    }

    #[test]
    fn hypotheses_that_differ_in_a_removed_lane_only_become_one() {
        let mut cluster = cluster(&[1, 2], &[(0.5, &[0, 0]), (0.25, &[0, 1]), (1.0, &[1, 0])]);
        cluster.remove(2);
        let left: Vec<(f64, &[u16])> = cluster
            .hypotheses
            .iter()
            .map(|one| (one.weight, one.paths.as_slice()))
            .collect();
        assert_eq!(left, [(0.75, [0_u16].as_slice()), (1.0, &[1])]);
    }

    #[test]
    fn one_hypothesis_is_left_even_if_none_is_possible() {
        let mut cluster = cluster(&[1], &[(1.0, &[0])]);
        let hypothesis = cluster.hypotheses[0].clone();
        let weighed = |mass| WeighedHypothesis {
            hypothesis: hypothesis.clone(),
            mass,
        };
        cluster.replace(vec![weighed(0.0), weighed(0.0)], 8);
        assert_eq!(cluster.hypotheses.len(), 1);
        assert!(cluster.hypotheses[0].weight > 0.0);
    }
}
