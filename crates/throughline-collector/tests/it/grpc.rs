//! OTLP over gRPC, with tonic's client.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use tonic::codec::CompressionEncoding;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::running::{RunningCollector, request_message};

/// Returns a connected client.
pub(crate) fn client(collector: &RunningCollector) -> TraceServiceClient<Channel> {
    let endpoint = format!("http://{}", collector.addresses.otlp_grpc);
    collector
        .runtime
        .block_on(TraceServiceClient::connect(endpoint))
        .unwrap()
}

fn export(
    collector: &RunningCollector,
    client: &mut TraceServiceClient<Channel>,
    name: usize,
) -> Result<ExportTraceServiceResponse, Status> {
    collector
        .runtime
        .block_on(client.export(request_message(name)))
        .map(tonic::Response::into_inner)
}

#[test]
fn spans_are_stored_with_and_without_compression() {
    let collector = RunningCollector::start();
    let codings = [
        None,
        Some(CompressionEncoding::Gzip),
        // Named `deflate`, as zlib is in gRPC.
        Some(CompressionEncoding::Deflate),
        Some(CompressionEncoding::Zstd),
    ];
    for (coding, name) in codings.into_iter().zip(5..) {
        let mut client = client(&collector);
        if let Some(coding) = coding {
            client = client.send_compressed(coding);
        }
        let response = export(&collector, &mut client, name).unwrap();
        assert_eq!(response.partial_success, None, "{coding:?}");
    }
    let trace = collector.query(&format!("/api/traces/{}", "01".repeat(16)));
    assert_eq!(trace["data"][0]["spans"][0]["operationName"], "xxxxxxxx");
    let metrics = collector.get("/metrics").text();
    assert!(
        metrics.contains("throughline_requests_total{door=\"otlp_grpc\",code=\"0\"} 4"),
        "{metrics}"
    );
}

#[test]
fn invalid_spans_make_a_partial_success() {
    let collector = RunningCollector::start();
    let mut request = request_message(1);
    request.resource_spans[0].scope_spans[0].spans[0]
        .span_id
        .clear();
    let mut client = client(&collector);
    let response = collector
        .runtime
        .block_on(client.export(request))
        .unwrap()
        .into_inner();
    assert_eq!(response.partial_success.unwrap().rejected_spans, 1);
}

#[test]
fn oversized_messages_are_rejected_without_retry_before_and_after_inflation() {
    let collector = RunningCollector::with(|limits| limits.max_body_bytes = 1 << 20);
    let mut plain = client(&collector);
    let mut zipped = client(&collector).send_compressed(CompressionEncoding::Gzip);
    for client in [&mut plain, &mut zipped] {
        let status = export(&collector, client, 1 << 20).unwrap_err();
        // OTLP clients retry this code only with RetryInfo, which must be absent.
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
        assert!(status.get_details_retry_info().is_none());
    }
    assert!(export(&collector, &mut plain, 5).is_ok());
}

#[test]
fn requests_beyond_the_memory_limit_are_rejected_with_retry_info() {
    let collector = RunningCollector::with(|limits| limits.max_in_flight_bytes = 1 << 20);
    let status = export(&collector, &mut client(&collector), 2 << 20).unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert_eq!(
        status.get_details_retry_info().unwrap().retry_delay,
        Some(std::time::Duration::from_secs(1))
    );
}

#[test]
fn metrics_and_logs_are_accepted_and_other_methods_are_unimplemented() {
    let collector = RunningCollector::start();
    for (method, expected) in [
        (
            "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            Code::Ok,
        ),
        (
            "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
            Code::Ok,
        ),
        (
            "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export",
            Code::Unimplemented,
        ),
    ] {
        assert_eq!(call(&collector, method), expected, "{method}");
    }
}

/// Calls a method with the message of any signal; those of an empty export are alike.
fn call(collector: &RunningCollector, method: &'static str) -> Code {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    let endpoint = format!("http://{}", collector.addresses.otlp_grpc);
    let result = collector.runtime.block_on(async {
        let channel = tonic::transport::Endpoint::new(endpoint)
            .unwrap()
            .connect()
            .await
            .unwrap();
        let mut grpc = tonic::client::Grpc::new(channel);
        grpc.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<
            ExportTraceServiceRequest,
            ExportTraceServiceResponse,
        >::default();
        grpc.unary(
            tonic::Request::new(ExportTraceServiceRequest::default()),
            http::uri::PathAndQuery::from_static(method),
            codec,
        )
        .await
    });
    result.map_or_else(|status| status.code(), |_| Code::Ok)
}
