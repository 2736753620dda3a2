//! The objects with decisions about parents.
//!
//! Decisions are appended to one local file, and an object cannot be appended to: each upload has
//! those since the one before, and takes earlier uploads of at most its size with it. So there are
//! few objects, and a decision is uploaded a few times at most. A log that was written again is
//! uploaded from its second object on, and the first one, which replaces all former ones, comes
//! last: readers have all decisions at any time.

use super::folder::is_within;

/// Maximum size of an object with decisions.
const MAX_DECISION_BYTES: u64 = 16 << 20;

/// The objects with decisions.
#[derive(Debug)]
pub(super) struct DecisionUploads {
    max_bytes: u64,
    /// Number of the next upload.
    next: u64,
    /// Objects of a former process or a former log, which one upload replaces.
    former: Vec<(u64, u64)>,
    /// The beginning of a log that is longer than an object, while later parts are uploaded: it
    /// replaces the former objects, so it is the last.
    first: Option<DecisionPart>,
    parts: Vec<DecisionPart>,
    /// An upload of which it is not known whether it succeeded. It is repeated as it is: a reader
    /// may have the object, and reads a name once.
    attempted: Option<DecisionPart>,
}

/// An object with decisions: a part of the local log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
            max_bytes: MAX_DECISION_BYTES,
            next: next.unwrap_or_default(),
            former,
            first: None,
            parts: Vec::new(),
            attempted: None,
        }
    }

    /// Takes note that the log was written again: the next uploads replace all.
    pub(super) fn begin_again(&mut self) {
        let attempted = self.attempted.take().map(|part| part.numbers);
        if let Some((_, last)) = attempted {
            self.next = self.next.max(last + 1);
        }
        self.first = None;
        let parts = self.parts.drain(..).map(|part| part.numbers);
        self.former.extend(parts.chain(attempted));
    }

    /// Returns the part that is uploaded next, for a log with this length, which began with
    /// `start`. A part ends with a record: `end_of` returns the end of the last one between two
    /// positions.
    pub(super) fn next_part<E>(
        &mut self,
        start: u64,
        length: u64,
        end_of: impl Fn(u64, u64) -> Result<u64, E>,
    ) -> Result<Option<DecisionPart>, E> {
        if self.attempted.is_some() {
            return Ok(self.attempted);
        }
        let is_first = self.parts.is_empty() && self.first.is_none();
        if is_first && !self.former.is_empty() && length - start > self.max_bytes {
            // All former objects are read until this one is there, and then the later parts are.
            let end = end_of(start, start + self.max_bytes)?;
            let numbers = (0, self.next);
            self.first = Some(DecisionPart {
                numbers,
                start,
                end,
            });
            self.next += 1;
        }
        let Some(mut part) = self.part_behind(start, length) else {
            self.attempted = self.first;
            return Ok(self.first);
        };
        part.end = end_of(part.start, part.end)?;
        self.attempted = Some(part);
        Ok(self.attempted)
    }

    /// Returns a part with what the log has behind those that are uploaded, if there is anything.
    fn part_behind(&self, start: u64, length: u64) -> Option<DecisionPart> {
        let mut parts = self.parts.iter().rev().peekable();
        let before = self.first.map_or(start, |first| first.end);
        let begin = parts.peek().map_or(before, |part| part.end);
        let is_first = self.parts.is_empty() && self.first.is_none();
        // The log has all that is left of the former objects.
        let first = if is_first { 0 } else { self.next };
        let is_new = length > begin || (is_first && !self.former.is_empty());
        let mut part = DecisionPart {
            numbers: (first, self.next),
            start: begin,
            end: length.min(begin + self.max_bytes),
        };
        while let Some(former) = parts.next_if(|former| {
            former.end - former.start <= part.end - part.start
                && part.end - former.start <= self.max_bytes
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
        self.attempted = None;
        self.former
            .retain(|numbers| !is_within(*numbers, part.numbers));
        self.next = self.next.max(part.numbers.1 + 1);
        if self.first == Some(part) {
            self.first = None;
            self.parts.insert(0, part);
        } else {
            self.parts.retain(|former| former.start < part.start);
            self.parts.push(part);
        }
        replaced
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(uploads: &mut DecisionUploads, length: u64) -> Option<DecisionPart> {
        let part: Result<_, ()> = uploads.next_part(8, length, |_, end| Ok(end));
        part.unwrap()
    }

    /// Uploads what a log of this length has; returns the numbers of all objects.
    fn upload(uploads: &mut DecisionUploads, length: u64) -> Vec<(u64, u64)> {
        if let Some(part) = next(uploads, length) {
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
        let part = next(&mut uploads, 8).unwrap();
        assert_eq!((part.numbers, part.start, part.end), ((0, 5), 8, 8));
        assert_eq!(uploads.finish(part), [(0, 3), (4, 4)]);
        assert!(next(&mut uploads, 8).is_none());
        assert_eq!(upload(&mut uploads, 100), [(0, 6)]);
    }

    #[test]
    fn the_first_upload_of_a_log_that_was_written_again_replaces_all() {
        let mut uploads = DecisionUploads::after(Vec::new());
        for length in [1000, 1100] {
            upload(&mut uploads, length);
        }
        uploads.begin_again();
        let part = next(&mut uploads, 40).unwrap();
        assert_eq!((part.numbers, part.start, part.end), ((0, 2), 8, 40));
        // It may be there although the attempt failed, so another log has another name.
        uploads.begin_again();
        let part = next(&mut uploads, 40).unwrap();
        assert_eq!((part.numbers, part.start, part.end), ((0, 3), 8, 40));
        assert_eq!(uploads.finish(part), [(0, 0), (1, 1), (0, 2)]);
    }

    #[test]
    fn an_attempt_is_repeated_as_it_was() {
        let mut uploads = DecisionUploads::after(Vec::new());
        let part = next(&mut uploads, 40);
        assert_eq!(next(&mut uploads, 90), part);
        uploads.finish(part.unwrap());
        assert_eq!(upload(&mut uploads, 90), [(0, 1)]);
    }

    #[test]
    fn a_log_that_was_written_again_is_there_as_a_whole_before_it_replaces_the_former_one() {
        let mut uploads = DecisionUploads::after(Vec::new());
        uploads.max_bytes = 100;
        for length in [108, 208, 308] {
            upload(&mut uploads, length);
        }
        let former = [(0, 0), (1, 1), (2, 2)];
        uploads.begin_again();
        let mut length = 258;
        let mut later = Vec::new();
        loop {
            let part = next(&mut uploads, length).unwrap();
            let replaced = uploads.finish(part);
            if part.numbers.0 == 0 {
                assert_eq!((part.numbers, replaced), ((0, 3), former.to_vec()));
                break;
            }
            assert!(replaced.iter().all(|numbers| !former.contains(numbers)));
            later.push(part);
            // Decisions are made meanwhile.
            length += u64::from(later.len() == 1) * 20;
        }
        assert_eq!(later.first().unwrap().start, 108);
        let parts = &uploads.parts;
        assert!(parts.windows(2).all(|it| it[0].end == it[1].start));
        let ends = (parts.first().unwrap().start, parts.last().unwrap().end);
        assert_eq!(ends, (8, length));
        assert!(parts.is_sorted_by_key(|part| part.numbers));
    }

    #[test]
    fn an_object_has_a_maximum_size() {
        let mut uploads = DecisionUploads::after(Vec::new());
        let length = 3 * MAX_DECISION_BYTES;
        let mut parts = 0;
        while let Some(part) = next(&mut uploads, length) {
            assert!(part.end - part.start <= MAX_DECISION_BYTES);
            uploads.finish(part);
            parts += 1;
        }
        assert_eq!((parts, uploads.parts.last().unwrap().end), (3, length));
    }
}
