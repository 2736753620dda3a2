//! The turns of requests, in a process that handles them in order.
//!
//! An event loop keeps the order of its requests: the one that began first makes a call of some
//! kind first, and the one that got its last response first ends first. [`crate::order`] learns
//! whether a process does.

use crate::event::Nanos;
use crate::life_table::Step;

/// The next step of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    Call(Step),
    End,
}

/// Requests of one group take their turns in the order of these times.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TurnPlace {
    /// The operation, or for ends the calls that were made.
    pub(crate) group: u32,
    pub(crate) since: Nanos,
}

/// A possible path of a request, with its probability.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TurnPath {
    pub(crate) lane: u32,
    pub(crate) cluster: u32,
    pub(crate) share: f64,
    /// `None` if it is not the request's turn on this path.
    pub(crate) place: Option<TurnPlace>,
}

/// The paths of all requests, with what it weighs that one overtakes another.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    factor: f64,
    paths: Vec<TurnPath>,
    /// By path: the probability that it overtakes no request of another cluster.
    in_turn: Vec<f64>,
}

// === impl TurnPlace ===

impl TurnPlace {
    fn overtakes(self, other: Self) -> bool {
        self.group == other.group && other.since < self.since
    }
}

// === impl Turns ===

impl Turns {
    pub(crate) fn new(factor: f64, paths: Vec<TurnPath>) -> Self {
        let in_turn = paths.iter().map(|path| in_turn(path, &paths)).collect();
        Self {
            factor,
            paths,
            in_turn,
        }
    }

    /// Returns what it weighs that the path at index `acting` goes on, while the lanes of its
    /// cluster are on the paths `beside`.
    pub(crate) fn factor(&self, acting: usize, beside: impl Iterator<Item = usize>) -> f64 {
        let Some(place) = self.paths.get(acting).and_then(|path| path.place) else {
            return 1.0;
        };
        let mut others = beside.filter(|other| *other != acting);
        let overtakes = others.any(|other| {
            self.paths[other]
                .place
                .is_some_and(|it| place.overtakes(it))
        });
        if overtakes {
            return self.factor;
        }
        let in_turn = self.in_turn[acting];
        in_turn + (1.0 - in_turn) * self.factor
    }
}

/// Returns the probability that a path overtakes no request of another cluster.
fn in_turn(path: &TurnPath, all: &[TurnPath]) -> f64 {
    let Some(place) = path.place else {
        return 1.0;
    };
    let mut product = 1.0;
    let mut rest = all;
    while let Some(first) = rest.first() {
        let count = rest.iter().take_while(|it| it.lane == first.lane).count();
        let (of_lane, others) = rest.split_at(count);
        rest = others;
        if first.cluster == path.cluster {
            continue;
        }
        let ahead: f64 = of_lane
            .iter()
            .filter(|other| other.place.is_some_and(|it| place.overtakes(it)))
            .map(|other| other.share)
            .sum();
        product *= (1.0 - ahead).max(0.0);
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(lane: u32, cluster: u32, share: f64, since: Nanos) -> TurnPath {
        TurnPath {
            lane,
            cluster,
            share,
            place: Some(TurnPlace { group: 1, since }),
        }
    }

    #[test]
    fn overtaking_within_a_cluster_depends_on_the_paths_beside() {
        let turns = Turns::new(
            0.1,
            vec![
                path(1, 1, 0.5, 10),
                path(1, 1, 0.5, 30),
                path(2, 1, 1.0, 20),
            ],
        );
        assert_eq!(turns.factor(2, [0, 2].into_iter()), 0.1);
        assert_eq!(turns.factor(2, [1, 2].into_iter()), 1.0);
        assert_eq!(turns.factor(1, [1, 2].into_iter()), 0.1);
    }

    #[test]
    fn overtaking_a_request_of_another_cluster_weighs_as_much_as_it_is_likely() {
        let turns = Turns::new(
            0.1,
            vec![
                path(1, 1, 0.25, 10),
                path(1, 1, 0.75, 30),
                path(2, 2, 1.0, 20),
            ],
        );
        assert!((turns.factor(2, [2].into_iter()) - (0.75 + 0.25 * 0.1)).abs() < 1e-12);
    }

    #[test]
    fn requests_of_other_groups_and_those_that_wait_are_not_overtaken() {
        let mut other = path(1, 1, 1.0, 10);
        other.place = Some(TurnPlace {
            group: 2,
            since: 10,
        });
        let waits = TurnPath {
            place: None,
            ..path(3, 3, 1.0, 10)
        };
        let turns = Turns::new(0.1, vec![other, path(2, 2, 1.0, 20), waits]);
        assert_eq!(turns.factor(1, [1].into_iter()), 1.0);
        assert_eq!(turns.factor(2, [2].into_iter()), 1.0);
    }
}
