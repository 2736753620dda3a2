//! What a context is read from and written to: headers, of HTTP or of a Kafka record.

/// Headers that can be read. Names are compared without regard to ASCII case, as HTTP demands; values are bytes; a name
/// may stand several times; a Kafka header may have no value at all.
pub trait Carrier {
    /// The value of the last header of this name; `None` when there is none, or the last one is null.
    fn last<'a>(&'a self, name: &str) -> Option<&'a [u8]> {
        let mut last = None;
        self.each(&mut |key, value| {
            if key.eq_ignore_ascii_case(name.as_bytes()) {
                last = value;
            }
        });
        last
    }

    /// Visits every header in order: its name, which need not be UTF-8 in Kafka, and its value, if it has one.
    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a [u8], Option<&'a [u8]>));
}

/// Headers that can be written.
pub trait CarrierMut: Carrier {
    /// Leaves exactly one header of this name, with this value.
    fn replace(&mut self, name: &str, value: &[u8]);

    /// Leaves no header of this name.
    fn remove(&mut self, name: &str);
}

/// The plainest carrier: a list of headers, as in a Kafka record. Used where no library's own type is at hand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderList(Vec<(Vec<u8>, Option<Vec<u8>>)>);

// === impl HeaderList ===

impl HeaderList {
    /// Adds a header at the end, whether or not one of that name is there.
    pub fn push(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.0
            .push((name.as_ref().to_vec(), Some(value.as_ref().to_vec())));
    }

    /// Adds a header without a value, as Kafka allows.
    pub fn push_null(&mut self, name: impl AsRef<[u8]>) {
        self.0.push((name.as_ref().to_vec(), None));
    }

    /// The last value of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.last(name)
    }

    /// How many headers there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
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
        self.remove(name);
        self.push(name, value);
    }

    fn remove(&mut self, name: &str) {
        self.0
            .retain(|(key, _)| !key.eq_ignore_ascii_case(name.as_bytes()));
    }
}
