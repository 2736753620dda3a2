//! Queries over gRPC: Jaeger's API v3 and its Remote Storage API v2, with tonic's client.

use std::collections::HashMap;

use opentelemetry_proto::tonic::common::v1::any_value::Value as ProtoValue;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::{Span, TracesData};
use prost::Message;
use serde_json::{Value, json};
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::running::{RunningCollector, TRACE};

const API_V3: &str = "/jaeger.api_v3.QueryService/";
const TRACE_READER: &str = "/jaeger.storage.v2.TraceReader/";
const DEPENDENCIES: &str = "/jaeger.storage.v2.DependencyReader/GetDependencies";
const OTHER_TRACE: &str = "0af7651916cd43dd8448eb211c80319d";

/// `google.protobuf.Timestamp` and `Duration`.
#[derive(Clone, Copy, PartialEq, Message)]
struct Time {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// The longest of the requests: a text or id, and a second text.
#[derive(Clone, PartialEq, Message)]
struct TwoTexts {
    #[prost(string, tag = "1")]
    first: String,
    #[prost(string, tag = "2")]
    second: String,
}

#[derive(Clone, PartialEq, Message)]
struct GetTrace {
    #[prost(string, tag = "1")]
    trace_id: String,
    #[prost(bool, tag = "4")]
    raw_traces: bool,
}

#[derive(Clone, PartialEq, Message)]
struct Find<Q: Message + Default + std::fmt::Debug> {
    #[prost(message, optional, tag = "1")]
    query: Option<Q>,
}

#[derive(Clone, PartialEq, Message)]
struct QueryV3 {
    #[prost(string, tag = "1")]
    service: String,
    #[prost(string, tag = "2")]
    operation: String,
    #[prost(map = "string, string", tag = "3")]
    attributes: HashMap<String, String>,
    #[prost(message, optional, tag = "4")]
    start_min: Option<Time>,
    #[prost(message, optional, tag = "5")]
    start_max: Option<Time>,
    #[prost(message, optional, tag = "6")]
    duration_min: Option<Time>,
    #[prost(message, optional, tag = "7")]
    duration_max: Option<Time>,
    #[prost(int32, tag = "8")]
    search_depth: i32,
}

#[derive(Clone, PartialEq, Message)]
struct StorageQuery {
    #[prost(string, tag = "1")]
    service: String,
    #[prost(message, repeated, tag = "3")]
    attributes: Vec<KeyValue>,
    #[prost(message, optional, tag = "5")]
    start_max: Option<Time>,
    #[prost(int32, tag = "8")]
    search_depth: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Ids {
    #[prost(message, repeated, tag = "1")]
    ids: Vec<Id>,
}

#[derive(Clone, PartialEq, Message)]
struct Id {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    start: Option<Time>,
    #[prost(message, optional, tag = "3")]
    end: Option<Time>,
}

#[derive(Clone, PartialEq, Message)]
struct Names {
    #[prost(string, repeated, tag = "1")]
    names: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct Operations {
    #[prost(message, repeated, tag = "1")]
    operations: Vec<TwoTexts>,
}

#[derive(Clone, PartialEq, Message)]
struct Dependencies {
    #[prost(message, repeated, tag = "1")]
    dependencies: Vec<Dependency>,
}

#[derive(Clone, PartialEq, Message)]
struct Dependency {
    #[prost(string, tag = "1")]
    parent: String,
    #[prost(string, tag = "2")]
    child: String,
    #[prost(uint64, tag = "3")]
    calls: u64,
}

/// Calls a method, and returns all messages of the response.
fn call<Q, R>(collector: &RunningCollector, method: &str, request: Q) -> Result<Vec<R>, Status>
where
    Q: Message + 'static,
    R: Message + Default + 'static,
{
    send(collector, method, Request::new(request), None)
}

fn send<Q, R>(
    collector: &RunningCollector,
    method: &str,
    request: Request<Q>,
    coding: Option<CompressionEncoding>,
) -> Result<Vec<R>, Status>
where
    Q: Message + 'static,
    R: Message + Default + 'static,
{
    let address = collector.addresses.query_grpc.unwrap();
    let endpoint = Channel::from_shared(format!("http://{address}"));
    collector.runtime.block_on(async {
        let channel = endpoint.unwrap().connect().await;
        let mut grpc = tonic::client::Grpc::new(channel.unwrap());
        if let Some(coding) = coding {
            grpc = grpc.send_compressed(coding);
        }
        grpc.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<Q, R>::default();
        let path = method.parse().unwrap();
        let mut stream = grpc
            .server_streaming(request, path, codec)
            .await?
            .into_inner();
        let mut messages = Vec::new();
        while let Some(message) = stream.message().await? {
            messages.push(message);
        }
        Ok(messages)
    })
}

fn one<R>(messages: Result<Vec<R>, Status>) -> R {
    let mut messages = messages.unwrap();
    assert_eq!(messages.len(), 1);
    messages.remove(0)
}

fn code<R: std::fmt::Debug>(result: Result<Vec<R>, Status>) -> (Code, String) {
    let status = result.unwrap_err();
    (status.code(), status.message().to_owned())
}

/// Sends two traces: a checkout that calls inventory, and a search.
fn collector_with_traces() -> RunningCollector {
    let collector = RunningCollector::start();
    let spans = |service: &str, spans: Value| {
        json!({
            "resource": { "attributes": [
                { "key": "service.name", "value": { "stringValue": service } },
            ] },
            "scopeSpans": [{ "spans": spans }],
        })
    };
    let span = |trace: &str, (id, parent): (&str, &str), name: &str, kind: u8, second: u64| {
        json!({
            "traceId": trace, "spanId": id, "parentSpanId": parent, "name": name, "kind": kind,
            "startTimeUnixNano": format!("170000000{second}000000000"),
            "endTimeUnixNano": format!("170000000{second}250000000"),
            "attributes": [
                { "key": "retries", "value": { "intValue": second.to_string() } },
                { "key": "cached", "value": { "boolValue": second == 5 } },
                { "key": "load", "value": { "doubleValue": 0.5 } },
            ],
        })
    };
    let (a, b, c) = ("00f067aa0ba902b1", "00f067aa0ba902b2", "00f067aa0ba902b3");
    collector.send(&json!({ "resourceSpans": [
        spans("eshop", json!([
            span(TRACE, (a, ""), "GET /checkout", 2, 1),
            span(TRACE, (b, a), "POST /createOrder", 3, 2),
            span(OTHER_TRACE, (a, ""), "GET /search", 2, 5),
        ])),
        spans("inventory", json!([span(TRACE, (c, b), "POST /createOrder", 2, 3)])),
    ]}));
    collector
}

const fn at(seconds: i64) -> Time {
    let seconds = 1_700_000_000 + seconds;
    Time { seconds, nanos: 0 }
}

fn query_v3() -> QueryV3 {
    QueryV3 {
        service: "eshop".to_owned(),
        start_min: Some(at(0)),
        start_max: Some(at(10)),
        ..QueryV3::default()
    }
}

fn find_v3(collector: &RunningCollector, query: QueryV3) -> Result<Vec<TracesData>, Status> {
    let request = Find { query: Some(query) };
    call(collector, &[API_V3, "FindTraces"].concat(), request)
}

fn find_stored(
    collector: &RunningCollector,
    query: StorageQuery,
) -> Result<Vec<TracesData>, Status> {
    let request = Find { query: Some(query) };
    call(collector, &[TRACE_READER, "FindTraces"].concat(), request)
}

fn spans(traces: &TracesData) -> Vec<&Span> {
    let scopes = traces.resource_spans.iter().flat_map(|it| &it.scope_spans);
    scopes.flat_map(|scope| &scope.spans).collect()
}

/// Returns the ids of the traces, each of which has messages of its own.
fn ids(messages: &[TracesData]) -> Vec<String> {
    let ids = messages.iter().map(|message| {
        let spans = spans(message);
        let id = &spans[0].trace_id;
        assert!(spans.iter().all(|span| span.trace_id == *id));
        hex(id)
    });
    ids.collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    u128::from_str_radix(text, 16)
        .unwrap()
        .to_be_bytes()
        .to_vec()
}

fn operations(collector: &RunningCollector, service: &str, request: (&str, &str)) -> Vec<String> {
    let method = [service, "GetOperations"].concat();
    let (first, second) = (request.0.to_owned(), request.1.to_owned());
    let found: Operations = one(call(collector, &method, TwoTexts { first, second }));
    let operations = found.operations.into_iter();
    operations
        .map(|operation| format!("{} {}", operation.second, operation.first))
        .collect()
}

#[test]
fn both_interfaces_list_services_and_operations() {
    let collector = collector_with_traces();
    for service in [API_V3, TRACE_READER] {
        let method = [service, "GetServices"].concat();
        let services: Names = one(call(&collector, &method, ()));
        assert_eq!(services.names, ["eshop", "inventory"], "{service}");
        let all = operations(&collector, service, ("eshop", ""));
        let expected = [
            "server GET /checkout",
            "server GET /search",
            "client POST /createOrder",
        ];
        assert_eq!(all, expected, "{service}");
        let clients = operations(&collector, service, ("eshop", "client"));
        assert_eq!(clients, ["client POST /createOrder"], "{service}");
        let request = TwoTexts {
            second: "sideways".to_owned(),
            ..TwoTexts::default()
        };
        let method = [service, "GetOperations"].concat();
        let (code, message) = code(call::<_, Operations>(&collector, &method, request));
        assert_eq!(code, Code::InvalidArgument, "{service}");
        assert!(message.contains("not \"sideways\""), "{message}");
    }
}

#[test]
fn v3_returns_a_trace_by_id_and_the_traces_of_a_search() {
    let collector = collector_with_traces();
    let trace = |trace_id: &str| {
        let (trace_id, raw_traces) = (trace_id.to_owned(), true);
        let request = GetTrace {
            trace_id,
            raw_traces,
        };
        call::<_, TracesData>(&collector, &[API_V3, "GetTrace"].concat(), request)
    };
    let found = one(trace(TRACE));
    assert_eq!(spans(&found).len(), 3);
    // By resource.
    assert_eq!(found.resource_spans.len(), 2);
    let unknown = "0af7651916cd43dd8448eb211c8031ff";
    assert_eq!(
        code(trace(unknown)),
        (Code::NotFound, "trace not found".to_owned())
    );
    let (invalid, message) = code(trace("xyz"));
    assert_eq!(invalid, Code::InvalidArgument);
    assert!(message.contains("\"xyz\" is not a trace id"), "{message}");

    let found = |query| ids(&find_v3(&collector, query).unwrap());
    // Newest first.
    assert_eq!(found(query_v3()), [OTHER_TRACE, TRACE]);
    let depth = QueryV3 {
        search_depth: 1,
        ..query_v3()
    };
    assert_eq!(found(depth), [OTHER_TRACE]);
    let operation = QueryV3 {
        operation: "GET /checkout".to_owned(),
        ..query_v3()
    };
    assert_eq!(found(operation), [TRACE]);
    let tagged = QueryV3 {
        attributes: HashMap::from([("retries".to_owned(), "5".to_owned())]),
        ..query_v3()
    };
    assert_eq!(found(tagged), [OTHER_TRACE]);
    let early = QueryV3 {
        start_max: Some(at(4)),
        ..query_v3()
    };
    assert_eq!(found(early), [TRACE]);
    let long = QueryV3 {
        duration_min: Some(Time {
            seconds: 1,
            nanos: 0,
        }),
        ..query_v3()
    };
    // A stream without messages.
    assert_eq!(found(long), Vec::<String>::new());
}

#[test]
fn searches_that_cannot_be_answered_name_the_field() {
    let collector = collector_with_traces();
    let negative = Some(Time {
        seconds: -1,
        nanos: 0,
    });
    for (query, expected) in [
        (
            QueryV3 {
                start_min: None,
                ..query_v3()
            },
            "start_time_min is required",
        ),
        (
            QueryV3 {
                start_max: None,
                ..query_v3()
            },
            "start_time_max is required",
        ),
        (
            QueryV3 {
                duration_max: negative,
                ..query_v3()
            },
            "duration_max is negative",
        ),
        (
            QueryV3 {
                search_depth: -1,
                ..query_v3()
            },
            "search_depth must be",
        ),
    ] {
        let (code, message) = code(find_v3(&collector, query));
        assert_eq!(code, Code::InvalidArgument, "{expected}");
        assert!(message.starts_with(expected), "{message}");
    }
    let method = [API_V3, "FindTraces"].concat();
    let empty = call::<_, TracesData>(&collector, &method, ());
    assert_eq!(
        code(empty),
        (Code::InvalidArgument, "query is required".to_owned())
    );
}

#[test]
fn a_jaeger_reads_traces_ids_and_dependencies() {
    let collector = collector_with_traces();
    let by_id = |texts: &[&str]| {
        let ids = texts.iter().map(|text| Id {
            id: unhex(text),
            // Ignored: a trace is returned whole.
            start: Some(at(100)),
            ..Id::default()
        });
        let request = Ids { ids: ids.collect() };
        call::<_, TracesData>(&collector, &[TRACE_READER, "GetTraces"].concat(), request)
    };
    // Unknown ids are left out.
    let unknown = "0af7651916cd43dd8448eb211c8031ff";
    let found = by_id(&[OTHER_TRACE, unknown, TRACE, OTHER_TRACE]).unwrap();
    assert_eq!(ids(&found), [OTHER_TRACE, TRACE]);
    assert_eq!(by_id(&[unknown]).unwrap(), []);
    let (invalid, _) = code(by_id(&["0"]));
    assert_eq!(invalid, Code::InvalidArgument);
    let (many, message) = code(by_id(&vec![TRACE; 1501]));
    assert_eq!(many, Code::InvalidArgument);
    assert!(message.contains("ask for fewer at once"), "{message}");

    let request = Find::<StorageQuery>::default();
    let method = [TRACE_READER, "FindTraceIDs"].concat();
    let found: Ids = one(call(&collector, &method, request));
    assert_eq!(found.ids.len(), 2);
    assert_eq!(found.ids[1].id, unhex(TRACE));
    let range = (found.ids[1].start, found.ids[1].end.unwrap().nanos);
    assert_eq!(range, (Some(at(1)), 250_000_000));

    let until = |end: Option<Time>| {
        let request = Id {
            id: Vec::new(),
            start: end,
            end: None,
        };
        one::<Dependencies>(call(&collector, DEPENDENCIES, request)).dependencies
    };
    let call = Dependency {
        parent: "eshop".to_owned(),
        child: "inventory".to_owned(),
        calls: 1,
    };
    assert_eq!(until(Some(at(10))), [call]);
    assert_eq!(until(Some(at(1))), []);
}

#[test]
fn a_jaeger_finds_traces_by_attributes_of_every_scalar_type() {
    let collector = collector_with_traces();
    let tagged = |key: &str, value: Option<ProtoValue>| {
        let query = StorageQuery {
            service: "eshop".to_owned(),
            attributes: vec![KeyValue {
                key: key.to_owned(),
                value: Some(AnyValue { value }),
                ..KeyValue::default()
            }],
            ..StorageQuery::default()
        };
        find_stored(&collector, query)
    };
    for (key, value, expected) in [
        ("retries", ProtoValue::IntValue(5), &[OTHER_TRACE][..]),
        ("retries", ProtoValue::StringValue("1".to_owned()), &[TRACE]),
        ("cached", ProtoValue::BoolValue(true), &[OTHER_TRACE]),
        ("load", ProtoValue::DoubleValue(0.5), &[OTHER_TRACE, TRACE]),
        ("load", ProtoValue::DoubleValue(1.5), &[]),
    ] {
        let found = tagged(key, Some(value.clone())).unwrap();
        assert_eq!(ids(&found), expected, "{key} {value:?}");
    }
    let (code, message) = code(tagged("retries", Some(ProtoValue::BytesValue(vec![1]))));
    assert_eq!(code, Code::InvalidArgument);
    assert!(message.contains("\"retries\" must be a text"), "{message}");

    let limited = StorageQuery {
        search_depth: 1,
        start_max: Some(at(4)),
        ..StorageQuery::default()
    };
    assert_eq!(ids(&find_stored(&collector, limited).unwrap()), [TRACE]);
}

#[test]
fn large_traces_are_split_into_messages_that_clients_accept() {
    let collector = RunningCollector::start();
    // With tonic's limit of 4 MiB for a message, which is that of gRPC for Go too.
    let name = "x".repeat(1 << 20);
    for first in [1_u64, 6] {
        let spans = (first..first + 5).map(|number| {
            json!({
                "traceId": TRACE, "spanId": format!("{number:016x}"), "name": name,
                "startTimeUnixNano": "1700000000000000000",
                "endTimeUnixNano": "1700000000250000000",
            })
        });
        let spans: Vec<Value> = spans.collect();
        collector.send(&json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": spans }] }] }));
    }
    let request = GetTrace {
        trace_id: TRACE.to_owned(),
        raw_traces: false,
    };
    let method = [API_V3, "GetTrace"].concat();
    let messages: Vec<TracesData> = call(&collector, &method, request).unwrap();
    assert!(messages.len() > 1, "one message");
    let mut found: Vec<String> = messages
        .iter()
        .flat_map(spans)
        .map(|span| hex(&span.span_id))
        .collect();
    found.sort();
    found.dedup();
    assert_eq!(found.len(), 10);
}

#[test]
fn requests_are_limited_whether_compressed_or_not() {
    let collector = collector_with_traces();
    let find = |service: usize, coding| {
        let query = StorageQuery {
            service: "x".repeat(service),
            ..StorageQuery::default()
        };
        let request = Request::new(Find { query: Some(query) });
        let method = [TRACE_READER, "FindTraces"].concat();
        send::<_, TracesData>(&collector, &method, request, coding)
    };
    for coding in [
        None,
        Some(CompressionEncoding::Gzip),
        Some(CompressionEncoding::Zstd),
    ] {
        assert_eq!(find(1000, coding).unwrap(), [], "{coding:?}");
        let (code, message) = code(find(65 << 10, coding));
        assert_eq!(code, Code::ResourceExhausted, "{coding:?}");
        assert!(message.contains("larger than 65536 bytes"), "{message}");
    }
    let unknown = call::<_, Names>(&collector, &[API_V3, "Invent"].concat(), ());
    assert_eq!(code(unknown).0, Code::Unimplemented);
    let method = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    let (code, message) = code(call::<_, Names>(&collector, method, ()));
    assert_eq!(code, Code::Unimplemented);
    assert!(message.contains("writer.endpoint"), "{message}");
    // A field of another type than the message has.
    let method = [API_V3, "GetTrace"].concat();
    let wrong = Time {
        seconds: 1,
        nanos: 1,
    };
    let malformed = call::<_, Names>(&collector, &method, wrong);
    assert_eq!(malformed.unwrap_err().code(), Code::InvalidArgument);
    let metrics = collector.get("/metrics").text();
    for (code, count) in [(0, 3), (3, 1), (8, 3), (12, 2)] {
        let line =
            format!("throughline_requests_total{{door=\"query_grpc\",code=\"{code}\"}} {count}\n");
        assert!(metrics.contains(&line), "{line}{metrics}");
    }
}

/// Lists the services with the token.
pub(crate) fn services_with_token(
    collector: &RunningCollector,
    token: Option<&'static str>,
) -> Result<Vec<String>, Status> {
    let mut request = Request::new(());
    if let Some(token) = token {
        let token = MetadataValue::from_static(token);
        request.metadata_mut().insert("authorization", token);
    }
    let method = [TRACE_READER, "GetServices"].concat();
    send::<_, Names>(collector, &method, request, None).map(|messages| one(Ok(messages)).names)
}
