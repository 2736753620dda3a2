//! Responses of all routes: JSON, or an error as plain text.

use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use throughline_query::SyntaxError;

use super::super::state::{QueryError, json_response};

pub(super) fn respond(body: Result<Bytes, QueryError>) -> Response {
    match body {
        Ok(body) => json_response(StatusCode::OK, body),
        Err(error) => error_response(error),
    }
}

pub(super) fn error_response(error: QueryError) -> Response {
    let (status, message) = error.into_status_and_message();
    let headers = [(CONTENT_TYPE, "text/plain; charset=utf-8")];
    (status, headers, message).into_response()
}

/// Returns the error of a query line, with the column as people count it.
pub(super) fn invalid_query(error: &SyntaxError) -> QueryError {
    QueryError::Invalid(format!(
        "invalid TraceQL query: line 1, column {}: {}",
        error.position + 1,
        error.message
    ))
}
