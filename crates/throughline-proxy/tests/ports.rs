//! The local ports of brokers, as a client meets them: before their brokers are known, after, and over a restart.
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
    Running, ask, before, config, echo_broker, framed, listen, read_end, read_frame, within,
};
use throughline_proxy::{Config, ListenerRoute, PortRange};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};

const VERSION: i16 = 1;

/// Asks for the brokers and gives their addresses as the client is told them.
async fn ask_metadata(stream: &mut TcpStream) -> Vec<(i32, String, i32)> {
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
    let mut answer = Bytes::from(within(read_frame(stream)).await.expect("an answer"));
    ResponseHeader::decode(&mut answer, 0).unwrap();
    let brokers = MetadataResponse::decode(&mut answer, VERSION)
        .unwrap()
        .brokers;
    assert!(!answer.has_remaining());
    brokers
        .into_iter()
        .map(|broker| (broker.node_id.0, broker.host.to_string(), broker.port))
        .collect()
}

/// A broker that tells of these, to everybody.
async fn bootstrap_broker(brokers: Vec<(i32, SocketAddr)>) -> SocketAddr {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(tell(stream, brokers.clone()));
        }
    });
    address
}

async fn tell(mut stream: TcpStream, brokers: Vec<(i32, SocketAddr)>) {
    while let Some(request) = read_frame(&mut stream).await {
        let mut frame = BytesMut::from(&request[4..8]);
        let told = brokers.iter().map(|(node, address)| {
            MetadataResponseBroker::default()
                .with_node_id(BrokerId(*node))
                .with_host(StrBytes::from_string(address.ip().to_string()))
                .with_port(address.port().into())
        });
        MetadataResponse::default()
            .with_brokers(told.collect())
            .encode(&mut frame, VERSION)
            .unwrap();
        stream.write_all(&framed(&frame)).await.unwrap();
    }
}

/// A sidecar with four free ports for brokers.
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
async fn each_broker_is_behind_a_port_of_ours() {
    let (one, two) = (echo_broker().await, echo_broker().await);
    let first = free_ports().await;
    let proxy = Running::start(with_ports(
        bootstrap_broker(vec![(1, one), (2, two)]).await,
        first,
    ))
    .await;
    let told = ask_metadata(&mut proxy.connect().await).await;
    let here = |node: u16| {
        (
            i32::from(node),
            "127.0.0.1".to_owned(),
            i32::from(first + node),
        )
    };
    assert_eq!(told, [here(1), here(2)]);
    for port in [first + 1, first + 2] {
        ask(&mut connect(port).await, 7, b"hello").await;
    }
}

#[tokio::test]
async fn a_client_that_lived_through_a_restart_gets_back_to_its_brokers_by_their_ports_alone() {
    let one = echo_broker().await;
    let first = free_ports().await;
    let _proxy = Running::start(with_ports(bootstrap_broker(vec![(1, one)]).await, first)).await;
    // Nobody knows yet who is behind this port: any broker answers, as at a client's first connection.
    let mut early = connect(first + 1).await;
    let told = ask_metadata(&mut early).await;
    assert_eq!(told, [(1, "127.0.0.1".to_owned(), i32::from(first + 1))]);
    // Now it is known, and was not this one.
    read_end(&mut early).await;
    ask(&mut connect(first + 1).await, 7, b"hello").await;
}

#[tokio::test]
async fn a_port_whose_broker_is_heard_of_elsewhere_lets_its_early_connections_end_what_they_are_at()
{
    let one = echo_broker().await;
    let first = free_ports().await;
    let (listener, bootstrap) = listen().await;
    let proxy = Running::start(with_ports(bootstrap, first)).await;
    let mut early = connect(first + 1).await;
    early.write_all(&support::request(5, b"q")).await.unwrap();
    let (mut behind, _) = within(listener.accept()).await.unwrap();
    let asked = within(read_frame(&mut behind)).await.unwrap();
    let mut other = proxy.connect().await;
    let (stream, _) = within(listener.accept()).await.unwrap();
    tokio::spawn(tell(stream, vec![(1, one)]));
    ask_metadata(&mut other).await;
    let answer = framed(&[&asked[4..8], b"a"].concat());
    behind.write_all(&answer).await.unwrap();
    assert_eq!(
        framed(&within(read_frame(&mut early)).await.unwrap()),
        answer
    );
    read_end(&mut early).await;
    // Others are not touched.
    ask_metadata(&mut other).await;
}
