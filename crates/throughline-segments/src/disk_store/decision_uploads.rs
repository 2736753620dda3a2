//! The objects with decisions about parents.
//!
//! Decisions are appended to one local file, and an object cannot be appended to: each upload has
//! those since the one before, and takes earlier uploads of at most its size with it. So there are
//! few objects, and a decision is uploaded a few times at most.

use super::folder::is_within;

/// Maximum size of an object with decisions.
const MAX_DECISION_BYTES: u64 = 16 << 20;

/// The objects with decisions.
#[derive(Debug)]
pub(super) struct DecisionUploads {
    /// Number of the next upload.
    next: u64,
    /// Objects of a former process, which the first upload replaces.
    former: Vec<(u64, u64)>,
    parts: Vec<DecisionPart>,
}

/// An object with decisions: a part of the local log.
#[derive(Debug, Clone, Copy)]
pub(super) struct DecisionPart {
    /// Numbers of the uploads whose decisions it has.
    pub(super) numbers: (u64, u64),
    pub(super) start: u64,
    pub(super) end: u64,
}

// === impl DecisionUploads ===

impl DecisionUploads {
    /// Returns the state at the start, with the objects of a former process.
    pub(super) fn after(former: Vec<(u64, u64)>) -> Self {
        let next = former.iter().map(|(_, last)| last + 1).max();
        Self {
            next: next.unwrap_or_default(),
            former,
            parts: Vec::new(),
        }
    }

    /// Takes note that the log was written again: the next upload replaces all.
    pub(super) fn begin_again(&mut self) {
        let parts = self.parts.drain(..);
        self.former.extend(parts.map(|part| part.numbers));
    }

    /// Returns the part that is uploaded next, for a log with this length, which began with
    /// `start`.
    pub(super) fn next_part(&self, start: u64, length: u64) -> Option<DecisionPart> {
        let mut parts = self.parts.iter().rev().peekable();
        let begin = parts.peek().map_or(start, |part| part.end);
        let is_first = parts.peek().is_none();
        // The log was written again at the start: it has all that is left of the former objects.
        let first = if is_first { 0 } else { self.next };
        let is_new = length > begin || (is_first && !self.former.is_empty());
        let mut part = DecisionPart {
            numbers: (first, self.next),
            start: begin,
            end: length.min(begin + MAX_DECISION_BYTES),
        };
        while let Some(former) = parts.next_if(|former| {
            former.end - former.start <= part.end - part.start
                && part.end - former.start <= MAX_DECISION_BYTES
        }) {
            part.numbers.0 = former.numbers.0;
            part.start = former.start;
        }
        is_new.then_some(part)
    }

    /// Takes note of an upload; returns the numbers of the objects that it replaces.
    pub(super) fn finish(&mut self, part: DecisionPart) -> Vec<(u64, u64)> {
        let parts = self.parts.iter().map(|part| part.numbers);
        let mut replaced: Vec<(u64, u64)> = parts.chain(self.former.iter().copied()).collect();
        replaced.retain(|numbers| is_within(*numbers, part.numbers));
        self.parts.retain(|former| former.start < part.start);
        self.former.clear();
        self.parts.push(part);
        self.next = part.numbers.1 + 1;
        replaced
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Uploads what a log of this length has; returns the numbers of all objects.
    fn upload(uploads: &mut DecisionUploads, length: u64) -> Vec<(u64, u64)> {
        if let Some(part) = uploads.next_part(8, length) {
            uploads.finish(part);
        }
        uploads.parts.iter().map(|part| part.numbers).collect()
    }

    #[test]
    fn an_upload_takes_those_of_its_size_with_it() {
        let mut uploads = DecisionUploads::after(Vec::new());
        let expected = [
            (8, vec![]),
            (108, vec![(0, 0)]),
            (208, vec![(0, 1)]),
            (308, vec![(0, 1), (2, 2)]),
            (308, vec![(0, 1), (2, 2)]),
            (408, vec![(0, 3)]),
            (508, vec![(0, 3), (4, 4)]),
        ];
        for (length, numbers) in expected {
            assert_eq!(upload(&mut uploads, length), numbers, "{length}");
        }
        for length in (508..100_000).step_by(100) {
            assert!(upload(&mut uploads, length).len() < 12);
        }
        let ends = uploads.parts.windows(2).all(|it| it[0].end == it[1].start);
        assert!(ends, "{:?}", uploads.parts);
    }

    #[test]
    fn the_first_upload_replaces_those_of_a_former_process() {
        let mut uploads = DecisionUploads::after(vec![(0, 3), (4, 4)]);
        let part = uploads.next_part(8, 8).unwrap();
        assert_eq!((part.numbers, part.start, part.end), ((0, 5), 8, 8));
        assert_eq!(uploads.finish(part), [(0, 3), (4, 4)]);
        assert!(uploads.next_part(8, 8).is_none());
        assert_eq!(upload(&mut uploads, 100), [(0, 6)]);
    }

    #[test]
    fn the_first_upload_of_a_log_that_was_written_again_replaces_all() {
        let mut uploads = DecisionUploads::after(Vec::new());
        for length in [1000, 1100] {
            upload(&mut uploads, length);
        }
        // Also where the first attempt fails.
        for _ in 0..2 {
            uploads.begin_again();
            let part = uploads.next_part(8, 40).unwrap();
            assert_eq!((part.numbers, part.start, part.end), ((0, 2), 8, 40));
        }
        assert_eq!(upload(&mut uploads, 40), [(0, 2)]);
    }

    #[test]
    fn an_object_has_a_maximum_size() {
        let mut uploads = DecisionUploads::after(Vec::new());
        let length = 3 * MAX_DECISION_BYTES;
        let mut parts = 0;
        while let Some(part) = uploads.next_part(8, length) {
            assert!(part.end - part.start <= MAX_DECISION_BYTES);
            uploads.finish(part);
            parts += 1;
        }
        assert_eq!((parts, uploads.parts.last().unwrap().end), (3, length));
    }
}
