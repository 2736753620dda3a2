//! gRPC over HTTP/2: content types and methods.

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
