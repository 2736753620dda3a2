//! The local ports of brokers as a client sees them: before and after a broker is known, and over a
//! restart.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use std::net::{Ipv4Addr, SocketAddr};

use bytes::{Buf as _, Bytes, BytesMut};
use kafka_protocol::messages::metadata_response::MetadataResponseBroker;
use kafka_protocol::messages::{
    ApiKey, BrokerId, MetadataRequest, MetadataResponse, RequestHeader, ResponseHeader,
};
use kafka_protocol::protocol::{Decodable as _, Encodable as _, StrBytes};
use support::{
    Running, before, config, echo_broker, framed, listen, read_end, read_frame, round_trip, within,
};
use throughline_proxy::{Config, ListenerRoute, PortRange};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};

const VERSION: i16 = 1;

/// Requests metadata and returns the brokers' ids and addresses in the response.
async fn fetch_metadata(stream: &mut TcpStream) -> Vec<(i32, String, i32)> {
    let header = RequestHeader::default()
        .with_request_api_key(ApiKey::Metadata as i16)
        .with_request_api_version(VERSION)
        .with_correlation_id(1)
        .with_client_id(None);
    let mut frame = BytesMut::new();
    header.encode(&mut frame, 1).unwrap();
    MetadataRequest::default()
        .with_topics(None)
        .encode(&mut frame, VERSION)
        .unwrap();
    stream.write_all(&framed(&frame)).await.unwrap();
    let mut response = Bytes::from(within(read_frame(stream)).await.expect("a response"));
    ResponseHeader::decode(&mut response, 0).unwrap();
    let brokers = MetadataResponse::decode(&mut response, VERSION)
        .unwrap()
        .brokers;
    assert!(!response.has_remaining());
    brokers
        .into_iter()
        .map(|broker| (broker.node_id.0, broker.host.to_string(), broker.port))
        .collect()
}

/// Starts a broker whose metadata names these brokers.
async fn bootstrap_broker(brokers: Vec<(i32, SocketAddr)>) -> SocketAddr {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve_metadata(stream, brokers.clone()));
        }
    });
    address
}

async fn serve_metadata(mut stream: TcpStream, brokers: Vec<(i32, SocketAddr)>) {
    while let Some(request) = read_frame(&mut stream).await {
        let mut frame = BytesMut::from(&request[4..8]);
        let metadata = brokers.iter().map(|(node, address)| {
            MetadataResponseBroker::default()
                .with_node_id(BrokerId(*node))
                .with_host(StrBytes::from_string(address.ip().to_string()))
                .with_port(address.port().into())
        });
        MetadataResponse::default()
            .with_brokers(metadata.collect())
            .encode(&mut frame, VERSION)
            .unwrap();
        stream.write_all(&framed(&frame)).await.unwrap();
    }
}

/// Returns the configuration of a sidecar with four ports for brokers.
fn with_ports(bootstrap: SocketAddr, first: u16) -> Config {
    let mut listener = before(&[bootstrap]);
    if let ListenerRoute::Addressed(addressed) = &mut listener.route {
        addressed.broker_ports = PortRange::Between(first, first + 3);
    }
    config(vec![listener])
}

async fn free_ports() -> u16 {
    loop {
        let first = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let mut held = Vec::new();
        for port in first..first.saturating_add(4) {
            held.extend(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await);
        }
        if held.len() == 4 {
            return first;
        }
    }
}

async fn connect(port: u16) -> TcpStream {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .await
        .unwrap()
}

#[tokio::test]
async fn each_broker_gets_a_local_port() {
    let (one, two) = (echo_broker().await, echo_broker().await);
    let first = free_ports().await;
    let proxy = Running::start(with_ports(
        bootstrap_broker(vec![(1, one), (2, two)]).await,
        first,
    ))
    .await;
    let brokers = fetch_metadata(&mut proxy.connect().await).await;
    let here = |node: u16| {
        (
            i32::from(node),
            "127.0.0.1".to_owned(),
            i32::from(first + node),
        )
    };
    assert_eq!(brokers, [here(1), here(2)]);
    for port in [first + 1, first + 2] {
        round_trip(&mut connect(port).await, 7, b"hello").await;
    }
}

#[tokio::test]
async fn client_reaches_its_broker_by_port_alone_after_a_restart() {
    let one = echo_broker().await;
    let first = free_ports().await;
    let _proxy = Running::start(with_ports(bootstrap_broker(vec![(1, one)]).await, first)).await;
    // The broker of this port is not known yet: a bootstrap broker answers.
    let mut early = connect(first + 1).await;
    let brokers = fetch_metadata(&mut early).await;
    assert_eq!(brokers, [(1, "127.0.0.1".to_owned(), i32::from(first + 1))]);
    // Now it is known, and it is another broker.
    read_end(&mut early).await;
    round_trip(&mut connect(first + 1).await, 7, b"hello").await;
}

#[tokio::test]
async fn early_connections_of_a_port_drain_once_its_broker_is_known() {
    let one = echo_broker().await;
    let first = free_ports().await;
    let (listener, bootstrap) = listen().await;
    let proxy = Running::start(with_ports(bootstrap, first)).await;
    let mut early = connect(first + 1).await;
    early.write_all(&support::request(5, b"q")).await.unwrap();
    let (mut behind, _) = within(listener.accept()).await.unwrap();
    let received = within(read_frame(&mut behind)).await.unwrap();
    let mut other = proxy.connect().await;
    let (stream, _) = within(listener.accept()).await.unwrap();
    tokio::spawn(serve_metadata(stream, vec![(1, one)]));
    fetch_metadata(&mut other).await;
    let response = framed(&[&received[4..8], b"a"].concat());
    behind.write_all(&response).await.unwrap();
    assert_eq!(
        framed(&within(read_frame(&mut early)).await.unwrap()),
        response
    );
    read_end(&mut early).await;
    // Other connections stay open.
    fetch_metadata(&mut other).await;
}
