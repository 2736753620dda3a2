//! Changes of files that are read again while a command runs.
//!
//! Files are polled every second rather than watched, because editors and Kubernetes ConfigMaps
//! (two symbolic links) replace them in ways that a watch on a file does not see. A change counts
//! once two polls agree: half of a file may be valid and mean something else.

use std::time::Duration;

/// Time between two looks at the files.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Detects changes of a file, or of several that belong together, once their write is complete.
#[derive(Debug)]
pub(crate) struct FileDebouncer<T> {
    /// Contents at the last load.
    loaded: Option<T>,
    /// Contents at the last poll, if they differed.
    candidate: Option<T>,
}

// === impl FileDebouncer ===

impl<T: PartialEq> FileDebouncer<T> {
    pub(crate) const fn new(loaded: Option<T>) -> Self {
        Self {
            loaded,
            candidate: None,
        }
    }

    /// Notes the contents of a load; without any, those of the load before stay.
    pub(crate) fn set_loaded(&mut self, contents: Option<T>) {
        self.loaded = contents.or_else(|| self.loaded.take());
        self.candidate = None;
    }

    /// Whether the contents differ from the loaded ones and are the same as at the last poll.
    pub(crate) fn is_settled_change(&mut self, contents: T) -> bool {
        // Changed and changed back between two polls.
        if self.loaded.as_ref() == Some(&contents) {
            self.candidate = None;
            return false;
        }
        let is_settled = self.candidate.as_ref() == Some(&contents);
        self.candidate = Some(contents);
        is_settled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_that_is_being_written_is_not_loaded() {
        let mut file = FileDebouncer::new(Some("inject: false\n".to_owned()));
        // An editor truncates the file, then writes it in two pieces; the empty one would turn
        // injection on.
        let polls = [
            "inject: false\n",
            "",
            "inject: false\nsa",
            "inject: false\nsample: 0.1\n",
        ];
        let mut settled = polls.iter();
        assert!(!settled.any(|text| file.is_settled_change((*text).to_owned())));
        assert!(file.is_settled_change(polls[3].to_owned()));
        let mut file = FileDebouncer::new(Some("a".to_owned()));
        let settled = ["b", "a", "b"].map(|text| file.is_settled_change(text.to_owned()));
        assert_eq!(settled, [false; 3], "only consecutive polls agree");
    }
}
