//! Generates records from a seed, as unusual as the producing client allows.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fastrand::Rng;
use serde_json::{Value, json};
use throughline_testkit::clients::ClientLibrary;

use super::run::ConsumedRecord;

/// A record to produce.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TestRecord {
    pub(crate) partition: i32,
    pub(crate) timestamp: Option<i64>,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: RecordHeaders,
}

/// A consumed record that is produced again.
impl From<ConsumedRecord> for TestRecord {
    fn from(consumed: ConsumedRecord) -> Self {
        let ConsumedRecord {
            partition,
            timestamp,
            key,
            value,
            headers,
            ..
        } = consumed;
        Self {
            partition,
            timestamp: Some(timestamp),
            key,
            value,
            headers,
        }
    }
}

/// Names and values in order; names may repeat, values may be null.
pub(crate) type RecordHeaders = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// Abilities of a client; the table is in `e2e/clients/README.md`.
#[derive(Debug, Clone, Copy)]
struct ClientCapabilities {
    null_values: bool,
    any_order: bool,
    any_names: bool,
    empty_records: bool,
    /// Empty bytes and null differ.
    empty_bytes: bool,
}

/// Header names that occur in practice, and some that break naive code.
const HEADER_NAMES: [&str; 14] = [
    "a",
    "dup",
    "dup",
    "content-type",
    "",
    "with space",
    "\u{43a}\u{43b}\u{44e}\u{447}",
    "\u{1f980}",
    "line\nbreak",
    "Traceparent",
    "x-traceparent",
    "__proto__ ",
    "kafka_dlt-exception-fqcn",
    "quote\"back\\slash",
];

/// Generates `count` records for `partitions` partitions, limited to what the first client can send
/// and the second can show. The same seed gives the same records.
pub(crate) fn generate(
    [client, reader]: [ClientLibrary; 2],
    seed: u64,
    count: usize,
    partitions: i32,
) -> Vec<TestRecord> {
    let mut rng = Rng::with_seed(seed);
    let capabilities = ClientCapabilities {
        null_values: !matches!(
            client,
            ClientLibrary::KafkaPython | ClientLibrary::KafkaPython14 | ClientLibrary::Kafkajs
        ),
        any_order: client != ClientLibrary::Kafkajs,
        empty_bytes: reader != ClientLibrary::KafkaGo,
        any_names: [client, reader] == [ClientLibrary::FranzGo; 2],
        empty_records: !matches!(
            client,
            ClientLibrary::KafkaPython | ClientLibrary::KafkaPython14 | ClientLibrary::Aiokafka
        ),
    };
    let mut generated: Vec<TestRecord> = (0..count)
        .map(|index| generate_one(&mut rng, index, partitions, capabilities))
        .collect();
    if !capabilities.empty_bytes {
        generated.iter_mut().for_each(fill_empty_bytes);
    }
    generated
}

/// Replaces empty bytes by some that are not.
fn fill_empty_bytes(record: &mut TestRecord) {
    let headers = record.headers.iter_mut().map(|(_, value)| value);
    let fields = [&mut record.key, &mut record.value];
    for bytes in fields.into_iter().chain(headers).flatten() {
        if bytes.is_empty() {
            bytes.push(b'-');
        }
    }
}

fn generate_one(
    rng: &mut Rng,
    index: usize,
    partitions: i32,
    capabilities: ClientCapabilities,
) -> TestRecord {
    let timestamp = 1_760_000_000_000_i64 + i64::try_from(index).unwrap() * 7;
    let mut record = TestRecord {
        partition: rng.i32(0..partitions),
        timestamp: rng.bool().then_some(timestamp),
        key: match rng.u8(0..6) {
            0 | 1 => None,
            2 => Some(Vec::new()),
            3 => Some(bytes(rng, 300)),
            _ => Some(format!("key-{}", rng.u8(..)).into_bytes()),
        },
        value: match rng.u8(0..10) {
            0 => None,
            1 => Some(Vec::new()),
            2 => Some(bytes(rng, 30_000)),
            3 => Some(vec![b'z'; rng.usize(1000..20_000)]),
            _ => Some(bytes(rng, 200)),
        },
        headers: headers(rng, capabilities),
    };
    if !capabilities.empty_records && record.key.is_none() {
        record.value.get_or_insert_default();
    }
    record
}

fn headers(rng: &mut Rng, capabilities: ClientCapabilities) -> RecordHeaders {
    // The count of headers in some records needs a varint of two bytes.
    let count = match rng.u8(0..12) {
        0..3 => 0,
        3..11 => rng.usize(1..7),
        _ => rng.usize(40..150),
    };
    let mut headers: RecordHeaders = (0..count)
        .map(|_| (name(rng, capabilities), value(rng, capabilities)))
        .collect();
    if rng.u8(0..8) == 0 {
        // A trace of the application itself, which the sidecar must continue.
        let own = format!("00-{:032x}-{:016x}-01", rng.u128(1..), rng.u64(1..));
        headers.insert(
            rng.usize(0..=headers.len()),
            (b"traceparent".to_vec(), Some(own.into_bytes())),
        );
    }
    if !capabilities.any_order {
        group_by_name(&mut headers);
    }
    headers
}

fn name(rng: &mut Rng, capabilities: ClientCapabilities) -> Vec<u8> {
    match rng.u8(0..20) {
        0 if capabilities.any_names => vec![0xff, 0xfe, rng.u8(..)],
        1 if capabilities.any_order => b"7".to_vec(),
        2 => vec![b'n'; rng.usize(1..300)],
        _ => HEADER_NAMES[rng.usize(..HEADER_NAMES.len())]
            .as_bytes()
            .to_vec(),
    }
}

fn value(rng: &mut Rng, capabilities: ClientCapabilities) -> Option<Vec<u8>> {
    match rng.u8(0..8) {
        0 if capabilities.null_values => None,
        1 => Some(Vec::new()),
        2 => Some(vec![0xc3, 0x28, 0x00, 0xff]),
        3 => Some(bytes(rng, 5000)),
        _ => Some(bytes(rng, 20)),
    }
}

fn bytes(rng: &mut Rng, max_length: usize) -> Vec<u8> {
    let mut bytes = vec![0; rng.usize(1..=max_length)];
    rng.fill(&mut bytes);
    bytes
}

/// Groups values of one name at the first position of the name.
fn group_by_name(headers: &mut RecordHeaders) {
    let mut grouped: RecordHeaders = Vec::new();
    for (name, value) in headers.drain(..) {
        let after = grouped
            .iter()
            .rposition(|(other, _)| *other == name)
            .map_or(grouped.len(), |last| last + 1);
        grouped.insert(after, (name, value));
    }
    *headers = grouped;
}

/// Formats records as input lines of a client.
pub(crate) fn to_lines(records: &[TestRecord]) -> String {
    records
        .iter()
        .map(|record| format!("{}\n", line(record)))
        .collect()
}

fn line(record: &TestRecord) -> Value {
    let text = |bytes: Option<&Vec<u8>>| bytes.map(|bytes| STANDARD.encode(bytes));
    let headers: Vec<Value> = record
        .headers
        .iter()
        .map(|(name, value)| json!([text(Some(name)), text(value.as_ref())]))
        .collect();
    json!({
        "partition": record.partition,
        "timestamp": record.timestamp,
        "key": text(record.key.as_ref()),
        "value": text(record.value.as_ref()),
        "headers": headers,
    })
}

/// Decodes bytes of a line, or null.
pub(crate) fn decode(text: &Value) -> Option<Vec<u8>> {
    (!text.is_null()).then(|| {
        STANDARD
            .decode(text.as_str().expect("bytes are base64 text"))
            .expect("base64")
    })
}
