//! A minimal, hand-written Kafka client that moves batches: a request costs two system calls, and
//! responses are parsed only as far as needed.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// A connection to a broker or a proxy.
#[derive(Debug)]
pub(crate) struct BrokerConnection {
    stream: TcpStream,
    response: Vec<u8>,
}

/// A produce request that can be sent repeatedly.
#[derive(Debug, Clone)]
pub(crate) struct ProduceFrame(Vec<u8>);

/// Result of a fetch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FetchResult {
    /// Bytes of record batches.
    pub(crate) bytes: usize,
    /// Offset of the next fetch.
    pub(crate) next_offset: i64,
    pub(crate) high_watermark: i64,
}

const PRODUCE: i16 = 0;
const FETCH: i16 = 1;
const METADATA: i16 = 3;
const TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum bytes per fetch: the default per partition of a consumer.
const PARTITION_BYTES: i32 = 1 << 20;

// === impl BrokerConnection ===

impl BrokerConnection {
    pub(crate) fn open(address: &str) -> Result<Self> {
        let stream =
            TcpStream::connect(address).with_context(|| format!("connecting to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok(Self {
            stream,
            response: Vec::new(),
        })
    }

    /// Returns a second handle of the connection for the sender thread.
    pub(crate) fn sender(&self) -> Result<TcpStream> {
        Ok(self.stream.try_clone()?)
    }

    pub(crate) fn send(&mut self, frame: &ProduceFrame) -> Result<()> {
        self.stream.write_all(&frame.0).context("sending")
    }

    /// Waits for the response to one produce request; an error code is an error.
    pub(crate) fn receive_produce_response(&mut self) -> Result<()> {
        self.receive()?;
        let mut response = ResponseReader(&self.response);
        response.skip(4 + 1)?; // correlation, tags
        response.compact_array_of_one()?;
        response.compact_bytes()?; // topic
        response.compact_array_of_one()?;
        response.skip(4)?; // partition
        let code = response.i16()?;
        ensure!(code == 0, "the broker returned produce error {code}");
        Ok(())
    }

    /// Fetches from partition 0 at `offset` (Fetch 12, without a fetch session).
    pub(crate) fn fetch(&mut self, topic: &str, offset: i64) -> Result<FetchResult> {
        self.stream
            .write_all(&fetch_request(topic, offset)?)
            .context("sending")?;
        self.receive()?;
        let mut response = ResponseReader(&self.response);
        response.skip(4 + 1 + 4)?; // correlation, tags, throttle time
        let code = response.i16()?;
        ensure!(code == 0, "the broker returned fetch error {code}");
        response.skip(4)?; // session
        response.compact_array_of_one()?;
        response.compact_bytes()?; // topic
        response.compact_array_of_one()?;
        response.skip(4)?; // partition
        let code = response.i16()?;
        ensure!(
            code == 0,
            "the broker returned fetch error {code} for the partition"
        );
        let high_watermark = response.i64()?;
        response.skip(8 + 8)?; // last stable offset, log start
        ensure!(response.uvarint()? <= 1, "unexpected aborted transactions");
        response.skip(4)?; // preferred replica
        let records = response.compact_bytes()?;
        Ok(FetchResult {
            bytes: records.len(),
            next_offset: end_offset(records)?.unwrap_or(offset),
            high_watermark,
        })
    }

    /// Returns the advertised address of the only broker (Metadata 4).
    pub(crate) fn broker(&mut self) -> Result<String> {
        let mut body = header(METADATA, 4, false);
        body.extend(0_i32.to_be_bytes()); // no topics
        body.push(0); // no auto-creation
        self.stream.write_all(&framed(&body)?)?;
        self.receive()?;
        let mut response = ResponseReader(&self.response);
        response.skip(4 + 4)?; // correlation, throttle time
        let brokers = response.i32()?;
        ensure!(brokers == 1, "expected one broker, not {brokers}");
        response.skip(4)?; // node id
        let length = usize::try_from(response.i16()?)?;
        let host = String::from_utf8(response.take(length)?.to_vec())?;
        Ok(format!("{host}:{}", response.i32()?))
    }

    fn receive(&mut self) -> Result<()> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).context("receiving")?;
        let length = usize::try_from(u32::from_be_bytes(length))?;
        ensure!(
            length <= 64 << 20,
            "the response of {length} bytes is too long"
        );
        self.response.resize(length, 0);
        self.stream
            .read_exact(&mut self.response)
            .context("receiving")
    }
}

// === impl ProduceFrame ===

impl ProduceFrame {
    /// Builds Produce 9 of one batch to partition 0, acknowledged by the leader.
    pub(crate) fn new(topic: &str, batch: &[u8]) -> Result<Self> {
        let mut body = header(PRODUCE, 9, true);
        put_uvarint(&mut body, 0); // no transaction
        body.extend(1_i16.to_be_bytes());
        body.extend(30_000_i32.to_be_bytes());
        put_uvarint(&mut body, 2);
        put_compact_string(&mut body, topic);
        put_uvarint(&mut body, 2);
        body.extend(0_i32.to_be_bytes());
        put_uvarint(&mut body, batch.len() + 1);
        body.extend(batch);
        body.extend([0; 3]); // tags of partition, topic, request
        framed(&body).map(Self)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

fn fetch_request(topic: &str, offset: i64) -> Result<Vec<u8>> {
    let mut body = header(FETCH, 12, true);
    body.extend((-1_i32).to_be_bytes()); // a consumer
    body.extend(500_i32.to_be_bytes()); // max_wait_ms
    body.extend(1_i32.to_be_bytes()); // min_bytes
    body.extend((50_i32 << 20).to_be_bytes());
    body.push(0); // read uncommitted
    body.extend(0_i32.to_be_bytes()); // no session
    body.extend((-1_i32).to_be_bytes());
    put_uvarint(&mut body, 2);
    put_compact_string(&mut body, topic);
    put_uvarint(&mut body, 2);
    body.extend(0_i32.to_be_bytes());
    body.extend((-1_i32).to_be_bytes()); // leader epoch
    body.extend(offset.to_be_bytes());
    body.extend((-1_i32).to_be_bytes()); // last fetched epoch
    body.extend((-1_i64).to_be_bytes()); // log start
    body.extend(PARTITION_BYTES.to_be_bytes());
    body.extend([0, 0]); // tags of partition, topic
    body.extend([1, 1, 0]); // nothing forgotten, no rack, tags
    framed(&body)
}

fn header(api: i16, version: i16, flexible: bool) -> Vec<u8> {
    let mut head = Vec::new();
    head.extend(api.to_be_bytes());
    head.extend(version.to_be_bytes());
    head.extend(7_i32.to_be_bytes()); // constant: responses arrive in order
    head.extend(4_i16.to_be_bytes());
    head.extend(b"load");
    if flexible {
        head.push(0);
    }
    head
}

fn framed(body: &[u8]) -> Result<Vec<u8>> {
    Ok([u32::try_from(body.len())?.to_be_bytes().as_slice(), body].concat())
}

fn put_uvarint(out: &mut Vec<u8>, mut rest: usize) {
    while rest >= 0x80 {
        out.push(u8::try_from(rest & 0x7f).unwrap_or_default() | 0x80);
        rest >>= 7;
    }
    out.push(u8::try_from(rest).unwrap_or_default());
}

fn put_compact_string(out: &mut Vec<u8>, text: &str) {
    put_uvarint(out, text.len() + 1);
    out.extend(text.as_bytes());
}

/// Returns the offset behind the last complete batch.
fn end_offset(records: &[u8]) -> Result<Option<i64>> {
    let mut rest = ResponseReader(records);
    let mut end = None;
    while rest.0.len() >= 61 {
        let base = rest.i64()?;
        let length = usize::try_from(rest.i32()?)?;
        let Ok(batch) = rest.take(length) else { break };
        let mut batch = ResponseReader(batch);
        batch.skip(4 + 1 + 4 + 2)?; // leader epoch, magic, crc, attributes
        end = Some(base + i64::from(batch.i32()?) + 1);
    }
    Ok(end)
}

/// Reads a response from the front.
struct ResponseReader<'a>(&'a [u8]);

impl<'a> ResponseReader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self
            .0
            .split_at_checked(length)
            .context("the response is truncated")?;
        self.0 = rest;
        Ok(taken)
    }

    fn skip(&mut self, length: usize) -> Result<()> {
        self.take(length).map(drop)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.take(N)?.try_into()?)
    }

    fn i16(&mut self) -> Result<i16> {
        self.array().map(i16::from_be_bytes)
    }

    fn i32(&mut self) -> Result<i32> {
        self.array().map(i32::from_be_bytes)
    }

    fn i64(&mut self) -> Result<i64> {
        self.array().map(i64::from_be_bytes)
    }

    fn uvarint(&mut self) -> Result<usize> {
        let mut value = 0;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array()?;
            value |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        bail!("a varint is longer than five bytes")
    }

    fn compact_bytes(&mut self) -> Result<&'a [u8]> {
        let length = self.uvarint()?;
        self.take(length.saturating_sub(1))
    }

    fn compact_array_of_one(&mut self) -> Result<()> {
        let length = self.uvarint()?;
        ensure!(length == 2, "expected one topic and one partition");
        Ok(())
    }
}
