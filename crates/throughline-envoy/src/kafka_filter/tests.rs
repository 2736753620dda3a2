use std::collections::BTreeMap;
use std::rc::Weak;

use bytes::BytesMut;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{
    ApiKey, ProduceRequest, ProduceResponse, RequestHeader, ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Encodable as _, StrBytes};
use kafka_protocol::records::{
    Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};
use throughline_export::{Config as ExportConfig, ExportProtocol, OtlpEndpoint};
use throughline_intercept::correlate::Settings as CorrelationSettings;
use throughline_intercept::kafka::ClusterCapacity;

use super::*;
use crate::tracing_process::SharedConfig;

/// Envoy's side of a connection: the buffer of the running hook, and what has gone on.
#[derive(Default)]
struct FakeEnvoy {
    buffer: RefCell<BytesMut>,
    /// Bytes that went to each side past the buffer.
    sent: RefCell<BTreeMap<bool, BytesMut>>,
    ends: Cell<u32>,
    appended: Cell<usize>,
    closed: Cell<bool>,
    /// Calls that stopped or resumed reading.
    reading: RefCell<Vec<bool>>,
    counts: RefCell<Vec<(Counter, u64)>>,
    /// The call that panics.
    panics_in: Cell<Option<&'static str>>,
    /// The call that ends the connection, whose hook runs before the call returns.
    closes_in: Cell<Option<&'static str>>,
    filter: RefCell<Weak<KafkaFilter>>,
}

struct TestConnection {
    envoy: FakeEnvoy,
    filter: Rc<KafkaFilter>,
}

// === impl FakeEnvoy ===

impl FakeEnvoy {
    fn enter(&self, call: &'static str) {
        assert_ne!(self.panics_in.get(), Some(call), "on purpose");
        if self.closes_in.get() == Some(call)
            && let Some(filter) = self.filter.borrow().upgrade()
        {
            filter.on_close(None::<&Self>);
        }
    }

    fn count_of(&self, counter: Counter) -> u64 {
        let counts = self.counts.borrow();
        let amounts = counts.iter().filter(|(known, _)| *known == counter);
        amounts.map(|(_, amount)| amount).sum()
    }

    fn sent_to(&self, side: Side) -> Bytes {
        let sent = self.sent.borrow();
        sent.get(&(side == Side::Client))
            .cloned()
            .unwrap_or_default()
            .freeze()
    }
}

impl ConnectionHost for FakeEnvoy {
    fn buffered(&self, _: Side) -> Bytes {
        self.enter("buffered");
        self.buffer.borrow().clone().freeze()
    }

    fn append(&self, _: Side, bytes: &[u8]) {
        self.enter("append");
        self.appended.set(self.appended.get() + bytes.len());
        self.buffer.borrow_mut().extend_from_slice(bytes);
    }

    fn prepend(&self, _: Side, bytes: &[u8]) {
        let mut buffer = self.buffer.borrow_mut();
        let rest = buffer.split();
        buffer.extend_from_slice(bytes);
        buffer.extend_from_slice(&rest);
    }

    fn drain(&self, _: Side, count: usize) {
        self.enter("drain");
        drop(self.buffer.borrow_mut().split_to(count));
    }

    fn send(&self, to: Side, bytes: &[u8], is_end: bool) {
        self.enter("send");
        let mut sent = self.sent.borrow_mut();
        sent.entry(to == Side::Client)
            .or_default()
            .extend_from_slice(bytes);
        self.ends.set(self.ends.get() + u32::from(is_end));
    }

    fn set_reading(&self, is_reading: bool) {
        self.reading.borrow_mut().push(is_reading);
    }

    fn close(&self) {
        self.closed.set(true);
    }

    fn endpoints(&self) -> ConnectionEndpoints {
        self.enter("endpoints");
        ConnectionEndpoints::default()
    }

    fn count(&self, counter: Counter, amount: u64) {
        self.counts.borrow_mut().push((counter, amount));
    }
}

// === impl TestConnection ===

impl TestConnection {
    fn new(brokers: &[BrokerListener]) -> Self {
        // Nothing listens there: spans stay in the queue.
        let endpoint = OtlpEndpoint::collector("http://127.0.0.1:9", ExportProtocol::HttpProtobuf);
        let shared = SharedConfig {
            // Each test has a thread, and so a cluster, of its own.
            identity: format!("{:?}", std::thread::current().id()),
            export: ExportConfig::to(endpoint.unwrap()),
            correlation: CorrelationSettings::default(),
            capacity: ClusterCapacity::default(),
        };
        let config = KafkaFilterConfig {
            process: TracingProcess::shared(&shared).unwrap(),
            settings: Arc::default(),
            brokers: brokers.into(),
        };
        let filter = Rc::new(KafkaFilter::new(Arc::new(config)));
        let envoy = FakeEnvoy {
            filter: RefCell::new(Rc::downgrade(&filter)),
            ..FakeEnvoy::default()
        };
        Self { envoy, filter }
    }

    /// Runs a hook as the shim does. Returns what goes to the next filter.
    fn hook(&self, from: Side, bytes: &[u8], is_end: bool) -> (Bytes, FilterStatus) {
        self.envoy.buffer.borrow_mut().extend_from_slice(bytes);
        let run = || self.filter.on_bytes(&self.envoy, from, is_end);
        let status = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run))
            .unwrap_or_else(|_| self.filter.on_panic(&self.envoy, from));
        let passed = match status {
            FilterStatus::Continue => self.envoy.buffer.borrow_mut().split().freeze(),
            FilterStatus::Stop => Bytes::new(),
        };
        (passed, status)
    }

    fn pass(&self, from: Side, bytes: &[u8]) -> Bytes {
        self.hook(from, bytes, false).0
    }
}

/// Returns a request of an unknown API, which passes unmodified.
fn unknown_request(correlation: i32, body: &[u8]) -> Vec<u8> {
    let mut frame = [999_i16.to_be_bytes(), 0_i16.to_be_bytes()].concat();
    frame.extend(correlation.to_be_bytes());
    frame.extend((-1_i16).to_be_bytes());
    frame.extend(body);
    framed(&frame)
}

/// Returns a Produce request of one record, without an acknowledgement.
fn produce_request(value: usize) -> Vec<u8> {
    let record = Record {
        transactional: false,
        control: false,
        partition_leader_epoch: 0,
        producer_id: -1,
        producer_epoch: -1,
        delete_horizon: false,
        timestamp_type: TimestampType::Creation,
        offset: 0,
        sequence: 0,
        timestamp: 1_700_000_000_000,
        key: None,
        value: Some(vec![7; value].into()),
        headers: Default::default(),
    };
    let options = RecordEncodeOptions {
        version: 2,
        compression: Compression::None,
    };
    let mut batch = BytesMut::new();
    RecordBatchEncoder::encode(&mut batch, [&record], &options).unwrap();
    let partition = PartitionProduceData::default()
        .with_index(0)
        .with_records(Some(batch.freeze()));
    let topic = TopicProduceData::default()
        .with_name(TopicName(StrBytes::from_static_str("orders")))
        .with_partition_data(vec![partition]);
    let request = ProduceRequest::default()
        .with_acks(1)
        .with_timeout_ms(1000)
        .with_topic_data(vec![topic]);
    let mut frame = BytesMut::new();
    let header = RequestHeader::default()
        .with_request_api_key(ApiKey::Produce as i16)
        .with_request_api_version(9)
        .with_correlation_id(1)
        .with_client_id(Some(StrBytes::from_static_str("a")));
    header.encode(&mut frame, 2).unwrap();
    request.encode(&mut frame, 9).unwrap();
    framed(&frame)
}

fn framed(frame: &[u8]) -> Vec<u8> {
    [&i32::try_from(frame.len()).unwrap().to_be_bytes(), frame].concat()
}

#[test]
fn unmodified_frames_stay_in_the_buffer_of_envoy() {
    let connection = TestConnection::new(&[]);
    let frames = [unknown_request(1, &[1; 300]), unknown_request(2, &[2; 5])].concat();
    // A frame passes as soon as its header is there.
    for part in frames.chunks(100) {
        assert_eq!(connection.pass(Side::Client, part), part);
    }
    assert_eq!(
        connection.envoy.appended.get(),
        0,
        "no byte was copied back"
    );
    assert_eq!(connection.envoy.count_of(Counter::Requests), 2);
    assert_eq!(connection.envoy.count_of(Counter::Connections), 1);
}

#[test]
fn changed_frame_is_the_same_for_every_chunking_and_carries_a_context() {
    let request = produce_request(1000);
    let mut lengths = Vec::new();
    for size in [request.len(), 1, 13, 500] {
        let connection = TestConnection::new(&[]);
        let chunks = request
            .chunks(size)
            .map(|part| connection.pass(Side::Client, part));
        let passed: Vec<u8> = chunks.flat_map(|part| part.to_vec()).collect();
        assert!(passed.windows(11).any(|text| text == b"traceparent"));
        assert_eq!(connection.envoy.count_of(Counter::RecordsInjected), 1);
        lengths.push(passed.len());
    }
    assert!(
        lengths.iter().all(|length| *length == lengths[0]),
        "{lengths:?}"
    );
    assert!(lengths[0] > request.len());
}

#[test]
fn frame_of_20_mb_passes_in_chunks_of_one_mebibyte() {
    let connection = TestConnection::new(&[]);
    let request = produce_request(20_000_000);
    let mut passed = BytesMut::new();
    for part in request.chunks(1 << 20) {
        passed.extend_from_slice(&connection.pass(Side::Client, part));
        assert!(
            connection.envoy.buffer.borrow().is_empty(),
            "Envoy's buffer is empty"
        );
    }
    // Larger than the topic's known limit: it passes as it came.
    assert!(passed == request[..]);
    let reason = Counter::Skipped(throughline_intercept::kafka::SkipReason::BatchTooLarge);
    assert_eq!(connection.envoy.count_of(reason), 1);
}

#[test]
fn end_of_the_stream_returns_the_beginning_of_a_frame() {
    let connection = TestConnection::new(&[]);
    let request = produce_request(100);
    let half = &request[..50];
    assert_eq!(
        connection.hook(Side::Client, half, false),
        (Bytes::new(), FilterStatus::Stop)
    );
    let (passed, status) = connection.hook(Side::Client, b"", true);
    assert_eq!((&passed[..], status), (half, FilterStatus::Continue));
}

#[test]
fn end_of_the_client_waits_until_no_request_may_have_to_be_repeated() {
    let connection = TestConnection::new(&[]);
    let (passed, status) = connection.hook(Side::Client, &produce_request(100), true);
    assert_eq!((passed, status), (Bytes::new(), FilterStatus::Stop));
    let sent = connection.envoy.sent_to(Side::Broker);
    assert!(sent.windows(11).any(|text| text == b"traceparent"));
    assert_eq!(
        connection.envoy.ends.get(),
        0,
        "the broker may still refuse the batch"
    );
    connection.hook(Side::Broker, b"", true);
    connection.filter.on_close(Some(&connection.envoy));
    // The producer may send it again on another connection, so the span waits.
    let process = &connection.filter.config.process;
    let waiting = process.with_cluster(|cluster| cluster.poll_abandoned_span(u64::MAX));
    assert!(waiting.is_some(), "one span, whatever the end");
}

#[test]
fn panic_before_the_session_passes_all_bytes() {
    for call in ["buffered", "endpoints"] {
        let connection = TestConnection::new(&[]);
        let request = produce_request(100);
        let (first, rest) = request.split_at(40);
        if call == "buffered" {
            assert!(
                connection.pass(Side::Client, first).is_empty(),
                "the session holds it"
            );
        } else {
            connection.envoy.panics_in.set(Some(call));
            assert_eq!(connection.pass(Side::Client, first), first);
        }
        connection.envoy.panics_in.set(Some(call));
        let expected = if call == "buffered" {
            &request[..]
        } else {
            rest
        };
        assert_eq!(connection.pass(Side::Client, rest), expected, "{call}");
        connection.envoy.panics_in.set(None);
        assert_eq!(
            connection.pass(Side::Client, &request),
            request,
            "no more is read"
        );
        assert!(!connection.envoy.closed.get());
    }
}

#[test]
fn panic_while_bytes_are_passed_on_closes_the_connection() {
    for call in ["append", "drain"] {
        let connection = TestConnection::new(&[]);
        connection.envoy.panics_in.set(Some(call));
        assert!(
            connection
                .pass(Side::Client, &produce_request(100))
                .is_empty()
        );
        assert!(connection.envoy.closed.get(), "{call}");
        assert_eq!(connection.envoy.count_of(Counter::PanicsClosed), 1);
    }
}

#[test]
fn calls_into_envoy_may_end_the_connection_before_they_return() {
    for call in ["endpoints", "buffered", "append", "drain"] {
        let connection = TestConnection::new(&[]);
        connection.envoy.closes_in.set(Some(call));
        connection.hook(Side::Client, &produce_request(100), false);
        let later = unknown_request(2, b"");
        assert_eq!(connection.pass(Side::Client, &later), later, "{call}");
        assert_eq!(
            connection.envoy.count_of(Counter::PanicsClosed),
            0,
            "{call}"
        );
    }
}

/// Returns the response to [`produce_request`].
fn produce_response() -> Vec<u8> {
    let partition = PartitionProduceResponse::default().with_index(0);
    let topic = TopicProduceResponse::default()
        .with_name(TopicName(StrBytes::from_static_str("orders")))
        .with_partition_responses(vec![partition]);
    let response = ProduceResponse::default().with_responses(vec![topic]);
    let mut frame = BytesMut::new();
    let header = ResponseHeader::default().with_correlation_id(1);
    header.encode(&mut frame, 1).unwrap();
    response.encode(&mut frame, 9).unwrap();
    framed(&frame)
}

#[test]
fn client_is_not_read_while_too_many_of_its_requests_are_held() {
    let connection = TestConnection::new(&[]);
    // The broker may refuse the first changed batch of a topic: what follows waits for the answer.
    assert!(
        !connection
            .pass(Side::Client, &produce_request(100))
            .is_empty()
    );
    let later = unknown_request(2, &vec![2; 600_000]);
    assert!(connection.pass(Side::Client, &later).is_empty());
    assert!(connection.envoy.reading.borrow().is_empty());
    assert!(connection.pass(Side::Client, &later).is_empty());
    assert_eq!(*connection.envoy.reading.borrow(), [false]);
    assert!(
        !connection
            .pass(Side::Broker, &produce_response())
            .is_empty()
    );
    assert_eq!(*connection.envoy.reading.borrow(), [false, true]);
    assert_eq!(
        connection.envoy.sent_to(Side::Broker),
        [&later[..], &later].concat()
    );
    assert_eq!(connection.envoy.count_of(Counter::ReadsPaused), 1);
}

#[test]
fn brokers_are_known_by_their_listeners() {
    let broker = BrokerListener {
        broker: ("kafka-0".to_owned(), 9092),
        listener: ("127.0.0.1".into(), 19092),
    };
    let unmapped = Rc::default();
    let cluster = ProcessCluster {
        process: Arc::clone(&TestConnection::new(&[]).filter.config.process),
        brokers: [broker].into(),
        unmapped: Rc::clone(&unmapped),
    };
    let local = |host: &str, port| cluster.local_address(NodeId(0), host, port);
    assert!(cluster.is_addressed());
    assert_eq!(local("kafka-0", 9092), Some(("127.0.0.1".into(), 19092)));
    assert_eq!((local("", -1), unmapped.get()), (None, 0), "a null broker");
    assert_eq!((local("kafka-1", 9092), unmapped.get()), (None, 1));
}
