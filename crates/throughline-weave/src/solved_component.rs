//! The beliefs about one component: where its outbound events stand in the lanes, and which of them
//! are in doubt.

use std::collections::{BTreeMap, BTreeSet};

use crate::joint_paths::{JointCall, JointCause, JointPlace};
use crate::lane_state::LaneState;

/// Beliefs above this do not depend on how often evidence was counted.
const UNDOUBTED: f64 = 1.0 - 1e-6;

/// An outbound event and where it stands in the lanes.
pub(crate) struct OutboundState {
    pub(crate) outbound: u32,
    pub(crate) kind: usize,
    /// Lane of the component, and slot among its candidates.
    pub(crate) places: Vec<(u32, u32)>,
    /// The call of the same kind before this one.
    pub(crate) previous: Option<usize>,
    /// Messages of the neighbours about the cause at each place.
    pub(crate) from_previous: Vec<f64>,
    pub(crate) from_next: Vec<f64>,
    /// Messages of neighbours outside the component, whose causes are proven.
    pub(crate) from_proven: Vec<f64>,
    /// Probability of the cause at each place, and of none, once beliefs are exchanged.
    pub(crate) shares: Vec<f64>,
    pub(crate) none: f64,
}

/// Whether the cause of a call is beyond doubt.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Settled {
    Open,
    /// The cause is the lane at this place.
    At(usize),
    /// It has none.
    None,
}

/// The solved component.
pub(crate) struct Solved {
    pub(crate) states: Vec<LaneState>,
    pub(crate) outbound: Vec<OutboundState>,
}

// === impl OutboundState ===

impl OutboundState {
    /// Returns the places of the causes that are possible.
    fn possible(&self) -> impl Iterator<Item = usize> {
        let shares = self.shares.iter().enumerate();
        shares
            .filter(|(_, share)| **share > 1.0 - UNDOUBTED)
            .map(|(at, _)| at)
    }

    fn settled(&self) -> Settled {
        if self.none >= UNDOUBTED {
            return Settled::None;
        }
        let at = self.shares.iter().position(|share| *share >= UNDOUBTED);
        at.map_or(Settled::Open, Settled::At)
    }

    /// Returns what all neighbours say about the cause at a place.
    pub(crate) fn order_at(&self, place: usize) -> f64 {
        self.from_previous[place] * self.from_next[place] * self.from_proven[place]
    }
}

// === impl Solved ===

impl Solved {
    /// Returns groups of lanes that are connected by calls whose causes are in doubt.
    pub(crate) fn doubtful_clusters(&self) -> Vec<BTreeSet<u32>> {
        let mut clusters: Vec<BTreeSet<u32>> = Vec::new();
        for outbound in &self.outbound {
            if !matches!(outbound.settled(), Settled::Open) {
                continue;
            }
            let mut joined: BTreeSet<u32> = outbound
                .possible()
                .map(|at| outbound.places[at].0)
                .collect();
            clusters.retain(|cluster| {
                let is_apart = cluster.is_disjoint(&joined);
                if !is_apart {
                    joined.extend(cluster);
                }
                is_apart
            });
            clusters.push(joined);
        }
        clusters
    }

    /// Returns whether a call has several causes that are possible at all.
    pub(crate) fn is_doubtful(&self) -> bool {
        let mut settled = self.outbound.iter().map(OutboundState::settled);
        settled.any(|settled| matches!(settled, Settled::Open))
    }

    /// Returns the calls that lanes of a cluster may have made, and, if orders are compared, the
    /// settled ones beside them.
    pub(crate) fn joint_calls(
        &self,
        cluster: &BTreeSet<u32>,
        stray_rate: &dyn Fn(&OutboundState) -> f64,
        compares: bool,
    ) -> Vec<JointCall> {
        let mut kinds: BTreeMap<usize, usize> = BTreeMap::new();
        let mut calls = Vec::new();
        let mut foreign: BTreeMap<usize, JointCall> = BTreeMap::new();
        let mut is_awaited: BTreeSet<usize> = BTreeSet::new();
        for (index, outbound) in self.outbound.iter().enumerate() {
            let next = kinds.len();
            let kind = *kinds.entry(outbound.kind).or_insert(next);
            let place = |at: usize| JointPlace {
                lane: outbound.places[at].0,
                slot: outbound.places[at].1,
                factor: outbound.from_proven[at],
            };
            let cause = match outbound.settled() {
                Settled::None => continue,
                Settled::At(at) if cluster.contains(&outbound.places[at].0) => {
                    JointCause::Fixed(place(at))
                }
                Settled::At(at) => {
                    let cause = JointCause::Foreign(outbound.places[at].0);
                    let call = JointCall { index, kind, cause };
                    if !compares {
                        continue;
                    }
                    if is_awaited.remove(&kind) {
                        calls.push(call.clone());
                    }
                    foreign.insert(kind, call);
                    continue;
                }
                Settled::Open => {
                    let places = outbound.possible().map(place);
                    let places: Vec<JointPlace> = places
                        .filter(|place| cluster.contains(&place.lane))
                        .collect();
                    if places.is_empty() {
                        continue;
                    }
                    let stray = stray_rate(outbound);
                    JointCause::Open { places, stray }
                }
            };
            // The neighbours of the same kind are compared.
            if let Some(before) = foreign.remove(&kind)
                && !calls
                    .iter()
                    .any(|call: &JointCall| call.index == before.index)
            {
                calls.push(before);
            }
            is_awaited.insert(kind);
            calls.push(JointCall { index, kind, cause });
        }
        calls.sort_by_key(|call| call.index);
        calls
    }
}
