//! Batches over UDP, as Jaeger's clients send them to an agent on the same host.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

use super::batch::decode_agent_call;
use crate::config::CollectorEndpoint;
use crate::ingest::IngestPipeline;

/// The largest datagram of UDP. Clients keep theirs below 65,000 bytes.
const MAX_DATAGRAM_BYTES: usize = 65_535;

/// Pause after a failed read.
const READ_RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// Stores the spans of datagrams until `stopping` is cancelled. UDP has no answers, so
/// rejected datagrams are counted, and the first one is logged.
pub(crate) async fn serve(
    socket: UdpSocket,
    endpoint: CollectorEndpoint,
    pipeline: Arc<IngestPipeline>,
    stopping: CancellationToken,
) {
    let mut buffer = vec![0; MAX_DATAGRAM_BYTES];
    loop {
        let received = tokio::select! {
            () = stopping.cancelled() => return,
            received = socket.recv(&mut buffer) => received,
        };
        let length = match received {
            Ok(length) => length,
            Err(error) => {
                tracing::debug!(endpoint = endpoint.label(), %error, "read failed");
                tokio::time::sleep(READ_RETRY_INTERVAL).await;
                continue;
            }
        };
        let Some(datagram) = buffer.get(..length) else {
            continue;
        };
        // One after another: the next ones wait in the buffer of the socket, which is bounded.
        pipeline
            .store_datagram(endpoint, datagram.to_vec(), decode_agent_call)
            .await;
    }
}
