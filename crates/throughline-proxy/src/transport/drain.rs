//! The two phases of a shutdown: first no new work begins, then unfinished work is aborted.

use tokio_util::sync::CancellationToken;

/// The phase of a shutdown, shared by all clones.
#[derive(Debug, Clone, Default)]
pub(crate) struct Drain {
    draining: CancellationToken,
    aborted: CancellationToken,
}

impl Drain {
    /// Returns a drain for a part of the proxy. It starts with this one or before it.
    pub(crate) fn child(&self) -> Self {
        Self {
            draining: self.draining.child_token(),
            aborted: self.aborted.child_token(),
        }
    }

    /// Starts the first phase: no new requests or connections.
    pub(crate) fn start(&self) {
        self.draining.cancel();
    }

    /// Starts the second phase: open connections are closed at once.
    pub(crate) fn abort(&self) {
        // The second phase implies the first, also for those who only wait for that.
        self.draining.cancel();
        self.aborted.cancel();
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    pub(crate) fn is_aborted(&self) -> bool {
        self.aborted.is_cancelled()
    }

    /// Waits for the first phase.
    pub(crate) async fn draining(&self) {
        self.draining.cancelled().await;
    }

    /// Waits for the second phase.
    pub(crate) async fn aborted(&self) {
        self.aborted.cancelled().await;
    }
}
