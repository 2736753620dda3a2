//! `cargo xtask corpus`: records the traffic of real Kafka clients as seeds for the fuzz targets.
//!
//! A relay between clients and broker records the bytes. Each fuzz target gets the form that it
//! reads: whole connections for `session`, streams of frames for `kafka_frame`, single bodies for
//! `kafka_message`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use throughline_testkit::build;
use throughline_testkit::clients::{ClientLibrary, ClientPrograms};
use throughline_testkit::kafka::{ApacheBroker, TopicSpec};
use throughline_testkit::process::ProcessSpec;
use throughline_testkit::relay::{ConversationSide, RecordedConversation, RecordingRelay};

use crate::requirements::{self, COMPILER, JAVA, JDK, MAKE, MAVEN, PYTHON};

/// A frame of a connection, without its length prefix.
struct RecordedFrame {
    /// API key and version; a response has those of its request.
    api: (i16, i16),
    bytes: Vec<u8>,
}

/// Bytes of the seeds, by path below `fuzz/seeds`.
type Seeds = BTreeMap<PathBuf, Vec<u8>>;

/// API key, name, and the first version whose headers have tagged fields (`flexibleVersions` of
/// Kafka's protocol schemas).
const APIS: [(i16, &str, i16); 25] = [
    (0, "Produce", 9),
    (1, "Fetch", 12),
    (2, "ListOffsets", 6),
    (3, "Metadata", 9),
    (8, "OffsetCommit", 8),
    (9, "OffsetFetch", 6),
    (10, "FindCoordinator", 3),
    (11, "JoinGroup", 6),
    (12, "Heartbeat", 4),
    (13, "LeaveGroup", 4),
    (14, "SyncGroup", 4),
    (18, "ApiVersions", 3),
    (22, "InitProducerId", 2),
    (24, "AddPartitionsToTxn", 3),
    (25, "AddOffsetsToTxn", 3),
    (26, "EndTxn", 3),
    (28, "TxnOffsetCommit", 3),
    (44, "IncrementalAlterConfigs", 1),
    (68, "ConsumerGroupHeartbeat", 0),
    (69, "ConsumerGroupDescribe", 0),
    (71, "GetTelemetrySubscriptions", 0),
    (72, "PushTelemetry", 0),
    (76, "ShareGroupHeartbeat", 0),
    (78, "ShareFetch", 0),
    (79, "ShareAcknowledge", 0),
];

const API_VERSIONS: i16 = 18;

/// Longer inputs slow the fuzzer down and cover nothing that shorter ones do not.
const MAX_FRAME_BYTES: usize = 1500;
const MAX_CONVERSATION_BYTES: usize = 6000;
const MAX_STREAM_BYTES: usize = 1200;

/// Bound for all seeds together, so that the repository stays small.
const MAX_TOTAL_BYTES: usize = 300 * 1024;

const CLIENT_TIMEOUT: Duration = Duration::from_secs(90);

pub(crate) fn run() -> Result<()> {
    requirements::install_missing(&[COMPILER, MAKE, JAVA, JDK, MAVEN, PYTHON])?;
    let mut progress = |step: &str| eprintln!("{step}");
    let mut built = build::build(&["e2e"], &[])?;
    let rdkafka = built
        .remove("rdkafka-client")
        .context("cargo built no rdkafka-client")?;
    let clients = ClientPrograms::install(&rdkafka, &mut progress)?;

    // The port is chosen first: the broker has to advertise the relay, which connects to the
    // broker.
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port();
    let relay = RecordingRelay::start(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    let kafka = ApacheBroker::builder().behind(relay.address().to_string(), port);
    let kafka = ClientLibrary::ALL
        .iter()
        .fold(kafka, |kafka, client| {
            // With a topic of its own, no client reads the records of another.
            kafka.topic(TopicSpec::new(client.name(), 2))
        })
        .start(&mut progress)?;

    let mut seeds = Seeds::new();
    for client in ClientLibrary::ALL {
        progress(&format!("recording {}", client.name()));
        // Traffic so far came from starting the broker.
        drop(relay.take());
        record(&clients, client, kafka.bootstrap())?;
        let conversations: Vec<RecordedConversation> = relay
            .take()
            .into_iter()
            .filter(|conversation| !conversation.pieces.is_empty())
            .collect();
        ensure!(
            // A client that bypassed the relay would leave no seeds without this check.
            conversations.len() > 1,
            "{} did not connect through the relay",
            client.name()
        );
        seeds.extend(seeds_of(client.name(), &conversations)?);
    }
    let bytes: usize = seeds.values().map(Vec::len).sum();
    ensure!(
        bytes <= MAX_TOTAL_BYTES,
        "{bytes} bytes of seeds are too many; take less of each conversation"
    );
    write(&build::repository_root().join("fuzz/seeds"), &seeds)?;
    eprintln!("{} seeds of {bytes} bytes are in fuzz/seeds", seeds.len());
    Ok(())
}

/// Runs everything that this client supports, once.
fn record(clients: &ClientPrograms, client: ClientLibrary, bootstrap: &str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let input = folder.path().join("input");
    fs::write(&input, RECORDS)?;
    let (topic, input) = (client.name(), input.display().to_string());
    let produce = |options: &[&str]| {
        let spec =
            clients
                .spec(client)?
                .args(["produce", "--bootstrap", bootstrap, "--topic", topic]);
        end(spec.args(["--input", &input]).args(options.iter().copied()))
    };
    let consume = |protocol: &str| {
        let group = format!("{topic}-{protocol}");
        let spec =
            clients
                .spec(client)?
                .args(["consume", "--bootstrap", bootstrap, "--topics", topic]);
        end(spec.args(["--group", &group, "--protocol", protocol, "--count", "6"]))
    };
    for codec in ["none", "zstd"] {
        // Idempotent producers also send InitProducerId.
        produce(&["--codec", codec, "--idempotent", "true"])?;
    }
    produce(&[
        // Aborted transactions add AddPartitionsToTxn, EndTxn and a list to Fetch responses.
        "--transactional",
        topic,
        "--transaction-size",
        "2",
        "--abort-every",
        "3",
    ])?;
    consume("classic")?;
    // These two lack the consumer protocol of KIP-848.
    if !matches!(client, ClientLibrary::KafkaPython | ClientLibrary::Kafkajs) {
        consume("consumer")?;
    }
    if matches!(
        client,
        // These have share groups (KIP-932).
        ClientLibrary::Java | ClientLibrary::Confluent | ClientLibrary::FranzGo
    ) {
        consume("share")?;
    }
    Ok(())
}

fn end(spec: ProcessSpec) -> Result<()> {
    let process = spec.spawn()?;
    let status = process.wait(CLIENT_TIMEOUT)?;
    ensure!(
        status.success(),
        "{} ended with {status}:\n{}",
        process.name(),
        process.log().join("\n")
    );
    Ok(())
}

/// Six records with and without keys, values and headers, one of them with a trace context.
const RECORDS: &str = r#"{"partition":0,"key":"aw==","value":"dmFsdWU=","headers":[["YQ==","MQ=="],["ZHVw","eA=="],["ZHVw","eQ=="]]}
{"partition":1,"key":null,"value":"dmFsdWU=","headers":[]}
{"partition":0,"key":"aw==","value":"","headers":[["dHJhY2VwYXJlbnQ=","MDAtMGFmNzY1MTkxNmNkNDNkZDg0NDhlYjIxMWM4MDMxOWMtYjdhZDZiNzE2OTIwMzMzMS0wMQ=="]]}
{"partition":1,"key":"","value":"wyg=","headers":[["YmluYXJ5","wygA/w=="]]}
{"partition":0,"key":"aw==","value":null,"headers":[]}
{"partition":1,"key":"aw==","value":"dmFsdWU=","headers":[["ZW1wdHk=",""]]}
"#;

/// Returns the seeds made from one client's connections.
fn seeds_of(client: &str, conversations: &[RecordedConversation]) -> Result<Seeds> {
    let (mut seeds, mut seen) = (Seeds::new(), BTreeSet::new());
    for conversation in conversations {
        let frames = frames(conversation)?;
        let name = |kind: &str, frame: &RecordedFrame| (kind.to_owned(), frame.api.0, frame.api.1);
        let mut is_new = false;
        for (kind, frame) in &frames {
            // The table names the seed; an API outside of it gets none.
            let Some((_, api, _)) = APIS.iter().find(|(key, _, _)| *key == frame.api.0) else {
                continue;
            };
            let body = body(kind, frame)?;
            // One body for each API, version and direction: more would add size and no coverage.
            if body.len() <= MAX_FRAME_BYTES && seen.insert(name(kind, frame)) {
                is_new = true;
                let (key, version) = frame.api;
                // The target subtracts one from the version, so that it can try an invalid one as
                // well.
                let mut seed = vec![u8::try_from(key)?, u8::try_from(version + 1)?];
                seed.extend(body);
                seeds.insert(
                    format!("kafka_message/{client}-{api}-{version}-{kind}").into(),
                    seed,
                );
            }
        }
        if is_new {
            let number = seeds
                .keys()
                .filter(|path| path.starts_with("session"))
                .count();
            seeds.insert(
                format!("session/{client}-{number}").into(),
                session_script(conversation, u8::try_from(number)?),
            );
            // One stream of each client is enough, because all are framed alike.
            if number == 0 {
                for (speaker, kind) in [
                    (ConversationSide::Client, "request"),
                    (ConversationSide::Broker, "response"),
                ] {
                    // The target derives the size of its chunks from the first four bytes.
                    let mut stream = vec![1, 2, 3, 4];
                    stream.extend(
                        conversation
                            .said(speaker)
                            .into_iter()
                            .take(MAX_STREAM_BYTES),
                    );
                    seeds.insert(format!("kafka_frame/{client}-{kind}s").into(), stream);
                }
            }
        }
    }
    Ok(seeds)
}

/// Encodes a connection as the `session` target reads it: a byte of settings, then for each piece
/// its sender, length and bytes. Too long a connection is cut between two pieces.
fn session_script(conversation: &RecordedConversation, number: u8) -> Vec<u8> {
    // Injection is always on; patching and address rewriting alternate.
    let mut seed = vec![1 + number % 4 * 2];
    for (speaker, bytes) in &conversation.pieces {
        if seed.len() + bytes.len() > MAX_CONVERSATION_BYTES {
            break;
        }
        let sender = if *speaker == ConversationSide::Client {
            7
        } else {
            3
        };
        let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes();
        seed.push(sender);
        seed.extend(length);
        seed.extend(bytes);
    }
    seed
}

/// Returns all complete frames, requests and responses, each with its API.
fn frames(conversation: &RecordedConversation) -> Result<Vec<(&'static str, RecordedFrame)>> {
    let mut requests = BTreeMap::new();
    let mut frames = Vec::new();
    for bytes in split(&conversation.said(ConversationSide::Client)) {
        // A request begins with the API key, the version and the correlation id.
        let [key, version] = [number(&bytes, 0)?, number(&bytes, 2)?];
        requests.insert(
            bytes
                .get(4..8)
                .context("a request has a correlation id")?
                .to_vec(),
            (key, version),
        );
        frames.push((
            "request",
            RecordedFrame {
                api: (key, version),
                bytes,
            },
        ));
    }
    for bytes in split(&conversation.said(ConversationSide::Broker)) {
        // A response names no API, only the correlation id of its request.
        let correlation = bytes.get(..4).context("a response has a correlation id")?;
        let api = *requests
            .get(correlation)
            .context("a response without a request")?;
        frames.push(("response", RecordedFrame { api, bytes }));
    }
    Ok(frames)
}

fn split(mut stream: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    while let Some((length, rest)) = stream.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        // The recording can end inside a frame.
        let Some((frame, rest)) = rest.split_at_checked(length) else {
            break;
        };
        frames.push(frame.to_vec());
        stream = rest;
    }
    frames
}

/// Returns the bytes behind the header. Clients and brokers send no tagged fields in headers, so
/// their count is one byte.
fn body<'a>(kind: &str, frame: &'a RecordedFrame) -> Result<&'a [u8]> {
    let (key, version) = frame.api;
    let flexible_from = APIS
        .iter()
        .find(|(known, _, _)| *known == key)
        .map_or(i16::MAX, |(_, _, from)| *from);
    let tags = usize::from(version >= flexible_from);
    let header = if kind == "request" {
        // A null client id has the length -1.
        let client_id = usize::try_from(number(&frame.bytes, 8)?.max(0))?;
        10 + client_id + tags
    } else if key == API_VERSIONS {
        // The header of this response never has tagged fields (KIP-511).
        4
    } else {
        4 + tags
    };
    frame.bytes.get(header..).context("a frame has a body")
}

fn number(bytes: &[u8], at: usize) -> Result<i16> {
    let bytes = bytes.get(at..at + 2).context("a header is longer")?;
    Ok(i16::from_be_bytes(bytes.try_into()?))
}

/// Replaces the seeds that earlier runs recorded.
fn write(folder: &Path, seeds: &Seeds) -> Result<()> {
    for target in ["kafka_frame", "kafka_message", "session"] {
        for entry in fs::read_dir(folder.join(target))
            .with_context(|| format!("reading the seeds of {target}"))?
        {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if ClientLibrary::ALL
                .iter()
                .any(|client| name.starts_with(&format!("{}-", client.name())))
            {
                // Seeds without the name of a client were written by hand and stay.
                fs::remove_file(entry.path())?;
            }
        }
    }
    for (path, bytes) in seeds {
        let path = folder.join(path);
        fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ApiVersions 3 by a client named `c`, and its response.
    fn conversation() -> RecordedConversation {
        let request = [0, 0, 0, 13, 0, 18, 0, 3, 0, 0, 0, 9, 0, 1, b'c', 0, b'x'];
        let response = [0, 0, 0, 6, 0, 0, 0, 9, 0, 35];
        let (begin, end) = request.split_at(7);
        let pieces = [
            (ConversationSide::Client, begin),
            (ConversationSide::Client, end),
            (ConversationSide::Broker, &response),
        ];
        RecordedConversation {
            pieces: pieces
                .map(|(speaker, bytes)| (speaker, bytes.to_vec()))
                .into(),
        }
    }

    #[test]
    fn a_connection_yields_bodies_streams_and_a_script() {
        let seeds = seeds_of("java", &[conversation()]).unwrap();
        let seed = |name: &str| seeds[Path::new(name)].as_slice();
        assert_eq!(
            seed("kafka_message/java-ApiVersions-3-request"),
            [18, 4, b'x']
        );
        assert_eq!(
            seed("kafka_message/java-ApiVersions-3-response"),
            [18, 4, 0, 35]
        );
        assert_eq!(
            seed("kafka_frame/java-responses"),
            [1, 2, 3, 4, 0, 0, 0, 6, 0, 0, 0, 9, 0, 35]
        );
        assert_eq!(seed("session/java-0")[..4], [1, 7, 0, 7]);
        assert_eq!(seeds.len(), 5);
    }

    #[test]
    fn repeated_traffic_yields_no_new_seeds() {
        let twice = seeds_of("java", &[conversation(), conversation()]).unwrap();
        assert_eq!(twice, seeds_of("java", &[conversation()]).unwrap());
    }
}
