//! Jaeger's Thrift over HTTP and UDP, and remote sampling. The messages are written here by hand;
//! `tests/python_jaeger.rs` sends those of a real client.

use std::net::{SocketAddr, UdpSocket};

use serde_json::json;
use throughline_collector::{JaegerPorts, ListenerPort};

use crate::running::{GZIP, RunningCollector, eventually, gzip, raw};

/// A batch of service `shop` with one span, `GET /cart`, in the binary protocol.
const BATCH: &[u8] = b"\x0c\x00\x01\x0b\x00\x01\x00\x00\x00\x04shop\x00\
    \x0f\x00\x02\x0c\x00\x00\x00\x01\
    \x0a\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01\x0a\x00\x03\x00\x00\x00\x00\x00\x00\x00\x07\
    \x0b\x00\x05\x00\x00\x00\x09GET /cart\x00\x00";

fn collector() -> RunningCollector {
    RunningCollector::configured(|config| {
        config.jaeger = JaegerPorts {
            http: ListenerPort::Required(0),
            compact: ListenerPort::Required(0),
            binary: ListenerPort::Required(0),
            sampling: ListenerPort::Required(0),
        };
    })
}

/// Returns the batch as the argument of a call of the agent, in the strict binary protocol.
fn call(method: &str) -> Vec<u8> {
    let mut call = b"\x80\x01\x00\x04".to_vec();
    call.extend(u32::try_from(method.len()).unwrap().to_be_bytes());
    call.extend(method.as_bytes());
    call.extend(b"\x00\x00\x00\x01\x0c\x00\x01");
    call.extend(BATCH);
    call.push(0);
    call
}

fn send(to: SocketAddr, datagram: &[u8]) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to(datagram, to).unwrap();
}

#[test]
fn batches_over_http_are_stored_whatever_their_content_type_and_coding() {
    let collector = collector();
    let to = collector.addresses.jaeger_http.unwrap();
    let binary = ("content-type", "application/vnd.apache.thrift.binary");
    for (headers, body) in [
        (
            vec![("content-type", "application/x-thrift")],
            BATCH.to_vec(),
        ),
        (vec![binary], BATCH.to_vec()),
        (vec![binary, GZIP], gzip(BATCH)),
    ] {
        // The Java client adds the parameter, older agents require it.
        let path = "/api/traces?format=jaeger.thrift";
        let response = collector.post(to, path, &headers, &body);
        assert_eq!(response.status, 202, "{headers:?}: {}", response.text());
    }
    let trace = collector.query(&format!("/api/traces/{:032x}", 1));
    assert_eq!(trace["data"][0]["spans"][0]["operationName"], "GET /cart");
    assert_eq!(trace["data"][0]["processes"]["p1"]["serviceName"], "shop");
    assert_eq!(
        collector
            .post(to, "/api/traces", &[("content-type", "text/html")], BATCH)
            .status,
        415
    );
    let cut = &BATCH[..40];
    assert_eq!(
        collector.post(to, "/api/traces", &[binary], cut).status,
        400
    );
}

#[test]
fn batches_over_http_are_limited_as_others_are() {
    let collector = RunningCollector::configured(|config| {
        config.jaeger.http = ListenerPort::Required(0);
        config.limits.max_body_bytes = 1 << 20;
    });
    let to = collector.addresses.jaeger_http.unwrap();
    let bomb = gzip(&vec![0; 2 << 20]);
    let thrift = ("content-type", "application/x-thrift");
    assert_eq!(
        collector
            .post(to, "/api/traces", &[thrift, GZIP], &bomb)
            .status,
        413
    );
}

#[test]
fn datagrams_are_stored_and_bad_ones_only_counted() {
    let collector = collector();
    // Node's client uses the binary port; either port reads either protocol.
    for to in [
        collector.addresses.jaeger_binary.unwrap(),
        collector.addresses.jaeger_compact.unwrap(),
    ] {
        for datagram in [b"".as_slice(), b"hello", &call("emitZipkinBatch")] {
            send(to, datagram);
        }
        send(to, &call("emitBatch"));
    }
    for label in ["jaeger_binary", "jaeger_compact"] {
        let stored = format!("throughline_spans_received_total{{door=\"{label}\"}} 1");
        let rejected = format!("throughline_requests_total{{door=\"{label}\",code=\"400\"}} 3");
        eventually("the datagrams are counted", || {
            let metrics = collector.get("/metrics").text();
            (metrics.contains(&stored) && metrics.contains(&rejected)).then_some(())
        });
    }
    let services = collector.query("/api/services");
    assert_eq!(services["data"], json!(["shop"]));
}

#[test]
fn remote_sampling_answers_all_for_every_service() {
    let collector = collector();
    let get = |to: SocketAddr, path: &str| {
        let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        raw(to, head.as_bytes())
    };
    let sampling = collector.addresses.jaeger_sampling.unwrap();
    let http = collector.addresses.jaeger_http.unwrap();
    let all = r#"{"strategyType":"PROBABILISTIC","probabilisticSampling":{"samplingRate":1.0}}"#;
    for (to, path, expected) in [
        (sampling, "/sampling?service=shop", all),
        (http, "/api/sampling?service=shop", all),
        (sampling, "/?service=shop", "{\"strategyType\":0,"),
        (sampling, "/baggageRestrictions?service=shop", "[]"),
    ] {
        let response = get(to, path);
        assert!(
            response.starts_with("HTTP/1.1 200 ") && response.contains(expected),
            "{path}: {response}"
        );
    }
}

#[test]
fn a_port_in_use_is_left_closed_unless_it_is_required() {
    let first = collector();
    let taken = first.addresses.jaeger_sampling.unwrap().port();
    let second = RunningCollector::configured(|config| {
        config.jaeger.sampling = ListenerPort::IfFree(taken);
    });
    assert_eq!(second.addresses.jaeger_sampling, None);
    assert_eq!(second.addresses.jaeger_http, None);
    assert_eq!(second.get("/healthz").status, 200);
}
