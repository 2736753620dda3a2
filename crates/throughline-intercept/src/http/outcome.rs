//! Outcome of an exchange: the status of its response, or the failure that ended it.

use throughline_model::context::Carrier;
use throughline_model::convention::{ERROR_TYPE, HTTP_RESPONSE_STATUS_CODE, RPC_GRPC_STATUS_CODE};
use throughline_model::{Span, Status, grpc};

use super::request::{Direction, header_text};
use crate::correlate::{CallOutcome, RequestOutcome};
use crate::trace::{push, push_some};

/// Reason for which an exchange ended without a complete response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExchangeFailure {
    /// The downstream went away.
    Cancelled,
    /// The upstream reset the stream or closed the connection.
    Reset,
    /// The upstream could not be reached.
    Connect,
    /// A deadline passed.
    Timeout,
    /// The upstream violated the protocol.
    Protocol,
    /// The proxy shut down.
    Shutdown,
}

/// Status of a response, as far as it has arrived, or the failure in its place.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ExchangeOutcome {
    pub(super) status: Option<u16>,
    pub(super) grpc_status: Option<u32>,
    pub(super) failure: Option<ExchangeFailure>,
}

/// Value of `error.type`, and whether the span has the status ERROR.
struct HttpSpanError {
    error_type: String,
    is_span_error: bool,
}

// === impl ExchangeFailure ===

impl ExchangeFailure {
    /// Returns the value of `error.type`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::Reset => "reset",
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Protocol => "protocol",
            Self::Shutdown => "shutdown",
        }
    }
}

// === impl ExchangeOutcome ===

impl ExchangeOutcome {
    /// Reads `grpc-status`, which is in the trailers, or in the headers of a response without body.
    pub(super) fn read_grpc_status(&mut self, headers: &dyn Carrier) {
        let status = header_text(headers, "grpc-status");
        if let Some(status) = status.and_then(|status| status.trim().parse().ok()) {
            self.grpc_status = Some(status);
        }
    }

    /// Returns how an inbound request ended for the correlator.
    pub(super) const fn request_outcome(&self) -> RequestOutcome {
        match self.failure {
            // The service never received a request that could not be connected.
            None | Some(ExchangeFailure::Connect) => RequestOutcome::Completed,
            Some(
                ExchangeFailure::Cancelled
                | ExchangeFailure::Reset
                | ExchangeFailure::Timeout
                | ExchangeFailure::Protocol
                | ExchangeFailure::Shutdown,
            ) => RequestOutcome::Aborted,
        }
    }

    /// Returns how an outbound call ended for the correlator: callers retry what failed.
    pub(super) fn call_outcome(&self) -> CallOutcome {
        // 408, 425 and 429 ask the client to send the request again later (RFC 9110, section
        // 15.5.9; RFC 8470, section 5.2; RFC 6585, section 4).
        let is_retryable = |status: u16| status >= 500 || matches!(status, 408 | 425 | 429);
        let is_success = self.failure.is_none()
            && self.status.is_some_and(|status| !is_retryable(status))
            && self
                .grpc_status
                .is_none_or(|status| status == grpc::STATUS_OK);
        if is_success {
            CallOutcome::Succeeded
        } else {
            CallOutcome::Failed
        }
    }

    /// Writes the outcome on the span.
    pub(super) fn apply_to(&self, span: &mut Span, direction: Direction) {
        let attributes = &mut span.attributes;
        let (status, grpc_status) = (self.status.map(i64::from), self.grpc_status.map(i64::from));
        push_some(attributes, HTTP_RESPONSE_STATUS_CODE, status);
        push_some(attributes, RPC_GRPC_STATUS_CODE, grpc_status);
        if let Some(error) = self.span_error(direction) {
            push(attributes, ERROR_TYPE, error.error_type);
            if error.is_span_error {
                span.status = Status::Error(String::new());
            }
        }
    }

    /// Returns the error of the exchange (HTTP conventions, "Status"; gRPC conventions, "Span
    /// status").
    fn span_error(&self, direction: Direction) -> Option<HttpSpanError> {
        let is_client = direction == Direction::Outbound;
        if let Some(failure) = self.failure {
            return Some(HttpSpanError {
                error_type: failure.name().to_owned(),
                // The client gave up on purpose: neither side failed.
                is_span_error: failure != ExchangeFailure::Cancelled,
            });
        }
        // A 4xx response is an error for the client that receives it, not for the server.
        let min_error_status = if is_client { 400 } else { 500 };
        let http_error = self.status.filter(|status| *status >= min_error_status);
        let grpc_error = self
            .grpc_status
            .filter(|status| *status != grpc::STATUS_OK)
            .filter(|status| is_client || grpc::is_server_error(*status));
        let error_type = match (http_error, grpc_error) {
            (Some(status), _) => status.to_string(),
            (None, Some(status)) => grpc::status_name(status).to_owned(),
            (None, None) => return None,
        };
        Some(HttpSpanError {
            error_type,
            is_span_error: true,
        })
    }
}
