//! A set of traces of a segment.

/// A set of traces, by number.
#[derive(Debug, Default)]
pub(crate) struct TraceBitmap(Vec<u64>);

// === impl TraceBitmap ===

impl TraceBitmap {
    /// Creates an empty set of as many numbers.
    pub(crate) fn new(traces: usize) -> Self {
        Self(vec![0; traces.div_ceil(64)])
    }

    /// Creates a set of all of as many numbers.
    pub(crate) fn all(traces: usize) -> Self {
        let mut set = Self(vec![u64::MAX; traces.div_ceil(64)]);
        if let Some(last) = set.0.last_mut()
            && !traces.is_multiple_of(64)
        {
            *last = (1 << (traces % 64)) - 1;
        }
        set
    }

    /// Keeps the numbers that the other set has too.
    pub(crate) fn intersect(&mut self, other: &Self) {
        for (own, other) in self.0.iter_mut().zip(&other.0) {
            *own &= other;
        }
    }

    /// Adds the numbers of another set.
    pub(crate) fn unite(&mut self, other: &Self) {
        for (own, other) in self.0.iter_mut().zip(&other.0) {
            *own |= other;
        }
    }

    /// Returns the numbers in rising order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> {
        self.0.iter().enumerate().flat_map(|(at, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                let bit = rest.trailing_zeros();
                rest &= rest.wrapping_sub(1);
                (bit < u64::BITS).then_some(at * 64 + bit as usize)
            })
        })
    }

    pub(crate) fn insert(&mut self, number: usize) {
        if let Some(word) = self.0.get_mut(number / 64) {
            *word |= 1 << (number % 64);
        }
    }

    pub(crate) fn contains(&self, number: usize) -> bool {
        let word = self.0.get(number / 64).copied().unwrap_or_default();
        word >> (number % 64) & 1 == 1
    }
}
