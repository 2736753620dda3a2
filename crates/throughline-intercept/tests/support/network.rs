//! Simulated network: a producer, a consumer and a broker with a session on each connection. Bytes
//! arrive later and in pieces, and connections are cut. Time is a number, randomness comes from a
//! seed.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use throughline_intercept::kafka::{
    ApiKey, ConnectionEndpoints, KafkaSession, SessionEvent, Settings,
};
use throughline_intercept::{Side, Timestamp};
use throughline_kafka::batch::{RecordBatch, RecordBatches, RecordSetEntry};
use throughline_kafka::frame::RequestHeader;
use throughline_kafka::message::{ApiMessage, fetch, produce};
use throughline_model::Span;

use super::pair::{BEGIN, MILLISECOND, Process, SECOND};
use super::script::records;
use super::wire::{self, BatchSpec, FetchSpec, RecordSpec, read_records};

/// Simulated network with all its participants.
pub(crate) struct Network {
    random: fastrand::Rng,
    settings: Arc<Settings>,
    pub(crate) process: Process,
    pub(crate) now: Timestamp,
    /// Events of the simulation, by time and order.
    schedule: BTreeMap<(Timestamp, u64), Event>,
    order: u64,
    connections: Vec<Connection>,
    pub(crate) broker: Broker,
    pub(crate) producer: Producer,
    pub(crate) consumer: Consumer,
    pub(crate) spans: Vec<Span>,
    pub(crate) events: Vec<SessionEvent>,
    /// Records in produce requests that reached a session in whole.
    pub(crate) offered: usize,
    /// Connections that may still be cut.
    cuts: usize,
    pub(crate) was_cut: usize,
}

enum Event {
    /// A piece of bytes leaves a pipe.
    Piece(usize, Pipe, Bytes),
    Chunking(usize),
    Connect(ClientRole),
    /// A consumer polls again after a pause.
    Poll(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ClientRole {
    Producer,
    Consumer,
}

/// Direction and half of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pipe {
    FromClient,
    ToBroker,
    FromBroker,
    ToClient,
}

struct Connection {
    who: ClientRole,
    session: KafkaSession<Process>,
    is_open: bool,
    /// Time at which the last piece leaves each pipe: pieces do not overtake each other.
    last: [Timestamp; 4],
    at_broker: Vec<u8>,
    at_client: Vec<u8>,
    /// Bytes of an incomplete frame that the session has received.
    at_session: Vec<u8>,
}

/// Broker with one partition and one idempotent producer.
#[derive(Default)]
pub(crate) struct Broker {
    log: Vec<(i64, Vec<u8>)>,
    end: i64,
    /// Offsets by the first sequence number of a batch.
    taken: BTreeMap<i32, i64>,
    /// Sizes of the producer's batches without compression, by sequence number, if larger ones may
    /// be refused: the limit changes, and the broker recompresses.
    limits: Option<BTreeMap<i32, usize>>,
    /// Number of batches that were refused for their size.
    pub(crate) refused: usize,
    pub(crate) committed: i64,
}

/// Producer that resends, in order, batches without a response.
#[derive(Default)]
pub(crate) struct Producer {
    batches: Vec<BatchSpec>,
    /// Number of batches with a response.
    answered: usize,
    sent: usize,
}

#[derive(Default)]
pub(crate) struct Consumer {
    position: i64,
    pub(crate) got: Vec<(i64, RecordSpec)>,
    correlation: i32,
    is_done: bool,
}

/// Maximum number of produce requests in flight.
const IN_FLIGHT: usize = 3;

// === impl Network ===

impl Network {
    pub(crate) fn new(seed: u64, settings: Settings, cuts: usize) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut sequence = 0;
        let batches = (0..random.usize(1..8)).map(|_| {
            let mut batch = BatchSpec::of(records(&mut random))
                .attributes(random.i16(0..5))
                .by(7);
            batch.sequence = sequence;
            sequence += batch.records.len() as i32;
            batch
        });
        let producer = Producer {
            batches: batches.collect(),
            ..Producer::default()
        };
        let mut world = Self {
            random,
            settings: Arc::new(settings),
            process: Process::default(),
            now: BEGIN,
            schedule: BTreeMap::new(),
            order: 0,
            connections: Vec::new(),
            broker: Broker::default(),
            producer,
            consumer: Consumer::default(),
            spans: Vec::new(),
            events: Vec::new(),
            offered: 0,
            cuts,
            was_cut: 0,
        };
        world.schedule_event(0, Event::Connect(ClientRole::Producer));
        world.schedule_event(0, Event::Connect(ClientRole::Consumer));
        world
    }

    /// Has the broker refuse, at random, batches that are larger than the producer's.
    pub(crate) fn with_refusals(mut self) -> Self {
        let batches = self.producer.batches.iter();
        let limits = batches.map(|it| (it.sequence, plain_size(&it.records)));
        self.broker.limits = Some(limits.collect());
        self
    }

    /// Runs until all records have been committed.
    pub(crate) fn run(&mut self) {
        for _ in 0..100_000 {
            let Some(((at, _), event)) = self.schedule.pop_first() else {
                break;
            };
            self.expire(at);
            self.now = at;
            self.dispatch(event);
        }
        assert!(self.schedule.is_empty(), "it never ends");
        for at in 0..self.connections.len() {
            if self.connections[at].is_open {
                assert!(
                    self.connections[at].session.is_idle(),
                    "an answer is awaited that has come"
                );
                self.close(at);
            }
        }
        let mut known = self.process.known.borrow_mut();
        self.spans
            .extend(std::iter::from_fn(|| known.poll_abandoned_span(u64::MAX)));
    }

    /// Returns all records of the producer, in order.
    pub(crate) fn expected(&self) -> Vec<RecordSpec> {
        self.producer
            .batches
            .iter()
            .flat_map(|batch| batch.records.clone())
            .collect()
    }

    fn schedule_event(&mut self, pause: u64, event: Event) {
        self.order += 1;
        self.schedule.insert((self.now + pause, self.order), event);
    }

    /// Runs timeouts of sessions that are due before `until`.
    fn expire(&mut self, until: Timestamp) {
        for at in 0..self.connections.len() {
            let is_due = |due: &Timestamp| *due <= until;
            while let Some(due) = self.connections[at].session.poll_timeout().filter(is_due) {
                self.now = self.now.max(due);
                self.connections[at].session.handle_timeout(self.now);
                self.drain(at);
            }
        }
    }

    fn dispatch(&mut self, event: Event) {
        match event {
            Event::Connect(who) => self.connect(who),
            Event::Chunking(at) => self.cut(at),
            Event::Poll(at) => self.poll(at),
            Event::Piece(at, _, _) if !self.connections[at].is_open => {}
            Event::Piece(at, Pipe::FromClient, bytes) => {
                self.connections[at].at_session.extend_from_slice(&bytes);
                while let Some(frame) = next_frame(&mut self.connections[at].at_session) {
                    self.offered += record_count(&frame);
                }
                self.connections[at]
                    .session
                    .handle_bytes(Side::Client, self.now, bytes);
                self.drain(at);
            }
            Event::Piece(at, Pipe::FromBroker, bytes) => {
                self.connections[at]
                    .session
                    .handle_bytes(Side::Broker, self.now, bytes);
                self.drain(at);
            }
            Event::Piece(at, Pipe::ToBroker, bytes) => {
                self.connections[at].at_broker.extend_from_slice(&bytes);
                self.serve(at);
            }
            Event::Piece(at, Pipe::ToClient, bytes) => {
                self.connections[at].at_client.extend_from_slice(&bytes);
                while let Some(frame) = next_frame(&mut self.connections[at].at_client) {
                    match self.connections[at].who {
                        ClientRole::Producer => self.produced(at, &frame),
                        ClientRole::Consumer => self.consumed(at, &frame),
                    }
                }
            }
        }
    }

    /// Puts bytes into a pipe, which they leave later and in pieces.
    fn send(&mut self, at: usize, pipe: Pipe, mut bytes: Bytes) {
        // Some bytes take longer than the request timeout.
        let stall = if self.random.u8(..) == 0 {
            70 * SECOND
        } else {
            0
        };
        while !bytes.is_empty() {
            let most = self.random.usize(1..=bytes.len());
            let piece = bytes.split_to(self.random.usize(1..=most));
            let last = self.connections[at].last[pipe as usize];
            let due = last.max(self.now + stall + self.random.u64(..2 * MILLISECOND));
            self.connections[at].last[pipe as usize] = due;
            self.schedule_event(due - self.now, Event::Piece(at, pipe, piece));
        }
    }

    /// Takes the output of a session.
    fn drain(&mut self, at: usize) {
        while let Some((to, bytes)) = self.connections[at].session.poll_transmit() {
            let pipe = if to == Side::Client {
                Pipe::ToClient
            } else {
                Pipe::ToBroker
            };
            self.send(at, pipe, bytes);
        }
        let session = &mut self.connections[at].session;
        self.spans
            .extend(std::iter::from_fn(|| session.poll_span()));
        self.events
            .extend(std::iter::from_fn(|| session.poll_event()));
    }

    fn connect(&mut self, who: ClientRole) {
        let peer = ConnectionEndpoints {
            client: Some([10, 0, 0, 7].into()),
            broker: Some(("broker".into(), 9092)),
        };
        let seed = self.random.u64(..);
        let session =
            KafkaSession::new(Arc::clone(&self.settings), self.process.clone(), peer, seed);
        let (at_broker, at_client, at_session) = (Vec::new(), Vec::new(), Vec::new());
        let at = self.connections.len();
        let last = [self.now; 4];
        self.connections.push(Connection {
            who,
            session,
            is_open: true,
            last,
            at_broker,
            at_client,
            at_session,
        });
        if self.cuts > 0 {
            self.cuts -= 1;
            let pause = self.random.u64(..40 * MILLISECOND);
            self.schedule_event(pause, Event::Chunking(at));
        }
        match who {
            ClientRole::Producer => {
                self.producer.sent = self.producer.answered;
                self.produce(at);
            }
            ClientRole::Consumer => self.poll(at),
        }
    }

    /// Cuts a connection. The broker still receives the bytes that the session releases then.
    fn cut(&mut self, at: usize) {
        let is_of_use = match self.connections[at].who {
            ClientRole::Producer => self.producer.answered < self.producer.batches.len(),
            ClientRole::Consumer => !self.consumer.is_done,
        };
        if !is_of_use {
            return;
        }
        self.was_cut += 1;
        self.close(at);
        let pause = self.random.u64(..5 * MILLISECOND);
        self.schedule_event(pause, Event::Connect(self.connections[at].who));
    }

    fn close(&mut self, at: usize) {
        let sides = if self.random.bool() {
            [Side::Client, Side::Broker]
        } else {
            [Side::Broker, Side::Client]
        };
        for side in sides {
            let connection = &mut self.connections[at];
            connection.session.handle_close(side, self.now);
            while let Some((to, bytes)) = connection.session.poll_transmit() {
                if to == Side::Broker {
                    connection.at_broker.extend_from_slice(&bytes);
                }
            }
            self.drain(at);
        }
        // An incomplete frame is dropped; a whole one takes effect, although its response is lost.
        self.serve(at);
        self.connections[at].is_open = false;
    }

    /// Has the broker handle the requests that have arrived.
    fn serve(&mut self, at: usize) {
        while let Some(frame) = next_frame(&mut self.connections[at].at_broker) {
            let answer = self.broker.answer(&frame, &mut self.random);
            self.send(at, Pipe::FromBroker, answer);
        }
    }

    // --- the clients ---

    fn produce(&mut self, at: usize) {
        while self.producer.sent < self.producer.batches.len()
            && self.producer.sent < self.producer.answered + IN_FLIGHT
        {
            let number = self.producer.sent;
            self.producer.sent += 1;
            let frame = wire::produce(9, number as i32, -1, self.producer.batches[number].bytes());
            self.send(at, Pipe::FromClient, frame);
        }
    }

    fn produced(&mut self, at: usize, frame: &[u8]) {
        let number = i32::from_be_bytes(frame[4..8].try_into().unwrap());
        assert_eq!(number as usize, self.producer.answered, "in order");
        assert_eq!(produced_error(frame), 0, "the client sent nothing wrong");
        self.producer.answered += 1;
        self.produce(at);
    }

    fn ask(&self) -> FetchSpec {
        FetchSpec {
            correlation: self.consumer.correlation,
            offset: Some(self.consumer.position),
            ..FetchSpec::default()
        }
    }

    fn poll(&mut self, at: usize) {
        if self.connections[at].is_open {
            self.consumer.correlation += 2;
            let frame = self.ask().frame();
            self.send(at, Pipe::FromClient, frame);
        }
    }

    /// Handles a response: records of a fetch are committed, and a commit is followed by the next
    /// fetch.
    fn consumed(&mut self, at: usize, frame: &[u8]) {
        let end = self
            .producer
            .batches
            .iter()
            .map(|batch| batch.records.len())
            .sum::<usize>() as i64;
        if frame[7] % 2 == 1 {
            self.consumer.is_done = self.consumer.position == end;
            if !self.consumer.is_done {
                self.poll(at);
            }
            return;
        }
        if !self.consumer.take(frame) && self.consumer.position < end {
            return self.schedule_event(10 * MILLISECOND, Event::Poll(at));
        }
        let (number, position) = (self.consumer.correlation + 1, self.consumer.position);
        self.send(at, Pipe::FromClient, wire::commit(number, "g", position));
    }
}

// === impl Broker ===

impl Broker {
    fn answer(&mut self, frame: &[u8], random: &mut fastrand::Rng) -> Bytes {
        let header = RequestHeader::parse(frame).unwrap();
        let body = &frame[header.body_start.unwrap()..];
        match header.api_key {
            ApiKey::PRODUCE => {
                let result = self.append(wire::record_set(frame, 9), random);
                let (error_code, offset) = match result {
                    Ok(offset) => (0, offset),
                    Err(error_code) => (error_code, -1),
                };
                wire::produced(9, header.correlation_id.0, error_code, offset)
            }
            ApiKey::FETCH => {
                let request = fetch::FetchRequest::parse(body, header.version)
                    .unwrap()
                    .parsed()
                    .unwrap();
                let asked = request
                    .topics
                    .iter()
                    .next()
                    .unwrap()
                    .partitions
                    .iter()
                    .next()
                    .unwrap();
                let ask = FetchSpec {
                    correlation: header.correlation_id.0,
                    ..FetchSpec::default()
                };
                ask.answer(self.read(asked.fetch_offset.0, random), self.end, &[])
            }
            ApiKey::OFFSET_COMMIT => {
                use throughline_kafka::message::commit::OffsetCommitRequest;
                let request = OffsetCommitRequest::parse(body, header.version)
                    .unwrap()
                    .parsed()
                    .unwrap();
                let partition = request
                    .topics
                    .iter()
                    .next()
                    .unwrap()
                    .partitions
                    .iter()
                    .next()
                    .unwrap();
                self.committed = partition.committed_offset.0;
                wire::committed(header.correlation_id.0, 0)
            }
            other => panic!("nobody asks for {other}"),
        }
    }

    /// Appends a record set, unless it was appended before. Returns its offset.
    fn append(&mut self, mut set: Vec<u8>, random: &mut fastrand::Rng) -> Result<i64, i16> {
        let batch = RecordBatch::new(&set).unwrap();
        assert!(batch.has_valid_checksum(), "a broker would refuse it");
        let (sequence, count) = (batch.base_sequence(), batch.record_count());
        if let Some(offset) = self.taken.get(&sequence) {
            return Ok(*offset);
        }
        let limit = self.limits.as_ref().map(|limits| limits[&sequence]);
        if limit.is_some_and(|limit| plain_size(&read_records(&set)) > limit) && random.u8(..3) == 0
        {
            self.refused += 1;
            return Err(10);
        }
        if i64::from(sequence) != self.end {
            assert!(self.refused > 0, "a producer is out of order");
            return Err(45);
        }
        let offset = self.end;
        set[..8].copy_from_slice(&offset.to_be_bytes());
        self.log.push((offset, set));
        self.taken.insert(sequence, offset);
        self.end += i64::from(count);
        Ok(offset)
    }

    /// Returns whole batches from the one with the offset on, and perhaps a part of the next.
    fn read(&self, offset: i64, random: &mut fastrand::Rng) -> Vec<u8> {
        let first = self
            .log
            .partition_point(|(base, _)| *base <= offset)
            .saturating_sub(1);
        if offset >= self.end {
            return Vec::new();
        }
        let whole = random.usize(1..=self.log.len() - first);
        let mut out: Vec<u8> = self.log[first..first + whole]
            .iter()
            .flat_map(|(_, batch)| batch.clone())
            .collect();
        if let Some((_, next)) = self.log.get(first + whole) {
            out.extend(&next[..random.usize(..next.len())]);
        }
        out
    }

    /// Returns all records of the log, in order.
    pub(crate) fn records(&self) -> Vec<RecordSpec> {
        self.log
            .iter()
            .flat_map(|(_, batch)| read_records(batch))
            .collect()
    }
}

// === impl Consumer ===

impl Consumer {
    /// Takes the records from its position on. Returns false when there are none.
    fn take(&mut self, frame: &[u8]) -> bool {
        let response = fetch::FetchResponse::parse(&frame[9..], 12)
            .unwrap()
            .parsed()
            .unwrap();
        let partition = response
            .topics
            .iter()
            .next()
            .unwrap()
            .partitions
            .iter()
            .next()
            .unwrap();
        let before = self.got.len();
        for entry in RecordBatches::new(partition.records.unwrap().bytes()) {
            let RecordSetEntry::Batch(batch) = entry else {
                continue;
            };
            for (offset, record) in (batch.base_offset().0..).zip(read_records(batch.bytes())) {
                if offset >= self.position {
                    self.got.push((offset, record));
                    self.position = offset + 1;
                }
            }
        }
        self.got.len() > before
    }
}

/// Returns the size of a batch of these records without compression.
fn plain_size(records: &[RecordSpec]) -> usize {
    BatchSpec::of(records.to_vec()).bytes().len()
}

/// Returns the error code of a Produce response, version 9, with one partition.
fn produced_error(frame: &[u8]) -> i16 {
    let response = produce::ProduceResponse::parse(&frame[9..], 9);
    let response = response.unwrap().parsed().unwrap();
    let topic = response.topics.iter().next().unwrap();
    topic.partitions.iter().next().unwrap().error_code
}

/// Takes a whole frame from the front of `bytes`.
fn next_frame(bytes: &mut Vec<u8>) -> Option<Vec<u8>> {
    let length = u32::from_be_bytes(*bytes.first_chunk()?) as usize;
    (bytes.len() >= 4 + length).then(|| bytes.drain(..4 + length).collect())
}

/// Returns the number of records in a Produce request; 0 for others.
fn record_count(frame: &[u8]) -> usize {
    if frame[4..6] == [0, 0] {
        read_records(&wire::record_set(frame, 9)).len()
    } else {
        0
    }
}
