//! HTTP spans by OpenTelemetry's stable conventions, gRPC included: tower layers for servers and
//! clients, a middleware for reqwest.

mod client;
#[cfg(feature = "tower")]
mod client_layer;
#[cfg(feature = "tower")]
mod grpc;
mod headers;
#[cfg(feature = "tower")]
mod layer_response;
#[cfg(feature = "tower")]
mod request_metadata;
#[cfg(feature = "tower")]
mod server;
#[cfg(feature = "tower")]
mod server_span;

use std::borrow::Cow;

use http::{Method, Version};

#[cfg(feature = "reqwest")]
pub use client::ClientTracing;
pub use client::UrlTemplate;
#[cfg(feature = "tower")]
pub use client_layer::{ClientLayer, ClientService};
#[cfg(feature = "tower")]
pub use layer_response::{ResponseFuture, TracedBody};
#[cfg(feature = "tower")]
pub use request_metadata::RequestMetadata;
#[cfg(feature = "tower")]
pub use server::{ServerLayer, ServerService};
#[cfg(feature = "tower")]
pub use server_span::{ClientAddress, MatchedRoute};

/// Returns a known method. The conventions replace others by `_OTHER`, to bound the number of
/// names.
const fn known_method(method: &Method) -> Option<&'static str> {
    Some(match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        Method::CONNECT => "CONNECT",
        Method::TRACE => "TRACE",
        _ => return None,
    })
}

/// Returns `{method} {target}`; an unknown method is named `HTTP` (HTTP spans, "Name").
fn span_name(method: &Method, target: Option<&str>) -> Cow<'static, str> {
    let method = known_method(method).unwrap_or("HTTP");
    target.map_or(Cow::Borrowed(method), |target| {
        Cow::Owned(format!("{method} {target}"))
    })
}

/// Returns the version without the name of the protocol, such as `1.1` or `2`.
const fn protocol_version(version: Version) -> Option<&'static str> {
    match version {
        Version::HTTP_09 => Some("0.9"),
        Version::HTTP_10 => Some("1.0"),
        Version::HTTP_11 => Some("1.1"),
        Version::HTTP_2 => Some("2"),
        Version::HTTP_3 => Some("3"),
        _ => None,
    }
}
