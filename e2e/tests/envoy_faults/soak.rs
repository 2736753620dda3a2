//! Minutes of load: memory stays flat.

use std::time::{Duration, Instant};

use crate::fixture::{FaultFixture, MIB, PRODUCE, UNKNOWN_API, body, exchange, no_keys};
use crate::wire::{self, RawConnection};

/// Duration of the load after the first minute, in which caches and pools fill.
const SOAK: Duration = Duration::from_secs(540);
const WARM_UP: Duration = Duration::from_secs(60);

/// Long: `cargo xtask test --full` runs it.
#[test]
fn memory_is_flat_under_minutes_of_load() {
    if std::env::var_os("THROUGHLINE_FULL").is_none_or(|full| full != "1") {
        return;
    }
    let fixture = FaultFixture::start(&no_keys());
    load_for(&fixture, WARM_UP);
    let warm = fixture.resident();
    load_for(&fixture, SOAK);
    let end = fixture.resident();
    let requests = fixture.stat("kafka_requests");
    eprintln!(
        "{} MiB, then {} MiB after {requests} requests",
        warm / MIB,
        end / MIB
    );
    assert!(
        end < warm + 16 * MIB,
        "grew from {} to {} MiB",
        warm / MIB,
        end / MIB
    );
    fixture.stop();
}

/// Sends frames of all kinds on connections that come and go.
fn load_for(fixture: &FaultFixture, duration: Duration) {
    let end = Instant::now() + duration;
    let topics: Vec<Vec<u8>> = (0..20)
        .map(|topic| wire::produce(&format!("soak-{topic}"), &body(1000)))
        .collect();
    let (small, large) = (body(100), body(300_000));
    let mut round = 0;
    while Instant::now() < end {
        let mut connection = RawConnection::connect(&fixture.kafka);
        for correlation in 0..20 {
            exchange(&mut connection, UNKNOWN_API, correlation, &small);
            exchange(&mut connection, PRODUCE, correlation, &large);
            connection.send(&topics[round % topics.len()]);
            // The answer is not a valid one, and passes.
            connection.receive();
            round += 1;
        }
    }
}
