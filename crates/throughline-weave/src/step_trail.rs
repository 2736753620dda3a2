//! The steps of a request or record on one of the ways in which it can have come to where it is.

use std::sync::Arc;

use crate::life_table::Step;
use crate::step_model::Stays;

/// Branches of a trail below this weight are not learned from.
const MIN_WEIGHT: f64 = 1e-3;

/// The steps of a request or record. Paths share the steps that they have in common.
#[derive(Debug, Default)]
pub(crate) enum StepTrail {
    #[default]
    Start,
    Step {
        before: Arc<Self>,
        stays: Stays,
        call: u32,
        kind: Step,
    },
    /// Paths that led to the same state, with their shares.
    Mixture(Vec<(f64, Arc<Self>)>),
}

/// Returns the trail of paths that have become one, with their shares.
pub(crate) fn mix_trails(parts: &[(f64, &Arc<StepTrail>)]) -> Arc<StepTrail> {
    let first = parts[0].1;
    if parts.iter().all(|(_, trail)| Arc::ptr_eq(trail, first)) {
        return Arc::clone(first);
    }
    let parts = parts
        .iter()
        .map(|(share, trail)| (*share, Arc::clone(trail)));
    Arc::new(StepTrail::Mixture(parts.collect()))
}

/// Calls `visit` for each step of a trail with its weight, the latest first.
pub(crate) fn visit_trail(
    trail: &StepTrail,
    weight: f64,
    visit: &mut impl FnMut(&Stays, u32, Step, f64),
) {
    let mut trail = trail;
    loop {
        match trail {
            StepTrail::Start => return,
            StepTrail::Step {
                before,
                stays,
                call,
                kind,
            } => {
                visit(stays, *call, *kind, weight);
                trail = before;
            }
            StepTrail::Mixture(parts) => {
                for (share, part) in parts {
                    if share * weight > MIN_WEIGHT {
                        visit_trail(part, share * weight, visit);
                    }
                }
                return;
            }
        }
    }
}
