//! The end in two steps: first nothing new is begun, then what has not ended is cut.

use tokio_util::sync::CancellationToken;

/// How far the end has come. Clones see the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop {
    begun: CancellationToken,
    over: CancellationToken,
}

impl Stop {
    /// An end for a part: it comes with that of the whole, or before.
    pub(crate) fn part(&self) -> Self {
        Self {
            begun: self.begun.child_token(),
            over: self.over.child_token(),
        }
    }

    /// From here on nothing new is begun.
    pub(crate) fn begin(&self) {
        self.begun.cancel();
    }

    /// From here on nothing goes on.
    pub(crate) fn finish(&self) {
        self.begun.cancel();
        self.over.cancel();
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.begun.is_cancelled()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.is_cancelled()
    }

    /// Waits for the first step.
    pub(crate) async fn begun(&self) {
        self.begun.cancelled().await;
    }

    /// Waits for the second.
    pub(crate) async fn over(&self) {
        self.over.cancelled().await;
    }
}
