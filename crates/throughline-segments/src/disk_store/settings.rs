//! The settings of a store.

use std::time::Duration;

/// When spans are on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Before they are acknowledged.
    Fsync,
    /// At most this time after they are acknowledged. A killed process loses nothing; a machine
    /// that loses its power loses at most so much.
    Interval(Duration),
}

/// The settings of a store.
#[derive(Debug, Clone)]
pub struct DiskSettings {
    /// When spans are on the disk.
    pub durability: Durability,
    /// Maximum memory of spans that are in no segment yet, and of indexes; decisions about parents
    /// have a quarter of it beside them.
    pub max_memory_bytes: usize,
    /// Time after which spans are sealed although they are few.
    pub seal_interval: Duration,
    /// Maximum size of the segments; the earliest are removed.
    pub max_bytes: u64,
    /// Time after which segments are removed; never when absent.
    pub max_age: Option<Duration>,
    /// Free space that is left to others on the disk.
    pub min_free_bytes: u64,
    /// Time between two looks for new segments, in a store that others own.
    pub refresh_interval: Duration,
    /// With an object store, maximum size of segments and copies of objects in the local folder.
    /// Copies are removed for it; segments that are not uploaded yet stay, and spans are refused.
    pub max_local_bytes: u64,
    /// Time after which a segment is deleted that was merged into another, and an object that is
    /// not needed any more: queries that began before still read it.
    pub deletion_delay: Duration,
}

impl Default for DiskSettings {
    fn default() -> Self {
        Self {
            durability: Durability::Interval(Duration::from_millis(200)),
            max_memory_bytes: 512 << 20,
            seal_interval: Duration::from_secs(15 * 60),
            max_bytes: 10 << 30,
            max_age: None,
            min_free_bytes: 1 << 30,
            refresh_interval: Duration::from_secs(2),
            max_local_bytes: 4 << 30,
            deletion_delay: Duration::from_secs(60),
        }
    }
}

// === impl DiskSettings ===

impl DiskSettings {
    /// Returns the memory of a generation that is sealed.
    pub(super) const fn generation_bytes(&self) -> usize {
        self.max_memory_bytes / 4
    }

    /// Returns the maximum memory of all generations: an open one, and those that are sealed.
    pub(super) const fn max_hot_bytes(&self) -> usize {
        self.max_memory_bytes / 4 * 3
    }

    /// Returns the maximum memory of decisions about parents, which is beside that of spans and
    /// indexes.
    pub(super) const fn decision_bytes(&self) -> usize {
        self.max_memory_bytes / 4
    }

    /// Returns the maximum memory of indexes.
    pub(super) const fn index_bytes(&self) -> usize {
        self.max_memory_bytes / 4
    }
}
