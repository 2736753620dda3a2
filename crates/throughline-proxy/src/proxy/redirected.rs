//! Dispatch of redirected connections to the server of their protocol.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use throughline_intercept::http::Direction;
use tokio::net::TcpStream;

use crate::http;
use crate::kafka::cluster::SharedCluster;
use crate::kafka::server::KafkaServer;
use crate::listener::detect_server::{DetectServer, DetectedConnection};
use crate::listener::original_destination::RedirectedConnection;
use crate::listener::protocol::DetectedProtocol;
use crate::transport::dial::DialedSocket;
use crate::transport::{stream, tunnel};

/// The server of connections that are redirected in one direction.
pub(super) struct RedirectedServer {
    pub(super) detect: DetectServer,
    pub(super) kafka: Arc<KafkaServer>,
    pub(super) cluster: Arc<SharedCluster>,
    pub(super) http: http::RedirectedHttpServer,
}

// === impl RedirectedServer ===

impl RedirectedServer {
    /// Serves a connection until it ends.
    pub(super) async fn serve(self: Arc<Self>, stream: TcpStream, client: SocketAddr) {
        let Some(detected) = self.detect.detect(stream, client).await else {
            return;
        };
        let DetectedConnection {
            redirected,
            protocol,
            upstream,
        } = detected;
        let direction = self.detect.direction;
        match protocol {
            DetectedProtocol::Http1 | DetectedProtocol::Http2 => {
                // The dialed connection carries the first request, so that nothing is dialed twice.
                self.http
                    .serve(direction, redirected, protocol, upstream)
                    .await;
            }
            // Kafka is traced at its clients: a broker beside the proxy gets plain bytes.
            DetectedProtocol::Kafka if direction == Direction::Outbound => {
                Arc::clone(&self.kafka)
                    .serve_redirected(redirected, &self.cluster, upstream)
                    .await;
            }
            // TLS is between client and server: its bytes cannot be read.
            DetectedProtocol::Kafka | DetectedProtocol::Tls | DetectedProtocol::Unknown => {
                self.tunnel(redirected, upstream).await;
            }
        }
    }

    async fn tunnel(&self, redirected: RedirectedConnection, upstream: io::Result<DialedSocket>) {
        let RedirectedConnection {
            stream: downstream,
            destination,
            ..
        } = redirected;
        match upstream {
            Ok(DialedSocket {
                stream: upstream,
                own_guard: _own_guard,
            }) => tunnel::copy_both_ways(downstream, upstream, &self.kafka.drain).await,
            Err(error) => {
                tracing::debug!(%destination, %error, "upstream connect failed");
                stream::reset_on_close(&downstream);
            }
        }
    }
}
