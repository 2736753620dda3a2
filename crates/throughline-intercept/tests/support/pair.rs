//! A client and a broker with a session between them: a clock that is only a number, bytes cut as a seed says.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use throughline_intercept::correlate::{Correlator, CorrelatorAccess as _, TokenExtractor};
use throughline_intercept::kafka::{
    ClusterCapacity, ClusterHandle, ClusterState, ConnectionEndpoints, KafkaSession, NodeId,
    SessionEvent, Settings, SkipReason,
};
use throughline_intercept::{Side, Timestamp};
use throughline_model::{Span, Value};

use crate::support::shared_correlator::SharedCorrelator;

/// When the simulation begins: 2023-11-14, in nanoseconds.
pub(crate) const BEGIN: Timestamp = 1_700_000_000_000_000_000;
pub(crate) const MILLISECOND: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1_000 * MILLISECOND;

/// What the connections of a simulated process know together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Process {
    pub(crate) known: Rc<RefCell<ClusterState>>,
    /// Where brokers are to be reached, by their ports.
    pub(crate) addresses: Rc<HashMap<i32, (Arc<str>, i32)>>,
    /// Where it is one process that all clients are of.
    pub(crate) correlator: Option<Rc<SharedCorrelator>>,
    /// Who looks next at what is known panics: an error of ours.
    pub(crate) panics_once: Rc<Cell<bool>>,
}

/// How bytes are cut.
#[derive(Debug, Clone)]
pub(crate) enum Chunking {
    /// As they come.
    Whole,
    Each(usize),
    Random(fastrand::Rng),
}

/// A connection.
pub(crate) struct Pair {
    pub(crate) session: KafkaSession<Process>,
    pub(crate) now: Timestamp,
    pub(crate) cut: Chunking,
    /// What has come out, for the client and for the broker.
    pub(crate) to_client: Vec<u8>,
    pub(crate) to_broker: Vec<u8>,
    pub(crate) spans: Vec<Span>,
    pub(crate) events: Vec<SessionEvent>,
}

// === impl Process ===

impl Process {
    pub(crate) fn with(capacity: ClusterCapacity) -> Self {
        Self {
            known: Rc::new(RefCell::new(ClusterState::new(capacity))),
            ..Self::default()
        }
    }
}

impl ClusterHandle for Process {
    fn with_state<T>(&self, operation: impl FnOnce(&mut ClusterState) -> T) -> T {
        assert!(!self.panics_once.take(), "broken on purpose");
        operation(&mut self.known.borrow_mut())
    }

    fn token_extractor(&self) -> Option<&TokenExtractor> {
        Some(self.correlator.as_ref()?.token_extractor())
    }

    fn correlate<T>(&self, operation: impl FnOnce(&mut Correlator) -> T) -> Option<T> {
        Some(self.correlator.as_ref()?.with_correlator(operation))
    }

    fn is_addressed(&self) -> bool {
        !self.addresses.is_empty()
    }

    fn local_address(&self, _: NodeId, _: &str, port: i32) -> Option<(Arc<str>, i32)> {
        self.addresses.get(&port).cloned()
    }
}

// === impl Pair ===

impl Pair {
    pub(crate) fn new(settings: Settings) -> Self {
        Self::of(&Process::default(), settings)
    }

    /// One more connection of a process.
    pub(crate) fn of(process: &Process, settings: Settings) -> Self {
        let peer = ConnectionEndpoints {
            client: Some([10, 0, 0, 7].into()),
            broker: Some(("broker".into(), 9092)),
        };
        let session = KafkaSession::new(Arc::new(settings), process.clone(), peer, 7);
        Self {
            session,
            now: BEGIN,
            cut: Chunking::Whole,
            to_client: Vec::new(),
            to_broker: Vec::new(),
            spans: Vec::new(),
            events: Vec::new(),
        }
    }

    pub(crate) fn cut(self, cut: Chunking) -> Self {
        Self { cut, ..self }
    }

    /// The client sends.
    pub(crate) fn client(&mut self, bytes: impl AsRef<[u8]>) {
        self.send(Side::Client, bytes.as_ref());
    }

    /// The broker sends.
    pub(crate) fn broker(&mut self, bytes: impl AsRef<[u8]>) {
        self.send(Side::Broker, bytes.as_ref());
    }

    fn send(&mut self, from: Side, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let length = match &mut self.cut {
                Chunking::Whole => bytes.len(),
                Chunking::Each(length) => *length,
                Chunking::Random(random) => {
                    // Short pieces and long ones.
                    let most = random.usize(1..=bytes.len().min(400));
                    random.usize(1..=3 * most)
                }
            };
            let (piece, rest) = bytes.split_at(length.min(bytes.len()));
            self.session
                .handle_bytes(from, self.now, Bytes::copy_from_slice(piece));
            self.drain();
            bytes = rest;
        }
    }

    pub(crate) fn close(&mut self, side: Side) {
        self.session.handle_close(side, self.now);
        self.drain();
    }

    /// Time goes by; what is due happens.
    pub(crate) fn wait(&mut self, nanoseconds: u64) {
        let until = self.now + nanoseconds;
        while let Some(due) = self.session.poll_timeout().filter(|due| *due <= until) {
            self.now = due.max(self.now);
            self.session.handle_timeout(self.now);
            self.drain();
            assert!(
                self.session.poll_timeout().is_none_or(|next| next > due),
                "a timeout makes progress"
            );
        }
        self.now = until;
    }

    fn drain(&mut self) {
        while let Some((to, bytes)) = self.session.poll_transmit() {
            assert!(!bytes.is_empty());
            match to {
                Side::Client => self.to_client.extend_from_slice(&bytes),
                Side::Broker => self.to_broker.extend_from_slice(&bytes),
            }
        }
        self.spans
            .extend(std::iter::from_fn(|| self.session.poll_span()));
        self.events
            .extend(std::iter::from_fn(|| self.session.poll_event()));
    }

    /// What has come out for the broker since the last time.
    pub(crate) fn take_broker(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.to_broker)
    }

    pub(crate) fn take_client(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.to_client)
    }

    pub(crate) fn take_spans(&mut self) -> Vec<Span> {
        std::mem::take(&mut self.spans)
    }

    /// Reasons for which something passed.
    pub(crate) fn skipped(&self) -> Vec<SkipReason> {
        let reason = |event: &SessionEvent| match event {
            SessionEvent::Skipped { reason, .. } => Some(*reason),
            _ => None,
        };
        self.events.iter().filter_map(reason).collect()
    }

    /// Spans that were not made, and records that were not sampled.
    pub(crate) fn dropped(&self) -> u32 {
        let count = |event: &SessionEvent| match event {
            SessionEvent::SpansDropped { spans, .. } => *spans,
            SessionEvent::Unsampled { records } => *records,
            _ => 0,
        };
        self.events.iter().map(count).sum()
    }

    pub(crate) fn injected(&self) -> u32 {
        let count = |event: &SessionEvent| {
            if let SessionEvent::Injected { records } = event {
                *records
            } else {
                0
            }
        };
        self.events.iter().map(count).sum()
    }
}

pub(crate) fn attribute<'a>(span: &'a Span, key: &str) -> &'a Value {
    span.attribute(key)
        .unwrap_or_else(|| panic!("{} has no {key}", span.name))
}

pub(crate) fn text<'a>(span: &'a Span, key: &str) -> &'a str {
    attribute(span, key)
        .as_str()
        .unwrap_or_else(|| panic!("{key} is no text"))
}

pub(crate) fn int(span: &Span, key: &str) -> i64 {
    if let Value::Int(number) = attribute(span, key) {
        *number
    } else {
        panic!("{key} is no whole number")
    }
}

pub(crate) fn double(span: &Span, key: &str) -> f64 {
    if let Value::Double(number) = attribute(span, key) {
        *number
    } else {
        panic!("{key} is no number")
    }
}
