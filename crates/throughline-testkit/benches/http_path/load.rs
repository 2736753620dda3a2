//! Load generators: `wrk` for maximum throughput, and a client of our own for a fixed rate, which
//! `wrk` cannot keep.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

/// Target, concurrency and duration of a measurement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HttpLoad {
    pub(crate) address: SocketAddr,
    pub(crate) connections: u32,
    pub(crate) duration: Duration,
}

/// Result of a measurement. Every response had status 200.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LoadOutcome {
    pub(crate) requests: u64,
    pub(crate) per_second: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

/// Header fields that a browser or a library would send.
const FIELDS: [&str; 3] = [
    "user-agent: bench/1.0",
    "accept: */*",
    "accept-encoding: gzip",
];
const PATH: &str = "/orders/4711?expand=items";

// === impl HttpLoad ===

impl HttpLoad {
    pub(crate) fn wrk(self) -> Result<LoadOutcome> {
        let mut wrk = Command::new("wrk");
        wrk.args([
            "--latency",
            "--threads",
            "1",
            "--connections",
            &self.connections.to_string(),
        ]);
        wrk.arg(format!("--duration={}s", self.duration.as_secs()));
        for field in FIELDS {
            wrk.args(["--header", field]);
        }
        let output = wrk
            .arg(format!("http://{}{PATH}", self.address))
            .output()
            .context("starting wrk")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            output.status.success(),
            "wrk ended with {}: {text}",
            output.status
        );
        LoadOutcome::of_wrk(&text).with_context(|| format!("output of wrk:\n{text}"))
    }

    /// Sends requests on schedule and measures from the scheduled time, so that a late response
    /// also delays those behind it (no coordinated omission).
    pub(crate) fn paced(self, rate: u32) -> Result<LoadOutcome> {
        let pace = Duration::from_secs(1) * self.connections / rate;
        let times = u32::try_from(self.duration.as_nanos() / pace.as_nanos())?;
        let begin = Instant::now() + Duration::from_millis(50);
        let latencies = std::thread::scope(|scope| {
            let start_connection = |nth| {
                scope.spawn(move || {
                    self.send_requests(begin + pace * nth / self.connections, pace, times)
                })
            };
            let threads: Vec<_> = (0..self.connections).map(start_connection).collect();
            let joined = threads
                .into_iter()
                .map(|thread| thread.join().map_err(|_| anyhow!("a thread panicked"))?);
            joined.collect::<Result<Vec<_>>>()
        })?;
        let elapsed = begin.elapsed();
        let mut latencies = latencies.concat();
        latencies.sort_unstable();
        let at = |percent: usize| {
            latencies
                .get(latencies.len() * percent / 100)
                .copied()
                .context("no response")
        };
        #[expect(clippy::cast_precision_loss, reason = "a figure of a few digits")]
        let per_second = latencies.len() as f64 / elapsed.as_secs_f64();
        Ok(LoadOutcome {
            requests: u64::try_from(latencies.len())?,
            per_second,
            p50: at(50)?,
            p99: at(99)?,
        })
    }

    fn send_requests(self, begin: Instant, pace: Duration, times: u32) -> Result<Vec<Duration>> {
        let request = format!(
            "GET {PATH} HTTP/1.1\r\nhost: {}\r\n{}\r\n\r\n",
            self.address,
            FIELDS.join("\r\n")
        );
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut latencies = Vec::new();
        for turn in 0..times {
            let due = begin + pace * turn;
            #[expect(
                clippy::disallowed_methods,
                reason = "a fixed rate needs to wait for the clock"
            )]
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            stream.write_all(request.as_bytes())?;
            read_response(&mut stream)?;
            latencies.push(due.elapsed());
        }
        Ok(latencies)
    }
}

/// Reads one response to its end.
fn read_response(stream: &mut TcpStream) -> Result<()> {
    let mut buffer = [0; 8192];
    let mut filled = 0;
    loop {
        let count = stream.read(buffer.get_mut(filled..).unwrap_or_default())?;
        ensure!(
            count > 0,
            "the connection closed, or the response is too long"
        );
        filled += count;
        let bytes = buffer.get(..filled).unwrap_or_default();
        let Some(head) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            continue;
        };
        let text = std::str::from_utf8(bytes.get(..head).unwrap_or_default())?.to_ascii_lowercase();
        ensure!(text.starts_with("http/1.1 200 "), "{text}");
        let length = text
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"));
        let length: usize = length
            .context("a response without content-length")?
            .trim()
            .parse()?;
        if filled >= head + 4 + length {
            return Ok(());
        }
    }
}

// === impl LoadOutcome ===

impl LoadOutcome {
    fn of_wrk(text: &str) -> Result<Self> {
        ensure!(
            !text.contains("Non-2xx") && !text.contains("Socket errors"),
            "wrk reported errors"
        );
        let value_after = |label: &str| {
            let line = text
                .lines()
                .map(str::trim)
                .find_map(|line| line.strip_prefix(label));
            line.map(str::trim)
                .with_context(|| format!("no {label} in the output"))
        };
        let requests = text
            .lines()
            .find_map(|line| line.trim().split_once(" requests in "))
            .context("no request count")?;
        Ok(Self {
            requests: requests.0.parse()?,
            per_second: value_after("Requests/sec:")?.parse()?,
            p50: parse_duration(value_after("50%")?)?,
            p99: parse_duration(value_after("99%")?)?,
        })
    }
}

/// Parses a duration in the output of `wrk`, such as `1.23ms`.
fn parse_duration(text: &str) -> Result<Duration> {
    let digits = text.trim_end_matches(char::is_alphabetic);
    let seconds = match text.strip_prefix(digits) {
        Some("us") => 1e-6,
        Some("ms") => 1e-3,
        Some("s") => 1.0,
        Some(_) | None => return Err(anyhow!("{text:?} is not a duration")),
    };
    Ok(Duration::from_secs_f64(digits.parse::<f64>()? * seconds))
}
