//! Taking connections at a door: each gets a place, and is served beside the others, until the proxy is told to stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use crate::telemetry::reporter::Herald;
use crate::transport::drain::Stop;

/// What all doors have in common.
#[derive(Clone)]
pub(crate) struct Doors {
    pub(crate) places: Arc<Semaphore>,
    /// Those that are served.
    pub(crate) connections: TaskTracker,
    pub(crate) herald: Arc<Herald>,
    pub(crate) stop: Stop,
}

// === impl Doors ===

impl Doors {
    /// Takes connections until told to stop.
    pub(crate) async fn take<S, F>(self, listener: TcpListener, serve: S)
    where
        S: Fn(TcpStream, SocketAddr) -> F,
        F: Future<Output = ()> + Send + 'static,
    {
        loop {
            let accepted = tokio::select! {
                () = self.stop.begun() => return,
                accepted = self.accept(&listener) => accepted,
            };
            match accepted {
                Ok((stream, client, place)) => {
                    let served = serve(stream, client);
                    self.connections.spawn(async move {
                        served.await;
                        drop(place);
                    });
                }
                Err(error) => {
                    // Out of file descriptors, most likely: without a pause this loop would spin until one is free.
                    self.herald.cannot_accept(&error);
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn accept(
        &self,
        listener: &TcpListener,
    ) -> std::io::Result<(TcpStream, SocketAddr, Option<OwnedSemaphorePermit>)> {
        let (stream, client) = listener.accept().await?;
        if self.places.available_permits() == 0 {
            self.herald.full();
        }
        // The semaphore is never closed, so there is always a permit.
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        Ok((stream, client, place))
    }
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
