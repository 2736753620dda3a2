//! The entries that collectors share, so that spans in two of them are joined: the ends of records,
//! and parents that were found. `docs/scaling.md` documents the format.

use serde::{Deserialize, Serialize};
use throughline_model::{SpanId, TraceId};
use throughline_store::{SpanKey, WovenEdge, WovenEvidence};

use super::record_endpoint::{OffsetPosition, RecordEndpoint, RecordPartition, RecordSide};

/// The version of the format; entries of another one are skipped.
const VERSION: u32 = 1;

/// An entry, which every collector reads.
#[derive(Debug, Clone)]
pub(super) enum SharedEntry {
    /// The span of a record's producer, or of a consumer that knows no sender.
    Record(RecordEndpoint),
    /// A decision about the parent of a span.
    Parent(WovenEdge),
}

/// An entry with the collector that wrote it.
#[derive(Debug, Serialize, Deserialize)]
struct EntryJson {
    v: u32,
    /// The collector that wrote it; another one after each start.
    member: String,
    #[serde(flatten)]
    content: ContentJson,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ContentJson {
    Producer(RecordJson),
    Consumer(RecordJson),
    Parent(ParentJson),
}

#[derive(Debug, Serialize, Deserialize)]
struct RecordJson {
    cluster: String,
    topic: String,
    partition: i64,
    offset: i64,
    span: SharedSpanJson,
    start: u64,
    end: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    made_at: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ParentJson {
    child: SharedSpanJson,
    parent: Option<SharedSpanJson>,
    evidence: String,
    confidence: f64,
    joined: bool,
}

/// A span: trace id and span id in hexadecimal.
#[derive(Debug, Serialize, Deserialize)]
struct SharedSpanJson(String, String);

// === impl SharedEntry ===

impl SharedEntry {
    /// Returns the key: what the entry is about. A later entry with the same key replaces this one.
    pub(super) fn key(&self) -> String {
        match self {
            Self::Record(record) => match record.side {
                RecordSide::Producer => {
                    let RecordPartition {
                        cluster,
                        topic,
                        index,
                    } = &record.position.partition;
                    format!(
                        "record/{cluster}/{topic}/{index}/{}",
                        record.position.offset
                    )
                }
                RecordSide::Consumer => format!("{}/record", span_key(record.key)),
            },
            Self::Parent(edge) => format!("{}/parent", span_key(edge.child)),
        }
    }

    pub(super) fn encode(&self, member: &str) -> Vec<u8> {
        let content = match self {
            Self::Record(record) => {
                let json = RecordJson::of(record);
                match record.side {
                    RecordSide::Producer => ContentJson::Producer(json),
                    RecordSide::Consumer => ContentJson::Consumer(json),
                }
            }
            Self::Parent(edge) => ContentJson::Parent(ParentJson {
                child: SharedSpanJson::of(edge.child),
                parent: edge.parent.map(SharedSpanJson::of),
                evidence: edge.evidence.name().to_owned(),
                confidence: edge.confidence,
                joined: edge.is_joined,
            }),
        };
        let entry = EntryJson {
            v: VERSION,
            member: member.to_owned(),
            content,
        };
        // Texts and numbers have a form in JSON.
        serde_json::to_vec(&entry).unwrap_or_default()
    }

    /// Decodes an entry; `None` for one that this collector wrote itself.
    ///
    /// # Errors
    /// The reason for which it is none.
    pub(super) fn decode(value: &[u8], member: &str) -> Result<Option<Self>, String> {
        let entry: EntryJson = serde_json::from_slice(value).map_err(|it| it.to_string())?;
        if entry.v != VERSION {
            return Err(format!("version {} is not known", entry.v));
        }
        if entry.member == member {
            return Ok(None);
        }
        let decoded = match entry.content {
            ContentJson::Producer(record) => {
                record.endpoint(RecordSide::Producer).map(Self::Record)
            }
            ContentJson::Consumer(record) => {
                record.endpoint(RecordSide::Consumer).map(Self::Record)
            }
            ContentJson::Parent(parent) => parent.edge().map(Self::Parent),
        };
        let entry = decoded.ok_or_else(|| "an id or the evidence is invalid".to_owned())?;
        Ok(Some(entry))
    }
}

fn span_key(key: SpanKey) -> String {
    format!("span/{}/{}", key.trace_id, key.span_id)
}

// === impl RecordJson ===

impl RecordJson {
    fn of(record: &RecordEndpoint) -> Self {
        let position = &record.position;
        Self {
            cluster: position.partition.cluster.to_string(),
            topic: position.partition.topic.to_string(),
            partition: position.partition.index,
            offset: position.offset,
            span: SharedSpanJson::of(record.key),
            start: record.start,
            end: record.end,
            made_at: record.made_at,
        }
    }

    fn endpoint(self, side: RecordSide) -> Option<RecordEndpoint> {
        Some(RecordEndpoint {
            key: self.span.key()?,
            side,
            position: OffsetPosition {
                partition: RecordPartition {
                    cluster: self.cluster.into(),
                    topic: self.topic.into(),
                    index: self.partition,
                },
                offset: self.offset,
            },
            start: self.start,
            end: self.end,
            made_at: self.made_at,
        })
    }
}

// === impl ParentJson ===

impl ParentJson {
    fn edge(self) -> Option<WovenEdge> {
        let mut evidence = WovenEvidence::ALL.into_iter();
        let evidence = evidence.find(|it| it.name() == self.evidence);
        let parent = match self.parent {
            Some(parent) => Some(parent.key()?),
            None => None,
        };
        Some(WovenEdge {
            child: self.child.key()?,
            is_joined: self.joined && parent.is_some(),
            parent,
            evidence: evidence?,
            confidence: self.confidence,
            alternatives: Vec::new(),
        })
    }
}

// === impl SharedSpanJson ===

impl SharedSpanJson {
    fn of(key: SpanKey) -> Self {
        Self(key.trace_id.to_string(), key.span_id.to_string())
    }

    fn key(&self) -> Option<SpanKey> {
        Some(SpanKey {
            trace_id: TraceId::from_hex(&self.0)?,
            span_id: SpanId::from_hex(&self.1)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> SpanKey {
        SpanKey {
            trace_id: TraceId::from_bytes([number; 16]).unwrap(),
            span_id: SpanId::from_bytes([number; 8]).unwrap(),
        }
    }

    fn record(side: RecordSide) -> SharedEntry {
        SharedEntry::Record(RecordEndpoint {
            key: key(1),
            side,
            position: OffsetPosition {
                partition: RecordPartition {
                    cluster: "c1".into(),
                    topic: "orders".into(),
                    index: 3,
                },
                offset: 17,
            },
            start: 1_790_000_000_000_000_001,
            end: 1_790_000_000_000_000_002,
            made_at: (side == RecordSide::Consumer).then_some(5),
        })
    }

    #[test]
    fn entries_are_read_as_they_were_written() {
        let edge = WovenEdge {
            child: key(2),
            parent: Some(key(1)),
            evidence: WovenEvidence::Timing,
            confidence: 0.975,
            alternatives: Vec::new(),
            is_joined: true,
        };
        let entries = [
            record(RecordSide::Producer),
            record(RecordSide::Consumer),
            SharedEntry::Parent(edge.clone()),
            SharedEntry::Parent(WovenEdge {
                parent: None,
                is_joined: false,
                ..edge
            }),
        ];
        for entry in entries {
            let written = entry.encode("a");
            let read = SharedEntry::decode(&written, "b").unwrap().unwrap();
            assert_eq!(format!("{read:?}"), format!("{entry:?}"));
            assert!(SharedEntry::decode(&written, "a").unwrap().is_none());
        }
    }

    #[test]
    fn format_is_the_documented_one() {
        let producer = record(RecordSide::Producer);
        assert_eq!(producer.key(), "record/c1/orders/3/17");
        let (trace, span) = ("01".repeat(16), "01".repeat(8));
        let expected = format!(
            "{{\"v\":1,\"member\":\"a\",\"producer\":{{\"cluster\":\"c1\",\"topic\":\"orders\",\
             \"partition\":3,\"offset\":17,\"span\":[\"{trace}\",\"{span}\"],\
             \"start\":1790000000000000001,\"end\":1790000000000000002}}}}"
        );
        assert_eq!(String::from_utf8(producer.encode("a")).unwrap(), expected);
        let consumer = record(RecordSide::Consumer);
        assert_eq!(consumer.key(), format!("span/{trace}/{span}/record"));
    }

    #[test]
    fn anything_else_is_refused_with_a_reason() {
        for (value, expected) in [
            ("", "EOF"),
            ("{}", "missing field"),
            ("[1]", "invalid"),
            (r#"{"v":2,"member":"a","parent":null}"#, "invalid type"),
            (
                r#"{"v":1,"member":"a","parent":{"child":["0","2"],"parent":null,
                "evidence":"timing","confidence":1,"joined":true}}"#,
                "an id",
            ),
        ] {
            let error = SharedEntry::decode(value.as_bytes(), "b").unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        let newer = record(RecordSide::Producer).encode("a");
        let newer = String::from_utf8(newer)
            .unwrap()
            .replace("\"v\":1", "\"v\":2");
        let error = SharedEntry::decode(newer.as_bytes(), "b").unwrap_err();
        assert_eq!(error, "version 2 is not known");
    }
}
