//! What can be changed while connections stand: one value for all, which each looks at before its next step.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A value and the number of times that it has been replaced.
#[derive(Debug)]
pub(crate) struct Switch<T> {
    version: AtomicU64,
    value: Mutex<Arc<T>>,
}

/// The eyes of one connection on it.
#[derive(Debug)]
pub(crate) struct Watch<T> {
    switch: Arc<Switch<T>>,
    seen: u64,
}

// === impl Switch ===

impl<T> Switch<T> {
    pub(crate) const fn new(value: Arc<T>) -> Self {
        Self {
            version: AtomicU64::new(0),
            value: Mutex::new(value),
        }
    }

    pub(crate) fn set(&self, value: Arc<T>) {
        *self.value.lock().unwrap_or_else(PoisonError::into_inner) = value;
        self.version.fetch_add(1, Ordering::Release);
    }

    /// The value of now.
    pub(crate) fn get(&self) -> Arc<T> {
        Arc::clone(&self.value.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

// === impl Watch ===

impl<T> Watch<T> {
    /// The value of now, and eyes for the next one.
    pub(crate) fn new(switch: &Arc<Switch<T>>) -> (Arc<T>, Self) {
        // The version first: a value replaced in between is then told once more, and not missed.
        let seen = switch.version.load(Ordering::Acquire);
        (
            switch.get(),
            Self {
                switch: Arc::clone(switch),
                seen,
            },
        )
    }

    /// The value, when it is another than it was. Costs next to nothing when it is not.
    pub(crate) fn news(&mut self) -> Option<Arc<T>> {
        let version = self.switch.version.load(Ordering::Acquire);
        if version == self.seen {
            return None;
        }
        self.seen = version;
        Some(self.switch.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_value_is_told_once_to_each() {
        let switch = Arc::new(Switch::new(Arc::new(1)));
        let (first, mut one) = Watch::new(&switch);
        assert_eq!((*first, one.news()), (1, None));
        switch.set(Arc::new(2));
        let (second, mut two) = Watch::new(&switch);
        assert_eq!(
            (one.news().as_deref(), one.news(), *second, two.news()),
            (Some(&2), None, 2, None)
        );
    }
}
