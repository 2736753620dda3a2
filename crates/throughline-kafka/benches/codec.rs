//! Measures how fast Kafka's bytes are split into frames, read and rewritten, compared with
//! `memcpy` and with decoding and encoding.
//!
//! Each case processes one batch of about [`BATCH`] bytes of records, in the cache. The cases of a
//! group alternate; the figures are medians of processor time, in GB/s of uncompressed records. The
//! output is one line of JSON per case: the case, its input and codec; median and best GB/s;
//! nanoseconds and allocations per record (or frame); and the time in relation to the first case of
//! the group, round by round. Allocations are counted over one pass after all reused buffers have
//! grown to their size. Run `cargo bench -p throughline-kafka --bench codec`; with ` -- WORDS` it
//! runs only the cases whose names contain all the words.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark is a program of its own"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{
    Compression, RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions,
};
use rustix::time::{ClockId, clock_gettime};
use throughline_kafka::batch::{
    BatchOutcome, CodecPool, CompressionCodec, HeaderInjector, HeaderPatcher, InjectionLimits,
    RecordBatch, RecordIter, SnappyFraming,
};
use throughline_kafka::frame::Framer;

/// Bytes of records in a batch: fits the second-level cache twice over.
const BATCH: usize = 200 * 1024;
const ROUNDS: usize = 15;
const ROUND: Duration = Duration::from_millis(12);

const KEY: &str = "traceparent";
/// The headers that may contain a trace context.
const CONTEXT: [&[u8]; 4] = [KEY.as_bytes(), b"tracestate", b"b3", b"uber-trace-id"];
const VALUE: &[u8] = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const LIMITS: InjectionLimits = InjectionLimits {
    max_batch_bytes: 16 << 20,
    max_uncompressed_bytes: usize::MAX,
    max_inflated_bytes: 16 << 20,
};

/// An allocator that counts allocations.
struct CountingAllocator;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

#[expect(
    unsafe_code,
    reason = "an allocator is unsafe by nature; this one calls the system's"
)]
// SAFETY: every call is forwarded to the system's allocator with the same arguments.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller upholds the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller upholds the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller upholds the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// A measured operation: its name, and one pass over the batch.
struct Case<'a> {
    name: &'static str,
    pass: Box<dyn FnMut() + 'a>,
}

fn main() {
    measure_framing();
    for record in [100, 1024, 10 * 1024] {
        for (codec, compression) in [
            (CompressionCodec::None, Compression::None),
            (CompressionCodec::Lz4, Compression::Lz4),
            (CompressionCodec::Zstd, Compression::Zstd),
        ] {
            let sample = Sample::new(record, codec, compression);
            sample.measure();
        }
    }
}

/// A batch in all the forms that the cases need.
struct Sample {
    record: usize,
    codec: CompressionCodec,
    compression: Compression,
    batch: Vec<u8>,
    shared: Bytes,
    plain: Vec<u8>,
    count: u32,
}

// === impl Sample ===

impl Sample {
    fn new(record: usize, codec: CompressionCodec, compression: Compression) -> Self {
        let count = u32::try_from(BATCH / record).expect("a small number");
        let mut random = 1u64;
        let records: Vec<_> = (0..count)
            .map(|offset| one(record, i64::from(offset), &mut random))
            .collect();
        let mut out = BytesMut::new();
        RecordBatchEncoder::encode(
            &mut out,
            records.iter(),
            &RecordEncodeOptions {
                version: 2,
                compression,
            },
        )
        .expect("a batch");
        let batch = out.to_vec();
        let mut plain = Vec::new();
        let payload = RecordBatch::new(&batch).expect("one batch").payload();
        CodecPool::default()
            .decompress(codec, payload, usize::MAX, &mut plain)
            .expect("records");
        let shared = Bytes::from(batch.clone());
        Self {
            record,
            codec,
            compression,
            batch,
            shared,
            plain,
            count,
        }
    }

    fn batch(&self) -> RecordBatch<'_> {
        RecordBatch::new(&self.batch).expect("one batch")
    }

    /// Returns the batch with the header in each record.
    fn injected(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let outcome =
            HeaderInjector::default().inject(self.batch(), &LIMITS, &mut out, |_, headers| {
                headers.append(KEY.as_bytes(), Some(VALUE));
            });
        assert!(matches!(outcome, BatchOutcome::Changed(_)));
        out
    }

    fn measure(&self) {
        let mut cases = if self.codec == CompressionCodec::None {
            vec![self.copy()]
        } else {
            vec![self.recompress()]
        };
        cases.extend([self.inject(), self.inject_nothing()]);
        let (shared, compression) = (self.shared.clone(), self.compression);
        cases.push(case("decode, insert, encode", move || {
            recode(&shared, compression);
        }));
        self.report("", self.plain.len(), &mut cases);
        if self.codec == CompressionCodec::None {
            self.measure_reading();
        } else {
            self.report(
                " as fetched",
                self.plain.len(),
                &mut vec![self.inflate_and_scan()],
            );
        }
    }

    fn report(&self, with: &str, bytes: usize, cases: &mut Vec<Case<'_>>) {
        let what = format!("{} B{with}", self.record);
        report(
            &what,
            &format!("{:?}", self.codec).to_lowercase(),
            bytes,
            self.count,
            cases,
        );
    }

    fn copy(&self) -> Case<'_> {
        let (mut copy, mut offset) = (Vec::with_capacity(self.plain.len()), 0);
        case("memcpy", move || {
            clear_with_offset(&mut copy, &mut offset);
            copy.extend_from_slice(black_box(&self.plain));
        })
    }

    /// The lower bound of injection: decompress the input, compress the output.
    fn recompress(&self) -> Case<'_> {
        let (mut codecs, mut inflated, mut deflated, mut longer) =
            (CodecPool::default(), Vec::new(), Vec::new(), Vec::new());
        let injected = self.injected();
        let injected = RecordBatch::new(&injected).expect("one batch");
        codecs
            .decompress(self.codec, injected.payload(), usize::MAX, &mut longer)
            .expect("records");
        case("inflate, deflate", move || {
            deflated.clear();
            codecs
                .decompress(
                    self.codec,
                    self.batch().payload(),
                    usize::MAX,
                    &mut inflated,
                )
                .expect("records");
            black_box(&inflated);
            codecs
                .compress(
                    self.codec,
                    SnappyFraming::Raw,
                    black_box(&longer),
                    &mut deflated,
                )
                .expect("a payload");
        })
    }

    fn inflate_and_scan(&self) -> Case<'_> {
        let (mut codecs, mut inflated) = (CodecPool::default(), Vec::new());
        case("inflate, scan, find 1 header", move || {
            codecs
                .decompress(
                    self.codec,
                    self.batch().payload(),
                    usize::MAX,
                    &mut inflated,
                )
                .expect("records");
            for record in RecordIter::new(&inflated, self.batch().record_count()) {
                let record = record.expect("a record");
                black_box((record.offset_delta, record.timestamp_delta));
                black_box(
                    record
                        .last_header(black_box(KEY.as_bytes()))
                        .map(|header| header.value),
                );
            }
        })
    }

    fn inject(&self) -> Case<'_> {
        let (mut injector, mut out, mut offset) = (HeaderInjector::default(), Vec::new(), 0);
        case("inject", move || {
            clear_with_offset(&mut out, &mut offset);
            let outcome =
                injector.inject(black_box(self.batch()), &LIMITS, &mut out, |_, headers| {
                    headers.append(KEY.as_bytes(), Some(black_box(VALUE)));
                });
            assert!(matches!(outcome, BatchOutcome::Changed(_)));
        })
    }

    /// Records that need no header, because they have a context.
    fn inject_nothing(&self) -> Case<'_> {
        let (mut injector, mut out) = (HeaderInjector::default(), Vec::new());
        case("inject nothing", move || {
            let outcome = injector.inject(
                black_box(self.batch()),
                &LIMITS,
                &mut out,
                |record, headers| {
                    if record.last_header(black_box(b"source")).is_none() {
                        headers.append(KEY.as_bytes(), Some(black_box(VALUE)));
                    }
                },
            );
            assert_eq!(outcome, BatchOutcome::Unchanged);
        })
    }

    /// The cases of a consumer: records with the header.
    fn measure_reading(&self) {
        let fetched = self.injected();
        let batch = RecordBatch::new(&fetched).expect("one batch");
        let records = || -> RecordIter<'_> { black_box(batch).records().expect("not compressed") };
        let (mut copy, mut changing) = (Vec::with_capacity(fetched.len()), fetched.clone());
        let mut patcher = HeaderPatcher::default();
        let scan = move || {
            for record in records() {
                let record = record.expect("a record");
                black_box((record.offset_delta, record.timestamp_delta));
            }
        };
        let find = move || {
            for record in records() {
                let record = record.expect("a record");
                black_box((record.offset_delta, record.timestamp_delta));
                black_box(
                    record
                        .last_header(black_box(KEY.as_bytes()))
                        .map(|header| header.value),
                );
            }
        };
        let find_four = move || {
            for record in records() {
                let record = record.expect("a record");
                black_box((record.offset_delta, record.timestamp_delta));
                black_box(
                    record
                        .last_headers(black_box(CONTEXT))
                        .map(|header| header.and_then(|header| header.value)),
                );
            }
        };
        let mut cases = vec![
            case("memcpy", || {
                copy.clear();
                copy.extend_from_slice(black_box(batch.payload()));
            }),
            case("scan", scan),
            case("scan, find 1 header", find),
            case("scan, find 4 headers", find_four),
            case("checksum", || {
                assert!(black_box(batch).has_valid_checksum());
            }),
            case("patch", || {
                let outcome = patcher.patch(&mut changing, |record, patches| {
                    if let Some(header) = record.last_header(KEY.as_bytes()) {
                        patches.overwrite(record, &header, 36, black_box(b"00f067aa0ba902b7"));
                    }
                });
                assert!(matches!(outcome, BatchOutcome::Changed(_)));
            }),
        ];
        self.report(" with the header", batch.payload().len(), &mut cases);
    }
}

/// Clears `out` except for a prefix that grows from call to call: the relative position of input
/// and output within their pages affects the speed.
fn clear_with_offset(out: &mut Vec<u8>, offset: &mut usize) {
    *offset = (*offset + 656) % 4096;
    out.clear();
    out.resize(*offset, 0);
}

/// The same injection with owned records.
fn recode(batch: &Bytes, compression: Compression) {
    let mut set = RecordBatchDecoder::decode(&mut batch.clone()).expect("a batch");
    for record in &mut set.records {
        record.headers.insert(
            StrBytes::from_static_str(KEY),
            Some(Bytes::from_static(VALUE)),
        );
    }
    let mut out = BytesMut::new();
    RecordBatchEncoder::encode(
        &mut out,
        set.records.iter(),
        &RecordEncodeOptions {
            version: 2,
            compression,
        },
    )
    .expect("a batch");
    black_box(out);
}

fn one(size: usize, offset: i64, random: &mut u64) -> kafka_protocol::records::Record {
    use kafka_protocol::records::{
        NO_PARTITION_LEADER_EPOCH, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, Record, TimestampType,
    };
    let mut value = Vec::new();
    // Random words, which compress about as well as a log.
    while value.len() + 60 < size.max(70) {
        *random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        value.extend_from_slice(format!("{:x} order ", *random >> 52).as_bytes());
    }
    let header = |key, value| {
        (
            StrBytes::from_static_str(key),
            Some(Bytes::from_static(value)),
        )
    };
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
        headers: [header("type", b"order"), header("source", b"shop")]
            .into_iter()
            .collect(),
    }
}

/// Frames that pass through, in chunks of the size that a socket returns.
fn measure_framing() {
    for size in [200usize, 16 * 1024, 1024 * 1024] {
        let mut stream = Vec::new();
        for correlation in 0..(4 << 20) / u32::try_from(size).expect("a small number") {
            stream.extend(
                u32::try_from(size - 4)
                    .expect("a small number")
                    .to_be_bytes(),
            );
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
        report(
            &format!("frames of {size} B"),
            "none",
            length,
            frames,
            &mut vec![case("borders", pass)],
        );
    }
}

fn case<'a>(name: &'static str, pass: impl FnMut() + 'a) -> Case<'a> {
    Case {
        name,
        pass: Box::new(pass),
    }
}

fn report(what: &str, codec: &str, bytes: usize, count: u32, cases: &mut Vec<Case<'_>>) {
    cases.retain(|case| is_wanted(&format!("{} of {what}, {codec}", case.name)));
    let Some(first) = cases.first().map(|case| case.name) else {
        return;
    };
    let times = take_turns(cases);
    for (case, own) in cases.iter_mut().zip(&times) {
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        (case.pass)();
        let allocations =
            u32::try_from(ALLOCATIONS.load(Ordering::Relaxed) - before).unwrap_or(u32::MAX);
        let bytes = f64::from(u32::try_from(bytes).expect("a small number"));
        let seconds = median(own.iter().copied());
        let ratio = median(
            own.iter()
                .zip(times.iter().flatten())
                .map(|(own, first)| own / first),
        );
        let line = serde_json::json!({
            "case": case.name,
            "of": what,
            "codec": codec,
            "gb_per_s": round(bytes / seconds / 1e9),
            "gb_per_s_best": round(bytes / own.iter().copied().fold(f64::INFINITY, f64::min) / 1e9),
            "ns_each": round(seconds * 1e9 / f64::from(count)),
            "allocations_each": round(f64::from(allocations) / f64::from(count)),
            "beside": first,
            "times_as_long": round(ratio),
        });
        println!("{line}");
    }
}

/// Returns the seconds per pass of each case, in each round.
fn take_turns(cases: &mut [Case<'_>]) -> Vec<Vec<f64>> {
    let mut passes: Vec<u32> = Vec::new();
    for case in cases.iter_mut() {
        (case.pass)();
        let start = cpu_time();
        (case.pass)();
        let took = (cpu_time() - start).as_nanos().max(1);
        passes.push(
            u32::try_from(ROUND.as_nanos() / took)
                .unwrap_or(u32::MAX)
                .max(1),
        );
    }
    let mut times: Vec<Vec<f64>> = cases.iter().map(|_| Vec::new()).collect();
    for _ in 0..ROUNDS {
        for ((case, times), passes) in cases.iter_mut().zip(&mut times).zip(&passes) {
            let start = cpu_time();
            for _ in 0..*passes {
                (case.pass)();
            }
            times.push((cpu_time() - start).as_secs_f64() / f64::from(*passes));
        }
    }
    times
}

/// Returns the processor time of this thread, which excludes other threads apart from their use of
/// shared caches.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).expect("a short time"),
        u32::try_from(time.tv_nsec).expect("nanoseconds"),
    )
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Returns whether the name of a case contains all words of the command line.
fn is_wanted(name: &str) -> bool {
    std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .all(|word| name.contains(&word))
}

/// Rounds to two decimal places.
fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
