//! Probabilities of the steps of one lane.

use crate::lane_graph::{LaneGraph, PathSums};

/// Probabilities of the steps of one lane.
#[derive(Debug, Clone, Default)]
pub(crate) struct LaneMasses {
    /// Of each edge of its graph.
    pub(crate) edges: Vec<f64>,
    /// Of each node to be the last.
    pub(crate) finals: Vec<f64>,
}

// === impl LaneMasses ===

impl LaneMasses {
    /// Returns the probabilities according to the sums over the paths of the lane alone.
    pub(crate) fn of(graph: &LaneGraph, sums: &PathSums) -> Self {
        if sums.total <= 0.0 {
            return Self {
                edges: vec![0.0; graph.edges.len()],
                finals: vec![0.0; graph.nodes.len()],
            };
        }
        let edges = graph.edges.iter().map(|edge| {
            let (from, to) = (edge.from as usize, edge.to as usize);
            sums.forward[from] * sums.factor(graph, edge) * sums.backward[to] / sums.total
        });
        let nodes = graph.nodes.iter().enumerate();
        let finals = nodes.map(|(index, node)| {
            let scale = sums.final_scale(node.candidate);
            sums.forward[index] * graph.finals[index] * scale / sums.total
        });
        Self {
            edges: edges.collect(),
            finals: finals.collect(),
        }
    }
}
