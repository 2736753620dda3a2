//! The errors of our own API.

use serde::Serialize;
use utoipa::ToSchema;

use crate::query::state::QueryError;

/// Message for a trace that was never received, or was evicted.
pub(super) const NOT_STORED: &str = "this trace is not stored (never received, or evicted)";

/// An error.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ErrorResponse {
    /// HTTP status.
    status: u16,
    /// Cause and remedy.
    message: String,
    /// Invalid parameter, if the error is about one.
    parameter: Option<String>,
    /// Position of the error in `q`, in characters from 0.
    position: Option<u32>,
}

/// A failed request, with the parameter that caused it.
#[derive(Debug)]
pub(super) struct ApiError {
    error: QueryError,
    parameter: Option<&'static str>,
    position: Option<usize>,
}

// === impl ApiError ===

impl ApiError {
    /// Creates the error of an invalid parameter.
    pub(super) fn invalid(parameter: &'static str, message: impl Into<String>) -> Self {
        Self {
            error: QueryError::Invalid(message.into()),
            parameter: Some(parameter),
            position: None,
        }
    }

    /// Sets the position of the error within the parameter.
    pub(super) const fn at(mut self, position: usize) -> Self {
        self.position = Some(position);
        self
    }
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        Self {
            error,
            parameter: None,
            position: None,
        }
    }
}

impl From<ApiError> for (http::StatusCode, ErrorResponse) {
    fn from(error: ApiError) -> Self {
        let (status, message) = error.error.into_status_and_message();
        let position = error.position.and_then(|at| u32::try_from(at).ok());
        let response = ErrorResponse {
            status: status.as_u16(),
            message,
            parameter: error.parameter.map(str::to_owned),
            position,
        };
        (status, response)
    }
}
