//! Load generators: produce and consume at maximum throughput, and produce at a fixed rate to
//! measure latency.

use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::wire::{BrokerConnection, ProduceFrame};

/// Requests in flight, the default of Kafka's Java producer.
const IN_FLIGHT: u32 = 5;

/// Sends a frame `times` times with [`IN_FLIGHT`] requests in flight; returns the time until the
/// last response.
pub(crate) fn produce(
    connection: &mut BrokerConnection,
    frame: &ProduceFrame,
    times: u32,
) -> Result<Duration> {
    let begin = Instant::now();
    for sent in 0..times {
        if sent >= IN_FLIGHT {
            connection.receive_produce_response()?;
        }
        connection.send(frame)?;
    }
    for _ in 0..times.min(IN_FLIGHT) {
        connection.receive_produce_response()?;
    }
    Ok(begin.elapsed())
}

/// Reads the topic from its beginning until `bytes` bytes of batches have arrived; returns the
/// number of bytes and the time.
pub(crate) fn consume(
    connection: &mut BrokerConnection,
    topic: &str,
    bytes: u64,
) -> Result<(u64, Duration)> {
    let begin = Instant::now();
    let (mut offset, mut read) = (0, 0);
    while read < bytes {
        let fetched = connection.fetch(topic, offset)?;
        ensure!(
            fetched.next_offset > offset,
            "{topic} ends at {}",
            fetched.high_watermark
        );
        offset = fetched.next_offset;
        read += u64::try_from(fetched.bytes)?;
    }
    Ok((read, begin.elapsed()))
}

/// Sends a frame every `pace`, independent of the responses. Returns the total time, and the
/// latency of each request from its scheduled time, so that a late response also delays those
/// behind it.
pub(crate) fn paced(
    connection: &mut BrokerConnection,
    frame: &ProduceFrame,
    pace: Duration,
    times: u32,
) -> Result<(Vec<Duration>, Duration)> {
    let mut stream = connection.sender()?;
    let begin = Instant::now() + pace;
    let bytes = frame.bytes();
    std::thread::scope(|scope| {
        let sending = scope.spawn(move || -> Result<()> {
            for turn in 0..times {
                let due = begin + pace * turn;
                #[expect(
                    clippy::disallowed_methods,
                    reason = "a fixed rate needs to wait for the clock"
                )]
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                stream.write_all(bytes).context("sending")?;
            }
            Ok(())
        });
        let mut latencies = Vec::new();
        for turn in 0..times {
            connection.receive_produce_response()?;
            latencies.push((begin + pace * turn).elapsed());
        }
        sending
            .join()
            .map_err(|_| anyhow::anyhow!("the sender thread panicked"))??;
        Ok((latencies, begin.elapsed()))
    })
}
