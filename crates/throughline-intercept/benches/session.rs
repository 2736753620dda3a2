//! Cost of a session: `cargo bench -p throughline-intercept --bench session [name]`.
//!
//! One JSON line per case: throughput of requests (produce) or responses (fetch), throughput of a
//! plain copy, processor time and allocations per record. Rounds of all cases alternate; the median
//! counts.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "a measurement may fail by panicking"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rustix::time::{ClockId, clock_gettime};
use throughline_intercept::Side;
use throughline_intercept::kafka::{
    ClusterCapacity, ClusterHandle, ClusterState, ConnectionEndpoints, InjectionMode, KafkaSession,
    Settings,
};

#[path = "../tests/support/wire.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod wire;

use wire::{BatchSpec, FetchSpec, RecordSpec};

const ROUNDS: usize = 15;
const TOTAL: usize = 32 << 20;
/// Size of a driver's read.
const READ: usize = 128 * 1024;
const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0";

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[expect(unsafe_code, reason = "an allocator cannot be counted otherwise")]
// SAFETY: all calls are forwarded to the system allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller upholds the contract of the system allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller upholds the contract of the system allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[derive(Clone)]
struct Process(Rc<RefCell<ClusterState>>);

impl ClusterHandle for Process {
    fn with_state<T>(&self, operation: impl FnOnce(&mut ClusterState) -> T) -> T {
        operation(&mut self.0.borrow_mut())
    }
}

/// Benchmark case: a way to send or receive records.
struct Case {
    name: String,
    settings: Arc<Settings>,
    /// Bytes of the client before each round.
    asked: Option<Bytes>,
    said: Bytes,
    from: Side,
    answered: Option<Bytes>,
    records: usize,
}

fn records(record: usize, context: Option<&str>) -> Vec<RecordSpec> {
    let count = (1 << 20) / record / if record < 1000 { 4 } else { 1 };
    let value = "v".repeat(record - 20);
    let one = |_| match context {
        Some(flags) => RecordSpec::of(&value).with("traceparent", format!("{TRACEPARENT}{flags}")),
        None => RecordSpec::of(&value),
    };
    (0..count.min(1000)).map(one).collect()
}

fn produce(name: &str, record: usize, settings: Settings) -> Case {
    let records = records(record, None);
    Case {
        name: format!("produce/{name}/{record}"),
        settings: Arc::new(settings),
        asked: None,
        records: records.len(),
        said: wire::produce(9, 1, 1, BatchSpec::of(records).bytes()),
        from: Side::Client,
        answered: Some(wire::produced(9, 1, 0, 0)),
    }
}

fn fetch(name: &str, record: usize, context: Option<&str>, sample_ratio: f64) -> Case {
    let records = records(record, context);
    let settings = Settings {
        sample_ratio,
        ..Settings::default()
    };
    let ask = FetchSpec::default();
    Case {
        name: format!("fetch/{name}/{record}"),
        settings: Arc::new(settings),
        asked: Some(ask.frame()),
        records: records.len(),
        said: ask.answer(BatchSpec::of(records).bytes(), 1 << 40, &[]),
        from: Side::Broker,
        answered: None,
    }
}

fn main() {
    let ratio = |sample_ratio| Settings {
        sample_ratio,
        ..Settings::default()
    };
    let mut cases = Vec::new();
    for record in [100, 1024] {
        cases.extend([
            produce("all", record, ratio(1.0)),
            produce("percent", record, ratio(0.01)),
            produce("none", record, ratio(0.0)),
            produce(
                "observe",
                record,
                Settings {
                    inject: InjectionMode::Never,
                    ..ratio(0.0)
                },
            ),
            fetch("all", record, Some("1"), 1.0),
            fetch("unsampled", record, Some("0"), 1.0),
            fetch("bare", record, None, 0.0),
        ]);
    }
    let filter = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'));
    cases.retain(|case| {
        filter
            .as_ref()
            .is_none_or(|filter| case.name.contains(filter))
    });
    let mut times = vec![Vec::new(); cases.len()];
    let mut allocations = vec![0; cases.len()];
    for _ in 0..ROUNDS {
        for (at, case) in cases.iter().enumerate() {
            let (time, count) = case.run();
            times[at].push(time);
            allocations[at] = count;
        }
    }
    let copied = copy();
    for ((case, mut times), allocations) in cases.iter().zip(times).zip(allocations) {
        times.sort_by(f64::total_cmp);
        let frames = TOTAL / case.said.len();
        let (bytes, records) = (
            (frames * case.said.len()) as f64,
            (frames * case.records) as f64,
        );
        let time = times[times.len() / 2];
        println!(
            "{{\"case\":\"{}\",\"gb_per_s\":{:.2},\"copy_gb_per_s\":{:.2},\
             \"ns_per_record\":{:.1},\"allocations_per_record\":{:.3}}}",
            case.name,
            bytes / time / 1e9,
            copied,
            time / records * 1e9,
            allocations as f64 / records
        );
    }
}

/// Returns the processor time of this thread, so that other load does not count.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap(),
        u32::try_from(time.tv_nsec).unwrap(),
    )
}

/// Returns the throughput of a plain copy in GB/s.
fn copy() -> f64 {
    let (from, mut to) = (vec![1u8; READ], vec![0u8; READ]);
    let begin = processor_time();
    for _ in 0..TOTAL / READ {
        to.copy_from_slice(std::hint::black_box(&from));
        std::hint::black_box(&mut to);
    }
    TOTAL as f64 / (processor_time() - begin).as_secs_f64() / 1e9
}

// === impl Case ===

impl Case {
    /// Returns the seconds and allocations for [`TOTAL`] bytes.
    fn run(&self) -> (f64, u64) {
        let capacity = ClusterCapacity {
            max_spans_per_second: 1_000_000_000,
            ..ClusterCapacity::default()
        };
        let process = Process(Rc::new(RefCell::new(ClusterState::new(capacity))));
        let mut session = KafkaSession::new(
            Arc::clone(&self.settings),
            process,
            ConnectionEndpoints::default(),
            7,
        );
        let mut now = 1_700_000_000_000_000_000;
        let (mut seconds, mut allocations) = (0.0, 0);
        for _ in 0..TOTAL / self.said.len() {
            now += 1_000_000;
            if let Some(asked) = &self.asked {
                session.handle_bytes(Side::Client, now, asked.clone());
                drain(&mut session);
            }
            // A driver reads into buffers of its own.
            let pieces: Vec<Bytes> = self
                .said
                .chunks(READ)
                .map(|piece| BytesMut::from(piece).freeze())
                .collect();
            let (begin, before) = (processor_time(), ALLOCATIONS.load(Ordering::Relaxed));
            for piece in pieces {
                session.handle_bytes(self.from, now, piece);
                drain(&mut session);
            }
            if let Some(answered) = &self.answered {
                session.handle_bytes(Side::Broker, now, answered.clone());
                drain(&mut session);
            }
            seconds += (processor_time() - begin).as_secs_f64();
            allocations += ALLOCATIONS.load(Ordering::Relaxed) - before;
        }
        (seconds, allocations)
    }
}

fn drain(session: &mut KafkaSession<Process>) {
    while let Some(out) = session.poll_transmit() {
        std::hint::black_box(&out);
    }
    while let Some(spans) = session.poll_spans() {
        std::hint::black_box(&spans);
    }
    while let Some(event) = session.poll_event() {
        std::hint::black_box(&event);
    }
}
