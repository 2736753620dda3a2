//! The load: produce and consume as fast as it goes, and produce at a pace to see how long an answer takes.

use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::wire::{BrokerConnection, ProduceFrame};

/// Requests under way at once, as Java's producer has them.
const IN_FLIGHT: u32 = 5;

/// Sends a frame so many times, the next as soon as there is room; gives the time from the first byte to the last answer.
pub(crate) fn produce(
    connection: &mut BrokerConnection,
    frame: &ProduceFrame,
    times: u32,
) -> Result<Duration> {
    let begin = Instant::now();
    for sent in 0..times {
        if sent >= IN_FLIGHT {
            connection.produced()?;
        }
        connection.send(frame)?;
    }
    for _ in 0..times.min(IN_FLIGHT) {
        connection.produced()?;
    }
    Ok(begin.elapsed())
}

/// Reads the topic from its beginning until so many bytes of batches have come; gives how many did, and the time.
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

/// Sends a frame every `pace`, whether the last was answered or not; gives how long each answer took, counted from when
/// the request should have been sent (who is late is late for those behind as well), and the time of all together.
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
                    reason = "a pace is made of waiting for the clock"
                )]
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                stream.write_all(bytes).context("sending")?;
            }
            Ok(())
        });
        let mut took = Vec::new();
        for turn in 0..times {
            connection.produced()?;
            took.push((begin + pace * turn).elapsed());
        }
        sending
            .join()
            .map_err(|_| anyhow::anyhow!("the sending thread panicked"))??;
        Ok((took, begin.elapsed()))
    })
}
