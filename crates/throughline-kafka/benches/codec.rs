//! How fast Kafka's bytes are followed, read and changed, beside `memcpy` and beside decoding and encoding them.
//!
//! Each case goes over one batch of about [`BATCH`] bytes of records, in cache, on one core. The cases of a group take turns;
//! the figures are medians, in GB/s of records before compression. Prints one line of JSON per case. Allocations are counted
//! over one pass, when all that is used again has grown to its size. Run: `cargo bench -p throughline-kafka --bench codec`, with
//! ` -- WORDS` behind it for the cases that have these words in their names.
#![expect(clippy::expect_used, clippy::print_stdout, reason = "a benchmark is a program of its own")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{Compression, RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions};
use throughline_kafka::batch::{Batch, Codec, Codecs, Injector, Limits, Outcome, Snappy};
use throughline_kafka::frame::Framer;

/// Bytes of records in a batch: fits the second-level cache twice over.
const BATCH: usize = 200 * 1024;
const ROUNDS: usize = 15;
const ROUND: Duration = Duration::from_millis(12);

const KEY: &str = "traceparent";
const VALUE: &[u8] = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const LIMITS: Limits = Limits { max_batch_bytes: 16 << 20, max_inflated_bytes: 16 << 20 };

/// Counts what is allocated.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[expect(unsafe_code, reason = "an allocator is one by nature; it hands on to the system's")]
// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// One thing to be measured: a name, and one pass over the batch.
struct Case<'a> {
    name: &'static str,
    pass: Box<dyn FnMut() + 'a>,
}

fn main() {
    borders();
    for record in [100, 1024, 10 * 1024] {
        for (codec, compression) in
            [(Codec::None, Compression::None), (Codec::Lz4, Compression::Lz4), (Codec::Zstd, Compression::Zstd)]
        {
            let sample = Sample::new(record, codec, compression);
            sample.measure();
        }
    }
}

/// A batch, and the same in every form that a case needs.
struct Sample {
    record: usize,
    codec: Codec,
    compression: Compression,
    batch: Vec<u8>,
    shared: Bytes,
    plain: Vec<u8>,
    count: u32,
}

// === impl Sample ===

impl Sample {
    fn new(record: usize, codec: Codec, compression: Compression) -> Self {
        let count = u32::try_from(BATCH / record).expect("a small number");
        let mut random = 1u64;
        let records: Vec<_> = (0..count).map(|offset| one(record, i64::from(offset), &mut random)).collect();
        let mut out = BytesMut::new();
        RecordBatchEncoder::encode(&mut out, records.iter(), &RecordEncodeOptions { version: 2, compression })
            .expect("a batch");
        let batch = out.to_vec();
        let mut plain = Vec::new();
        let payload = Batch::new(&batch).expect("one batch").payload();
        Codecs::default().inflate(codec, payload, usize::MAX, &mut plain).expect("records");
        let shared = Bytes::from(batch.clone());
        Self { record, codec, compression, batch, shared, plain, count }
    }

    /// The records with the header, not compressed.
    fn injected(&self) -> Vec<u8> {
        let (mut out, mut plain) = (Vec::new(), Vec::new());
        let outcome =
            Injector::default().inject(Batch::new(&self.batch).expect("one batch"), &LIMITS, &mut out, |_, headers| {
                headers.append(KEY.as_bytes(), Some(VALUE));
            });
        assert!(matches!(outcome, Outcome::Changed(_)));
        let batch = Batch::new(&out).expect("one batch");
        Codecs::default().inflate(batch.codec(), batch.payload(), usize::MAX, &mut plain).expect("records");
        plain
    }

    fn measure(&self) {
        let (batch, plain, codec) = (Batch::new(&self.batch).expect("one batch"), &self.plain, self.codec);
        let mut cases = Vec::new();
        if codec == Codec::None {
            let (mut copy, mut place) = (Vec::with_capacity(plain.len()), 0);
            cases.push(case("memcpy", move || {
                elsewhere(&mut copy, &mut place);
                copy.extend_from_slice(black_box(plain));
            }));
            cases.push(case("scan", move || {
                let records = batch.records().expect("not compressed");
                black_box(records.filter_map(Result::ok).map(|record| record.header_count()).sum::<u32>());
            }));
            cases.push(case("scan, checksum", move || {
                assert!(black_box(batch).is_intact());
                let records = batch.records().expect("not compressed");
                black_box(records.filter_map(Result::ok).map(|record| record.header_count()).sum::<u32>());
            }));
        } else {
            // What injection cannot do without: inflate what came, deflate what is to go out.
            let (mut codecs, mut inflated, mut deflated) = (Codecs::default(), Vec::new(), Vec::new());
            let longer = self.injected();
            cases.push(case("inflate, deflate", move || {
                deflated.clear();
                codecs.inflate(codec, batch.payload(), usize::MAX, &mut inflated).expect("records");
                black_box(&inflated);
                codecs.deflate(codec, Snappy::Raw, black_box(&longer), &mut deflated).expect("a payload");
            }));
        }
        let (mut injector, mut out, mut place) = (Injector::default(), Vec::new(), 0);
        cases.push(case("inject", move || {
            elsewhere(&mut out, &mut place);
            let outcome = injector.inject(black_box(batch), &LIMITS, &mut out, |_, headers| {
                headers.append(KEY.as_bytes(), Some(black_box(VALUE)));
            });
            assert!(matches!(outcome, Outcome::Changed(_)));
        }));
        let (shared, compression) = (self.shared.clone(), self.compression);
        cases.push(case("decode, insert, encode", move || recode(&shared, compression)));
        report(
            &format!("{} B", self.record),
            &format!("{codec:?}").to_lowercase(),
            plain.len(),
            self.count,
            &mut cases,
        );
    }
}

/// Empties `out` but for some bytes, each time so many more: how input and output lie to each other in their pages makes a
/// difference to the processor.
fn elsewhere(out: &mut Vec<u8>, place: &mut usize) {
    *place = (*place + 656) % 4096;
    out.clear();
    out.resize(*place, 0);
}

/// The same injection by way of owned records.
fn recode(batch: &Bytes, compression: Compression) {
    let mut set = RecordBatchDecoder::decode(&mut batch.clone()).expect("a batch");
    for record in &mut set.records {
        record.headers.insert(StrBytes::from_static_str(KEY), Some(Bytes::from_static(VALUE)));
    }
    let mut out = BytesMut::new();
    RecordBatchEncoder::encode(&mut out, set.records.iter(), &RecordEncodeOptions { version: 2, compression })
        .expect("a batch");
    black_box(out);
}

fn one(size: usize, offset: i64, random: &mut u64) -> kafka_protocol::records::Record {
    use kafka_protocol::records::{
        NO_PARTITION_LEADER_EPOCH, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, Record, TimestampType,
    };
    let mut value = Vec::new();
    // Words by chance: compresses about as a log does.
    while value.len() + 60 < size.max(70) {
        *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        value.extend_from_slice(format!("{:x} order ", *random >> 52).as_bytes());
    }
    let header = |key, value| (StrBytes::from_static_str(key), Some(Bytes::from_static(value)));
    Record {
        transactional: false,
        delete_horizon: false,
        control: false,
        partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
        producer_id: NO_PRODUCER_ID,
        producer_epoch: NO_PRODUCER_EPOCH,
        timestamp_type: TimestampType::Creation,
        offset,
        sequence: i32::try_from(offset).expect("a small number"),
        timestamp: 1_700_000_000_000 + offset,
        key: Some(Bytes::from_static(b"customer-1")),
        value: Some(Bytes::from(value)),
        headers: [header("type", b"order"), header("source", b"shop")].into_iter().collect(),
    }
}

/// Frames that pass, in pieces as a socket gives them.
fn borders() {
    for size in [200usize, 16 * 1024, 1024 * 1024] {
        let mut stream = Vec::new();
        for correlation in 0..(4 << 20) / u32::try_from(size).expect("a small number") {
            stream.extend(u32::try_from(size - 4).expect("a small number").to_be_bytes());
            stream.extend([0, 0, 0, 9]);
            stream.extend(correlation.to_be_bytes());
            stream.resize(stream.len() + size - 12, 7);
        }
        let frames = u32::try_from(stream.len() / size).expect("a small number");
        let stream = Bytes::from(stream);
        let length = stream.len();
        let mut framer = Framer::requests();
        let pass = move || {
            let mut rest = stream.clone();
            while !rest.is_empty() {
                let mut piece = rest.split_to(rest.len().min(64 * 1024));
                while let Some(event) = framer.next(&mut piece) {
                    black_box(event);
                }
            }
        };
        report(&format!("frames of {size} B"), "none", length, frames, &mut vec![case("borders", pass)]);
    }
}

fn case<'a>(name: &'static str, pass: impl FnMut() + 'a) -> Case<'a> {
    Case { name, pass: Box::new(pass) }
}

fn report(what: &str, codec: &str, bytes: usize, count: u32, cases: &mut Vec<Case<'_>>) {
    cases.retain(|case| is_wanted(&format!("{} of {what}, {codec}", case.name)));
    let mut times: Vec<Vec<f64>> = cases.iter().map(|_| Vec::new()).collect();
    let mut passes: Vec<u32> = Vec::new();
    for case in cases.iter_mut() {
        (case.pass)();
        let start = Instant::now();
        (case.pass)();
        passes.push(u32::try_from(ROUND.as_nanos() / start.elapsed().as_nanos().max(1)).unwrap_or(u32::MAX).max(1));
    }
    for _ in 0..ROUNDS {
        for ((case, times), passes) in cases.iter_mut().zip(&mut times).zip(&passes) {
            let start = Instant::now();
            for _ in 0..*passes {
                (case.pass)();
            }
            times.push(start.elapsed().as_secs_f64() / f64::from(*passes));
        }
    }
    for (case, times) in cases.iter_mut().zip(&mut times) {
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        (case.pass)();
        let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
        times.sort_by(f64::total_cmp);
        let median = times.get(times.len() / 2).copied().unwrap_or_default();
        let bytes = u32::try_from(bytes).expect("a small number");
        let line = serde_json::json!({
            "case": case.name,
            "of": what,
            "codec": codec,
            "gb_per_s": round(f64::from(bytes) / median / 1e9),
            "ns_each": round(median * 1e9 / f64::from(count)),
            "allocations_each": round(f64::from(u32::try_from(allocations).unwrap_or(u32::MAX)) / f64::from(count)),
        });
        println!("{line}");
    }
}

/// Whether the name of a case has all the words in it that the command line asks for.
fn is_wanted(name: &str) -> bool {
    std::env::args().skip(1).filter(|word| !word.starts_with('-')).all(|word| name.contains(&word))
}

/// Two digits behind the point.
fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
