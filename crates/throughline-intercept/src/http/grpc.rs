//! gRPC over HTTP/2: content types, methods and status codes.

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

/// Status code of a call that succeeded.
pub(super) const STATUS_OK: u32 = 0;

/// Returns whether a content type is that of gRPC: `application/grpc`, with a subtype or
/// parameters. gRPC-Web is another protocol, with its status in the body.
pub(super) fn is_content_type(content_type: &str) -> bool {
    content_type
        .strip_prefix("application/grpc")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['+', ';']))
}

/// Splits `/package.Service/Method` into service and method.
pub(super) fn split_path(path: &str) -> Option<(&str, &str)> {
    path.strip_prefix('/')?.rsplit_once('/')
}

/// Returns the name of a status code.
pub(super) fn status_name(status: u32) -> &'static str {
    usize::try_from(status)
        .ok()
        .and_then(|status| STATUS_NAMES.get(status))
        .copied()
        // gRPC: a client treats a code that it does not know as UNKNOWN.
        .unwrap_or("UNKNOWN")
}

/// Returns whether a status code is an error of the server. The others are the client's (gRPC
/// conventions, "Span status").
pub(super) const fn is_server_error(status: u32) -> bool {
    matches!(status, 2 | 4 | 12 | 13 | 14 | 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_type_of_grpc_is_recognized() {
        for content_type in [
            "application/grpc",
            "application/grpc+proto",
            "application/grpc;charset=utf-8",
        ] {
            assert!(is_content_type(content_type), "{content_type}");
        }
        for content_type in ["application/grpc-web", "application/json", ""] {
            assert!(!is_content_type(content_type), "{content_type}");
        }
    }
}
