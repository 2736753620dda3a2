//! Connections that are reset by either side, in the middle of a frame.

use std::io::Read as _;
use std::net::{SocketAddr, TcpListener};
use std::thread;

use serde_json::json;
use throughline_testkit::wait;

use crate::fixture::{
    FaultFixture, PRODUCE, TIMEOUT, UNKNOWN_API, assert_echo, body, exchange, no_keys,
};
use crate::wire::{self, RawConnection};

#[test]
fn reset_of_a_client_ends_its_connection_alone() {
    let fixture = FaultFixture::start(&no_keys());
    let mut other = RawConnection::connect(&fixture.kafka);
    exchange(&mut other, UNKNOWN_API, 1, &[1; 100]);
    let half = wire::request(PRODUCE, 7, 2, &body(100_000));
    for number in 0..50 {
        let mut client = RawConnection::connect(&fixture.kafka);
        exchange(&mut client, UNKNOWN_API, 1, &[1; 1000]);
        client.send(&wire::request(UNKNOWN_API, 7, 2, &[2; 1000]));
        // The answer is left unread, which makes the end a reset.
        client.wait_for_bytes();
        client.send(&half[..number * 1000]);
        client.abort();
    }
    exchange(&mut other, UNKNOWN_API, 2, &[2; 100]);
    fixture.assert_passes(PRODUCE, &body(1000));
    assert_eq!(fixture.stat("kafka_connections"), 52);
    fixture.stop();
}

#[test]
fn reset_of_a_broker_reaches_its_client_and_no_other() {
    let resetting = start_resetting_broker();
    let mut through = None;
    let fixture = FaultFixture::start_with(&|spec| spec, &no_keys(), |bootstrap| {
        through = Some(bootstrap.kafka(&resetting.to_string()).unwrap());
    });
    let through = through.unwrap().to_string();
    let mut other = RawConnection::connect(&fixture.kafka);
    exchange(&mut other, UNKNOWN_API, 1, &[1; 100]);
    for number in 1..=50 {
        let mut client = RawConnection::connect(&through);
        let request = wire::request(PRODUCE, 7, number, &body(10_000));
        // The connection may be reset while it is written to.
        client.try_send(&request);
        client.wait_for_close();
    }
    exchange(&mut other, UNKNOWN_API, 2, &[2; 100]);
    fixture.assert_passes(PRODUCE, &body(1000));
    fixture.stop();
}

#[test]
fn client_that_ends_first_gets_the_answers_to_what_it_sent() {
    let fixture = FaultFixture::start(&json!({ "memory": "32MiB" }));
    for correlation in 1..=20 {
        let mut client = RawConnection::connect(&fixture.kafka);
        let sent = body(10_000);
        client.send(&wire::request(PRODUCE, 7, correlation, &sent));
        client.finish();
        assert_echo(&mut client, correlation, &sent);
        client.wait_for_close();
    }
    fixture.stop();
}

#[test]
fn listeners_are_replaced_under_open_connections_that_go_on() {
    let mut fixture = FaultFixture::start(&no_keys());
    let mut open: Vec<RawConnection> = (0..20)
        .map(|_| RawConnection::connect(&fixture.kafka))
        .collect();
    for round in 0..5 {
        // The second half of a frame arrives after the update.
        let frame = wire::request(PRODUCE, 7, round, &body(50_000));
        let (first, second) = frame.split_at(20_000);
        open.iter_mut()
            .for_each(|connection| connection.send(first));
        fixture
            .bootstrap
            .set_key("message_key", &json!(round % 2 == 0));
        fixture.envoy.update(&fixture.bootstrap).unwrap();
        for connection in &mut open {
            connection.send(second);
            assert_echo(connection, round, &body(50_000));
        }
    }
    let counted = || (fixture.stat("kafka_connections") == 20).then_some(());
    assert!(
        wait::until(TIMEOUT, counted).is_some(),
        "a connection was opened again"
    );
    fixture.stop();
}

/// Starts a broker that resets each connection after the first bytes of a request.
fn start_resetting_broker() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // The rest is left unread, which makes the end a reset.
            drop(stream.read(&mut [0; 100]));
        }
    });
    address
}
