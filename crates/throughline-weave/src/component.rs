//! Groups of lanes that compete for the same outbound events.

use crate::problem::{Lane, Problem};

/// Lanes that compete for outbound events, and these.
#[derive(Debug, Clone, Default)]
pub(crate) struct Component {
    /// In the order of their starts.
    pub(crate) lanes: Vec<usize>,
    /// In the order of their starts.
    pub(crate) outbound: Vec<u32>,
}

/// Splits lanes into groups that share no candidate.
pub(crate) fn components(problem: &Problem, lanes: &[Lane]) -> Vec<Component> {
    let mut parents: Vec<usize> = (0..lanes.len()).collect();
    let mut first_lane: Vec<Option<usize>> = vec![None; problem.outbound.len()];
    for (index, lane) in lanes.iter().enumerate() {
        for candidate in &lane.candidates {
            let slot = &mut first_lane[*candidate as usize];
            match *slot {
                None => *slot = Some(index),
                Some(other) => {
                    let (a, b) = (root(&mut parents, index), root(&mut parents, other));
                    parents[a.max(b)] = a.min(b);
                }
            }
        }
    }
    let mut slots: Vec<Option<usize>> = vec![None; lanes.len()];
    let mut components: Vec<Component> = Vec::new();
    for index in 0..lanes.len() {
        let top = root(&mut parents, index);
        let slot = *slots[top].get_or_insert_with(|| {
            components.push(Component::default());
            components.len() - 1
        });
        components[slot].lanes.push(index);
    }
    for (index, first) in first_lane.iter().enumerate() {
        let slot = first.and_then(|lane| slots[root(&mut parents, lane)]);
        match slot {
            Some(slot) => components[slot].outbound.push(index as u32),
            None => components.push(Component {
                lanes: Vec::new(),
                outbound: vec![index as u32],
            }),
        }
    }
    components
}

fn root(parents: &mut [usize], mut index: usize) -> usize {
    while parents[index] != index {
        parents[index] = parents[parents[index]];
        index = parents[index];
    }
    index
}
