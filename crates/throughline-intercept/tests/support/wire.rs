//! Frames and batches as clients and brokers write them, encoded by another implementation and by
//! hand.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages as km;
use kafka_protocol::messages::{BrokerId, GroupId, ProducerId, TopicName};
use kafka_protocol::protocol::{Encodable, StrBytes};
use throughline_kafka::api::ApiKey;
use throughline_kafka::batch::{
    CodecPool, CompressionCodec, RecordBatch, RecordBatches, RecordIter, RecordSetEntry,
    SnappyFraming,
};
use throughline_kafka::message::{ApiMessage, produce};
use uuid::Uuid;

pub(crate) const TOPIC: &str = "orders";
pub(crate) const TOPIC_ID: [u8; 16] = *b"an-id-of-orders!";
pub(crate) const CLIENT: &str = "a-client";

/// Header of any bytes.
pub(crate) type Header = (Vec<u8>, Option<Vec<u8>>);

/// Description of a record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RecordSpec {
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<Header>,
}

/// Description of a batch.
#[derive(Debug, Clone)]
pub(crate) struct BatchSpec {
    pub(crate) base_offset: i64,
    pub(crate) attributes: i16,
    pub(crate) producer_id: i64,
    /// Sequence number of the first record.
    pub(crate) sequence: i32,
    /// Milliseconds since 1970.
    pub(crate) timestamp: i64,
    pub(crate) records: Vec<RecordSpec>,
}

pub(crate) const TRANSACTIONAL: i16 = 0x10;
pub(crate) const CONTROL: i16 = 0x20;

// === impl RecordSpec ===

impl RecordSpec {
    pub(crate) fn of(value: &str) -> Self {
        Self {
            key: Some(b"k".to_vec()),
            value: Some(value.as_bytes().to_vec()),
            headers: Vec::new(),
        }
    }

    pub(crate) fn with(mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.headers
            .push((key.as_ref().to_vec(), Some(value.as_ref().to_vec())));
        self
    }

    pub(crate) fn header(&self, key: &str) -> Option<&[u8]> {
        self.headers
            .iter()
            .rfind(|(name, _)| name == key.as_bytes())?
            .1
            .as_deref()
    }

    fn write(&self, delta: i64, out: &mut Vec<u8>) {
        let mut body = vec![0];
        zigzag(0, &mut body);
        zigzag(delta, &mut body);
        prefixed(self.key.as_deref(), &mut body);
        prefixed(self.value.as_deref(), &mut body);
        zigzag(self.headers.len() as i64, &mut body);
        for (key, value) in &self.headers {
            prefixed(Some(key), &mut body);
            prefixed(value.as_deref(), &mut body);
        }
        zigzag(body.len() as i64, out);
        out.extend(body);
    }
}

// === impl BatchSpec ===

impl BatchSpec {
    pub(crate) fn of(records: Vec<RecordSpec>) -> Self {
        Self {
            base_offset: 0,
            attributes: 0,
            producer_id: -1,
            sequence: 0,
            timestamp: 1_700_000_000_000,
            records,
        }
    }

    pub(crate) fn at(self, base_offset: i64) -> Self {
        Self {
            base_offset,
            ..self
        }
    }

    pub(crate) fn attributes(self, attributes: i16) -> Self {
        Self {
            attributes: self.attributes | attributes,
            ..self
        }
    }

    pub(crate) fn by(self, producer_id: i64) -> Self {
        Self {
            producer_id,
            ..self
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut plain = Vec::new();
        for (delta, record) in self.records.iter().enumerate() {
            record.write(delta as i64, &mut plain);
        }
        let mut payload = Vec::new();
        let codec = match self.attributes & 7 {
            0 => CompressionCodec::None,
            1 => CompressionCodec::Gzip,
            2 => CompressionCodec::Snappy,
            3 => CompressionCodec::Lz4,
            4 => CompressionCodec::Zstd,
            _ => CompressionCodec::None,
        };
        CodecPool::default()
            .compress(codec, SnappyFraming::Xerial, &plain, &mut payload)
            .unwrap();
        let count = self.records.len() as i32;
        let mut out = Vec::new();
        out.extend(self.base_offset.to_be_bytes());
        out.extend((49 + payload.len() as i32).to_be_bytes());
        out.extend(3i32.to_be_bytes());
        out.push(2);
        out.extend([0; 4]);
        out.extend(self.attributes.to_be_bytes());
        out.extend((count - 1).to_be_bytes());
        out.extend(self.timestamp.to_be_bytes());
        out.extend((self.timestamp + 5).to_be_bytes());
        out.extend(self.producer_id.to_be_bytes());
        out.extend(0i16.to_be_bytes());
        out.extend(self.sequence.to_be_bytes());
        out.extend(count.to_be_bytes());
        out.extend(payload);
        let crc = castagnoli(&out[21..]);
        out[17..21].copy_from_slice(&crc.to_be_bytes());
        out
    }
}

fn zigzag(value: i64, out: &mut Vec<u8>) {
    let mut left = ((value << 1) ^ (value >> 63)) as u64;
    while left > 0x7f {
        out.push((left & 0x7f) as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}

fn prefixed(value: Option<&[u8]>, out: &mut Vec<u8>) {
    zigzag(value.map_or(-1, |value| value.len() as i64), out);
    out.extend_from_slice(value.unwrap_or_default());
}

/// CRC-32C, a byte at a time.
fn castagnoli(bytes: &[u8]) -> u32 {
    let table: Vec<u32> = (0..256u32)
        .map(|byte| {
            (0..8).fold(byte, |crc, _| {
                (crc >> 1) ^ (0x82f6_3b78 & 0u32.wrapping_sub(crc & 1))
            })
        })
        .collect();
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (crc >> 8) ^ table[((crc ^ u32::from(*byte)) & 0xff) as usize]
    })
}

/// Reads the records of a record set, whose batches must be intact.
pub(crate) fn read_records(record_set: &[u8]) -> Vec<RecordSpec> {
    let mut records = Vec::new();
    for entry in RecordBatches::new(record_set) {
        let RecordSetEntry::Batch(batch) = entry else {
            continue;
        };
        records.extend(read_batch(batch));
    }
    records
}

fn read_batch(batch: RecordBatch<'_>) -> Vec<RecordSpec> {
    assert!(batch.has_valid_checksum(), "the checksum is right");
    let mut plain = Vec::new();
    CodecPool::default()
        .decompress(batch.codec(), batch.payload(), 64 << 20, &mut plain)
        .unwrap();
    let mut records = RecordIter::new(&plain, batch.record_count());
    let specs = records
        .by_ref()
        .map(|record| {
            let record = record.unwrap();
            let headers = record
                .headers()
                .map(|header| (header.key.to_vec(), header.value.map(<[u8]>::to_vec)));
            let (key, value) = (
                record.key.map(<[u8]>::to_vec),
                record.value.map(<[u8]>::to_vec),
            );
            RecordSpec {
                key,
                value,
                headers: headers.collect(),
            }
        })
        .collect();
    assert!(records.remaining_bytes().is_empty());
    specs
}

// --- frames ---

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub(crate) fn topic_name() -> TopicName {
    TopicName(text(TOPIC))
}

fn framed(head: &[u8], body: &impl Encodable, version: i16) -> Bytes {
    let mut frame = BytesMut::from(head);
    body.encode(&mut frame, version).unwrap();
    let length = (frame.len() as i32).to_be_bytes();
    Bytes::from([&length[..], &frame].concat())
}

pub(crate) fn request(api: ApiKey, version: i16, correlation: i32, body: &impl Encodable) -> Bytes {
    let mut head = Vec::new();
    head.extend(api.0.to_be_bytes());
    head.extend(version.to_be_bytes());
    head.extend(correlation.to_be_bytes());
    head.extend((CLIENT.len() as i16).to_be_bytes());
    head.extend(CLIENT.as_bytes());
    if api.is_flexible(version).unwrap() {
        head.push(0);
    }
    framed(&head, body, version)
}

pub(crate) fn response(
    api: ApiKey,
    version: i16,
    correlation: i32,
    body: &impl Encodable,
) -> Bytes {
    let mut head = correlation.to_be_bytes().to_vec();
    if api.is_flexible(version).unwrap() && api != ApiKey::API_VERSIONS {
        head.push(0);
    }
    framed(&head, body, version)
}

/// Returns a Produce of one record set to partition 0.
pub(crate) fn produce(version: i16, correlation: i32, acks: i16, records: Vec<u8>) -> Bytes {
    use km::produce_request::{PartitionProduceData, TopicProduceData};
    let partition = PartitionProduceData::default()
        .with_index(0)
        .with_records(Some(records.into()));
    let topic = TopicProduceData::default().with_partition_data(vec![partition]);
    let topic = if version >= 13 {
        topic.with_topic_id(Uuid::from_bytes(TOPIC_ID))
    } else {
        topic.with_name(topic_name())
    };
    let body = km::ProduceRequest::default()
        .with_acks(acks)
        .with_timeout_ms(1000)
        .with_topic_data(vec![topic]);
    request(ApiKey::PRODUCE, version, correlation, &body)
}

/// Returns the response to it.
pub(crate) fn produced(version: i16, correlation: i32, error_code: i16, base_offset: i64) -> Bytes {
    use km::produce_response::{PartitionProduceResponse, TopicProduceResponse};
    let partition = PartitionProduceResponse::default()
        .with_index(0)
        .with_error_code(error_code)
        .with_base_offset(base_offset)
        .with_log_append_time_ms(-1);
    let topic = TopicProduceResponse::default().with_partition_responses(vec![partition]);
    let topic = if version >= 13 {
        topic.with_topic_id(Uuid::from_bytes(TOPIC_ID))
    } else {
        topic.with_name(topic_name())
    };
    response(
        ApiKey::PRODUCE,
        version,
        correlation,
        &km::ProduceResponse::default().with_responses(vec![topic]),
    )
}

/// Returns the record set of a Produce of one partition.
pub(crate) fn record_set(frame: &[u8], version: i16) -> Vec<u8> {
    let header = throughline_kafka::frame::RequestHeader::parse(frame).unwrap();
    let length = i32::from_be_bytes(frame[..4].try_into().unwrap());
    assert_eq!(
        length as usize,
        frame.len() - 4,
        "the frame's length is right"
    );
    let body = &frame[header.body_start.unwrap()..];
    let request = produce::ProduceRequest::parse(body, version)
        .unwrap()
        .parsed()
        .unwrap();
    let topic = request.topics.iter().next().unwrap();
    topic
        .partitions
        .iter()
        .next()
        .unwrap()
        .records
        .unwrap()
        .bytes()
        .to_vec()
}

/// Description of a Fetch request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FetchSpec {
    pub(crate) version: i16,
    pub(crate) correlation: i32,
    pub(crate) epoch: i32,
    pub(crate) offset: Option<i64>,
    pub(crate) read_committed: bool,
}

impl Default for FetchSpec {
    fn default() -> Self {
        Self {
            version: 12,
            correlation: 1,
            epoch: -1,
            offset: Some(0),
            read_committed: false,
        }
    }
}

impl FetchSpec {
    pub(crate) fn frame(self) -> Bytes {
        use km::fetch_request::{FetchPartition, FetchTopic};
        let topics = self.offset.map(|offset| {
            let partition = FetchPartition::default()
                .with_partition(0)
                .with_fetch_offset(offset);
            let topic = FetchTopic::default().with_partitions(vec![partition]);
            if self.version >= 13 {
                topic.with_topic_id(Uuid::from_bytes(TOPIC_ID))
            } else {
                topic.with_topic(topic_name())
            }
        });
        let mut body = km::FetchRequest::default()
            .with_isolation_level(i8::from(self.read_committed))
            .with_topics(topics.into_iter().collect());
        if self.version >= 7 {
            body = body
                .with_session_id(i32::from(self.epoch > 0))
                .with_session_epoch(self.epoch);
        }
        request(ApiKey::FETCH, self.version, self.correlation, &body)
    }

    /// Returns the response with a record set, the high watermark, and aborted transactions as
    /// (producer, first offset).
    pub(crate) fn answer(
        self,
        records: Vec<u8>,
        high_watermark: i64,
        aborted: &[(i64, i64)],
    ) -> Bytes {
        use km::fetch_response::{AbortedTransaction, FetchableTopicResponse, PartitionData};
        let aborted = aborted.iter().map(|(producer, first)| {
            AbortedTransaction::default()
                .with_producer_id(ProducerId(*producer))
                .with_first_offset(*first)
        });
        let partition = PartitionData::default()
            .with_partition_index(0)
            .with_high_watermark(high_watermark)
            .with_last_stable_offset(high_watermark)
            .with_aborted_transactions(Some(aborted.collect()))
            .with_records(Some(records.into()));
        let topic = FetchableTopicResponse::default().with_partitions(vec![partition]);
        let topic = if self.version >= 13 {
            topic.with_topic_id(Uuid::from_bytes(TOPIC_ID))
        } else {
            topic.with_topic(topic_name())
        };
        let mut body = km::FetchResponse::default().with_responses(vec![topic]);
        if self.version >= 7 {
            body = body.with_session_id(i32::from(self.epoch >= 0));
        }
        response(ApiKey::FETCH, self.version, self.correlation, &body)
    }
}

pub(crate) fn commit(correlation: i32, group: &str, offset: i64) -> Bytes {
    use km::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
    let partition = OffsetCommitRequestPartition::default()
        .with_partition_index(0)
        .with_committed_offset(offset);
    let topic = OffsetCommitRequestTopic::default()
        .with_name(topic_name())
        .with_partitions(vec![partition]);
    let body = km::OffsetCommitRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_topics(vec![topic]);
    request(ApiKey::OFFSET_COMMIT, 8, correlation, &body)
}

pub(crate) fn committed(correlation: i32, error_code: i16) -> Bytes {
    use km::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
    let partition = OffsetCommitResponsePartition::default()
        .with_partition_index(0)
        .with_error_code(error_code);
    let topic = OffsetCommitResponseTopic::default()
        .with_name(topic_name())
        .with_partitions(vec![partition]);
    response(
        ApiKey::OFFSET_COMMIT,
        8,
        correlation,
        &km::OffsetCommitResponse::default().with_topics(vec![topic]),
    )
}

pub(crate) fn metadata(version: i16, correlation: i32) -> Bytes {
    request(
        ApiKey::METADATA,
        version,
        correlation,
        &km::MetadataRequest::default(),
    )
}

/// Returns Metadata with the topic, its id, the cluster's id and one broker.
pub(crate) fn metadata_answer(version: i16, correlation: i32) -> Bytes {
    use km::metadata_response::{MetadataResponseBroker, MetadataResponseTopic};
    let broker = MetadataResponseBroker::default()
        .with_node_id(BrokerId(3))
        .with_host(text("broker"))
        .with_port(9092);
    let mut topic = MetadataResponseTopic::default().with_name(Some(topic_name()));
    if version >= 10 {
        topic = topic.with_topic_id(Uuid::from_bytes(TOPIC_ID));
    }
    let mut body = km::MetadataResponse::default()
        .with_brokers(vec![broker])
        .with_topics(vec![topic]);
    if version >= 2 {
        body = body.with_cluster_id(Some(text("a-cluster")));
    }
    response(ApiKey::METADATA, version, correlation, &body)
}

/// Returns a request of an unknown API.
pub(crate) fn unknown(correlation: i32, body: &[u8]) -> Bytes {
    let length = (10 + body.len() as i32).to_be_bytes();
    Bytes::from(
        [
            &length[..],
            &9999i16.to_be_bytes(),
            &7i16.to_be_bytes(),
            &correlation.to_be_bytes(),
            &[0, 0],
            body,
        ]
        .concat(),
    )
}

/// Returns the response to it.
pub(crate) fn unknown_answer(correlation: i32, body: &[u8]) -> Bytes {
    let length = (4 + body.len() as i32).to_be_bytes();
    Bytes::from([&length[..], &correlation.to_be_bytes(), body].concat())
}
