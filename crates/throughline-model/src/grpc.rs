//! Status codes of gRPC: their names, and whether they are errors of the server.

/// Status code of a call that succeeded.
pub const STATUS_OK: u32 = 0;

/// Names of the status codes, in the order of their numbers.
const STATUS_NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// Returns the name of a status code.
#[must_use]
pub fn status_name(status: u32) -> &'static str {
    usize::try_from(status)
        .ok()
        .and_then(|status| STATUS_NAMES.get(status))
        .copied()
        // gRPC: a client treats a code that it does not know as UNKNOWN.
        .unwrap_or("UNKNOWN")
}

/// Returns whether a status code is an error of the server. The others are the client's (gRPC
/// conventions, "Span status").
#[must_use]
pub const fn is_server_error(status: u32) -> bool {
    matches!(status, 2 | 4 | 12 | 13 | 14 | 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_status_codes_are_named_unknown() {
        assert_eq!(status_name(STATUS_OK), "OK");
        assert_eq!(status_name(13), "INTERNAL");
        assert_eq!(status_name(99), "UNKNOWN");
    }

    #[test]
    fn errors_of_the_client_are_not_the_servers() {
        assert!(is_server_error(13) && !is_server_error(5) && !is_server_error(STATUS_OK));
    }
}
