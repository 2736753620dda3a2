//! The accept loop of every listener: each connection takes a permit and runs in a task of its own.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use crate::telemetry::reporter::Reporter;
use crate::transport::drain::Drain;

/// Pause after a failed accept. The usual cause is a lack of file descriptors; without a pause the
/// loop would spin until one is free.
const ACCEPT_RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// Accepts connections until the drain starts. Loops that share permits share one limit.
#[derive(Clone)]
pub(crate) struct AcceptLoop {
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) overload: OverloadPolicy,
    /// The tasks of open connections.
    pub(crate) connections: TaskTracker,
    pub(crate) reporter: Arc<Reporter>,
    pub(crate) drain: Drain,
}

/// The treatment of a connection that arrives when no permit is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OverloadPolicy {
    /// The client waits until another connection closes.
    Wait,
    /// The connection is closed at once.
    Reject,
}

// === impl AcceptLoop ===

impl AcceptLoop {
    /// Accepts connections and spawns `serve` for each, until the drain starts.
    pub(crate) async fn run<S, F>(self, listener: TcpListener, serve: S)
    where
        S: Fn(TcpStream, SocketAddr) -> F,
        F: Future<Output = ()> + Send + 'static,
    {
        loop {
            let accepted = tokio::select! {
                // Returning closes the listener, so that the system refuses further clients.
                () = self.drain.draining() => return,
                accepted = self.accept(&listener) => accepted,
            };
            match accepted {
                Ok(Some((stream, client, permit))) => {
                    // The task owns the permit, which is released after a panic as well.
                    let serving = serve(stream, client);
                    self.connections.spawn(async move {
                        serving.await;
                        drop(permit);
                    });
                }
                Ok(None) => {}
                Err(error) => {
                    // Listeners of Kafka, HTTP and the admin port share the reporter.
                    let address = listener.local_addr().ok();
                    self.reporter.accept_failed(address, &error);
                    tokio::time::sleep(ACCEPT_RETRY_INTERVAL).await;
                }
            }
        }
    }

    /// Accepts a connection and takes a permit for it; `None` if it is rejected.
    async fn accept(
        &self,
        listener: &TcpListener,
    ) -> io::Result<Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)>> {
        // Accepts first and waits then: a permit without a client would be wasted.
        let (stream, client) = listener.accept().await?;
        let permit = match self.overload {
            // The peer retries by itself: Prometheus scrapes again.
            OverloadPolicy::Reject => Arc::clone(&self.permits).try_acquire_owned().ok(),
            OverloadPolicy::Wait => {
                // The accepted client waits here, and all later ones in the backlog.
                if self.permits.available_permits() == 0 {
                    self.reporter.connection_limit_reached();
                }
                // The semaphore is never closed, so this fails only with the process.
                Arc::clone(&self.permits).acquire_owned().await.ok()
            }
        };
        Ok(permit.map(|permit| (stream, client, permit)))
    }
}
