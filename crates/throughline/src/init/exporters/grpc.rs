//! The settings of exporters over gRPC.

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry_otlp::tonic_types::metadata::MetadataMap;
use opentelemetry_otlp::{Compression, WithExportConfig, WithTonicConfig};

use crate::init::config::ExportTarget;

/// Applies the settings of a target to an exporter of either signal over gRPC.
pub(super) fn configure<B>(builder: B, target: &ExportTarget) -> B
where
    B: WithExportConfig + WithTonicConfig,
{
    let builder = builder
        .with_endpoint(&target.endpoint)
        .with_timeout(target.timeout)
        .with_metadata(grpc_metadata(target));
    if target.gzip {
        builder.with_compression(Compression::Gzip)
    } else {
        builder
    }
}

/// Returns the configured headers, which are checked already, as gRPC metadata.
fn grpc_metadata(target: &ExportTarget) -> MetadataMap {
    let pairs = target.headers.iter().filter_map(|(key, value)| {
        Some((
            // Invalid headers were reported before, so none is dropped here.
            HeaderName::from_bytes(key.as_bytes()).ok()?,
            HeaderValue::from_bytes(value.as_bytes()).ok()?,
        ))
    });
    MetadataMap::from_headers(pairs.collect::<HeaderMap>())
}
