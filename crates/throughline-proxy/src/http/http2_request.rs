//! One attempt to send a request on an upstream connection in HTTP/2, and why it failed.

use http::Response;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;

use super::error::{ProxyError, Termination};
use super::http2_pool::StreamPermit;
use super::replay::ReplayableRequest;

/// Why a request did not get a response on an HTTP/2 connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Http2Failure {
    /// The request was not sent, or the server's GOAWAY excludes it (RFC 9113, section 6.8).
    Excluded,
    /// The server refused the stream (RFC 9113, section 8.7).
    Refused,
    /// The connection does not answer.
    Abandoned,
    /// The stream was reset, or the connection ended.
    Terminated(Termination),
}

// === impl Http2Failure ===

impl Http2Failure {
    fn of<T>(error: &TrySendError<T>) -> Self {
        tracing::debug!(error = %error.error(), "upstream request failed");
        if error.message().is_some() {
            return Self::Excluded;
        }
        let mut source = std::error::Error::source(error.error());
        while let Some(cause) = source {
            if let Some(error) = cause
                .downcast_ref::<h2::Error>()
                .filter(|h2| h2.is_remote())
            {
                if error.is_go_away() {
                    return Self::Excluded;
                }
                if error.reason() == Some(h2::Reason::REFUSED_STREAM) {
                    return Self::Refused;
                }
            }
            source = cause.source();
        }
        Self::Terminated(Termination::of(error.error()))
    }

    pub(super) const fn is_unprocessed(self) -> bool {
        matches!(self, Self::Excluded | Self::Refused)
    }

    /// Whether the connection ended.
    pub(super) const fn is_lost(self) -> bool {
        matches!(
            self,
            Self::Abandoned | Self::Terminated(Termination::Closed | Termination::Reset)
        )
    }
}

impl From<Http2Failure> for ProxyError {
    fn from(failure: Http2Failure) -> Self {
        Self::ConnectionTerminated(match failure {
            Http2Failure::Excluded | Http2Failure::Refused => Termination::REFUSED,
            Http2Failure::Abandoned => Termination::Closed,
            Http2Failure::Terminated(termination) => termination,
        })
    }
}

/// Sends a request on a stream and waits for the response head.
pub(super) async fn send_on_stream(
    permit: &StreamPermit,
    request: &mut ReplayableRequest,
    may_repeat: bool,
) -> Result<Response<Incoming>, Http2Failure> {
    let (connection, mut sender) = (permit.connection(), permit.sender());
    let attempt = request.attempt(None);
    // The task of a connection that has received GOAWAY ends, with the one request whose stream
    // waits to be opened; its body shows that it was not sent.
    let is_unsent = || request.awaits_body();
    tokio::select! {
        sent = sender.try_send_request(attempt) => sent.map_err(|error| {
            if error.error().is_user() && is_unsent() {
                Http2Failure::Excluded
            } else {
                Http2Failure::of(&error)
            }
        }),
        // The connection does not answer; another one will.
        () = connection.abandoned(), if may_repeat => Err(Http2Failure::Abandoned),
        // In some interleavings the library forgets that request, which would wait for ever.
        () = connection.ended() => Err(if is_unsent() {
            Http2Failure::Excluded
        } else {
            Http2Failure::Terminated(Termination::Closed)
        }),
    }
}
