//! Access to headers, of HTTP or of a Kafka record.

/// Headers that can be read.
///
/// Names are compared without regard to ASCII case, as HTTP demands; values are bytes; a name may
/// repeat; a Kafka header may have no value at all.
pub trait Carrier {
    /// Returns the value of the last header of this name; `None` when there is none, or the last
    /// one is null.
    fn last<'a>(&'a self, name: &str) -> Option<&'a [u8]> {
        let mut last = None;
        self.each(&mut |key, value| {
            if key.eq_ignore_ascii_case(name.as_bytes()) {
                last = value;
            }
        });
        last
    }

    /// Visits every header in order: its name, which need not be UTF-8 in Kafka, and its value.
    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a [u8], Option<&'a [u8]>));
}

/// Headers that can be written.
pub trait CarrierMut: Carrier {
    /// Sets this value, in place of all headers of this name.
    fn replace(&mut self, name: &str, value: &[u8]);

    /// Removes all headers of this name.
    fn remove(&mut self, name: &str);
}

/// A plain list of headers, as in a Kafka record, for callers without a header type of their own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderList(Vec<(Vec<u8>, Option<Vec<u8>>)>);

// === impl HeaderList ===

impl HeaderList {
    /// Appends a header, whether or not the name exists already.
    pub fn push(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.0
            .push((name.as_ref().to_vec(), Some(value.as_ref().to_vec())));
    }

    /// Appends a header without a value, as Kafka allows.
    pub fn push_null(&mut self, name: impl AsRef<[u8]>) {
        self.0.push((name.as_ref().to_vec(), None));
    }

    /// Returns the last value of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.last(name)
    }

    /// Returns the number of headers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether the list is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Carrier for HeaderList {
    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a [u8], Option<&'a [u8]>)) {
        for (name, value) in &self.0 {
            visit(name, value.as_deref());
        }
    }
}

impl CarrierMut for HeaderList {
    fn replace(&mut self, name: &str, value: &[u8]) {
        // Removes copies in any case of letters first, so that exactly one header remains.
        self.remove(name);
        self.push(name, value);
    }

    fn remove(&mut self, name: &str) {
        self.0
            .retain(|(key, _)| !key.eq_ignore_ascii_case(name.as_bytes()));
    }
}
