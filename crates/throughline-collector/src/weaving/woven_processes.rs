//! The processes that are woven, and the memory that all of them may take.

use std::collections::HashMap;

use super::process_weaver::ProcessWeaver;

/// Maximum number of processes; for a further one, the one that was silent longest is forgotten.
const MAX_PROCESSES: usize = 1024;

/// Spans of each kind that all processes remember, some 200 bytes each: of many processes, each
/// remembers fewer.
const MAX_KNOWN_SPANS: usize = 2 << 20;

/// Time without spans, in nanoseconds, after which a process is forgotten: a process that is
/// started again is another one.
const MAX_SILENCE: u64 = 600_000_000_000;

/// The processes that are woven.
#[derive(Default)]
pub(super) struct WovenProcesses {
    processes: HashMap<u64, ProcessWeaver>,
    /// Spans that waited for a decision in a process that was forgotten.
    abandoned: u64,
}

// === impl WovenProcesses ===

impl WovenProcesses {
    /// Returns a process, which is a new one unless it is known.
    pub(super) fn entry(&mut self, process: u64) -> &mut ProcessWeaver {
        if self.processes.len() >= MAX_PROCESSES && !self.processes.contains_key(&process) {
            let silent = self.processes.iter();
            let silent = silent.min_by_key(|(_, other)| other.last_seen());
            if let Some(silent) = silent.map(|(process, _)| *process) {
                let forgotten = self.processes.remove(&silent);
                self.abandoned += forgotten.map_or(0, |it| it.open() as u64);
            }
        }
        self.processes
            .entry(process)
            .or_insert_with(ProcessWeaver::new)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut ProcessWeaver> {
        self.processes.values_mut()
    }

    /// Forgets processes that are silent and have nothing to decide, and spans of the others where
    /// all remember too many; returns the number of undecided spans that were forgotten since the
    /// last time.
    pub(super) fn forget_silent(&mut self, now: u64) -> u64 {
        self.processes.retain(|_, process| {
            process.open() > 0 || now.saturating_sub(process.last_seen()) < MAX_SILENCE
        });
        let share = MAX_KNOWN_SPANS / self.processes.len().max(1);
        for process in self.processes.values_mut() {
            process.limit_known(share);
        }
        std::mem::take(&mut self.abandoned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weaving::process_weaver::tests::requests;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_silent_process_is_forgotten_after_minutes() {
        let mut processes = WovenProcesses::default();
        requests(processes.entry(1), 10, 1_000 * SECOND);
        requests(processes.entry(2), 10, 1_500 * SECOND);
        for (now, known) in [(1_500, 2), (1_700, 1), (2_000, 1), (2_200, 0)] {
            assert_eq!(processes.forget_silent(now * SECOND), 0);
            assert_eq!(processes.iter_mut().count(), known, "{now}");
        }
    }

    #[test]
    fn many_processes_remember_fewer_spans_each() {
        let mut processes = WovenProcesses::default();
        for process in 0..MAX_PROCESSES as u64 + 7 {
            processes.entry(process);
        }
        assert_eq!(processes.iter_mut().count(), MAX_PROCESSES);
        let known = requests(processes.entry(3), 5_000, 0);
        assert!(known > 4_000, "{known}");
        processes.forget_silent(0);
        assert_eq!(processes.entry(3).known(), MAX_KNOWN_SPANS / MAX_PROCESSES);
    }
}
