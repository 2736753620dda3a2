//! What brokers answer.

use bytes::Bytes;
use throughline_kafka::api::ApiKey;
use throughline_kafka::batch::{Record, RecordBatches, RecordSetEntry};
use throughline_kafka::frame::ResponseHeader;
use throughline_kafka::message::cluster::{DescribeClusterResponse, MetadataResponse};
use throughline_kafka::message::endpoint::NodeEndpoint;
use throughline_kafka::message::{ApiMessage, ParseOutcome, address, api_versions};
use throughline_kafka::types::CorrelationId;
use throughline_kafka::wire::{Error, WireField};
use throughline_model::context::span_id_offset;

use super::{Begun, Session, Wish};
use crate::kafka::delivery::Patch;
use crate::kafka::exchange::{Answer, Exchange, Story};
use crate::kafka::tools::Tools;
use crate::kafka::tracer::{Identity, Tracer};
use crate::kafka::{Cluster, Reason, Settings};
use crate::{Side, Timestamp};

/// Times of a frame's first and last byte.
type Times = (Timestamp, Timestamp);

/// In Fetch, addresses stand behind all records from this version on: whoever changes them has to hold everything.
const FETCH_WITH_ADDRESSES: i16 = 16;

/// Names of topics that are learnt under one lock.
const NAMES_AT_ONCE: usize = 256;

/// In Produce likewise, but its responses are short.
const PRODUCE_WITH_ADDRESSES: i16 = 10;

// === impl Session ===

impl<C: Cluster> Session<C> {
    pub(super) fn begin_response(
        &mut self,
        correlation: CorrelationId,
        size: usize,
        now: Timestamp,
    ) {
        let answer = self.exchanges.answer(correlation);
        for skipped in self.exchanges.skipped() {
            self.tracer.forget(skipped.story, Reason::OutOfOrder);
        }
        let exchange = match answer {
            Answer::To(exchange) => exchange,
            Answer::OutOfOrder(exchange) => {
                self.tracer.passed(Reason::OutOfOrder, 0);
                return self.tracer.forget(exchange.story, Reason::OutOfOrder);
            }
            Answer::Unknown => return self.tracer.passed(Reason::OutOfOrder, 0),
        };
        if exchange.api == ApiKey::SASL_HANDSHAKE && exchange.version == 0 {
            return self.expect_token();
        }
        let cluster = &self.tracer.cluster;
        let settles = self.tracer.settings.settles() || cluster.token_extractor().is_some();
        let wish = exchange.wish(&self.tracer.settings, cluster.is_addressed(), settles);
        let wish = if self.is_blind && wish != Wish::MustChange {
            Wish::Nothing
        } else {
            wish
        };
        if let Begun::Passes(exchange, Some(reason)) =
            self.responses
                .begin(&self.tracer, exchange, wish, size, now)
        {
            self.tracer.passed(reason, 0);
            self.tracer.forget(exchange.story, reason);
        }
    }

    /// A piece of a response has passed.
    pub(super) fn follow_response(&mut self, piece: Bytes, now: Timestamp) {
        if let Some((exchange, begun, reserved, frame)) = self.responses.follow(piece) {
            self.tracer.with_tools(|tracer, tools| {
                let body = ResponseHeader::parse(&frame, exchange.api, exchange.version)
                    .ok()
                    .and_then(|it| it.body_start);
                drop(read(
                    tracer,
                    &mut self.positions,
                    tools,
                    exchange,
                    (&frame, body),
                    (begun, now),
                ));
            });
            self.tracer.release(reserved);
        }
    }

    /// A response that was held has come in whole.
    pub(super) fn finish_held_response(&mut self, frame: Bytes, now: Timestamp) {
        let Some(current) = self.responses.current.take() else {
            return self.tracer.out.transmit(Side::Client, frame);
        };
        let (exchange, begun, reserved) = (current.subject, current.begun, current.reserved);
        let changed = self.tracer.with_tools(|tracer, tools| {
            let start = ResponseHeader::parse(&frame, exchange.api, exchange.version)
                .ok()?
                .body_start?;
            let (api, version) = (exchange.api, exchange.version);
            let patches = read(
                tracer,
                &mut self.positions,
                tools,
                exchange,
                (&frame, Some(start)),
                (begun, now),
            );
            let frame = patch(tools, &frame, start, &patches);
            match rewrite(tracer, tools, (api, version), &frame, start) {
                Ok(Some(changed)) => Some(changed),
                Ok(None) => Some(frame),
                Err(_) => {
                    tracer.passed(Reason::Malformed, 0);
                    Some(frame)
                }
            }
        });
        self.tracer.release(reserved);
        self.tracer
            .out
            .transmit(Side::Client, changed.unwrap_or(frame));
        self.tracer.held(begun, now);
    }
}

/// Reads a response that is here in whole, and whose body begins there. Gives what may be patched in it.
fn read<C: Cluster>(
    tracer: &mut Tracer<C>,
    positions: &mut crate::kafka::delivery::Positions,
    tools: &mut Tools,
    exchange: Exchange,
    (frame, start): (&Bytes, Option<usize>),
    times: Times,
) -> Vec<Patch> {
    let Exchange {
        api,
        version,
        story,
        ..
    } = exchange;
    let Some(body) = start.and_then(|start| frame.get(start..)) else {
        tracer.passed(Reason::Malformed, 0);
        tracer.forget(story, Reason::Malformed);
        return Vec::new();
    };
    match story {
        Story::Produce(sending) => sending.answer(tracer, body, version, times.1),
        Story::Fetch(asked) => {
            return asked.answer(tracer, &mut tools.reader, positions, (body, version), times);
        }
        Story::ShareFetch(of) => of.fetched(tracer, &mut tools.reader, (body, version), times),
        Story::Acknowledge(of) => of.acknowledged(tracer, body, version, times.1),
        Story::Commit(commit) => commit.answer(tracer, api, (body, version), times.1),
        Story::Plain => {
            if learn(tracer, api, body, version).is_err() {
                tracer.passed(Reason::Malformed, 0);
            }
        }
    }
    Vec::new()
}

/// What a response says of the cluster.
fn learn<C: Cluster>(
    tracer: &Tracer<C>,
    api: ApiKey,
    body: &[u8],
    version: i16,
) -> Result<(), Error> {
    let cluster_id = |id: Option<WireField<'_>>| {
        if let Some(id) = id.and_then(|id| id.text()) {
            tracer.cluster.known(|known| known.learn_cluster_id(id));
        }
    };
    if api == ApiKey::METADATA
        && let ParseOutcome::Parsed(response) = MetadataResponse::parse(body, version)?
    {
        cluster_id(response.cluster_id);
        let topics = response.topics.iter().filter(|topic| topic.error_code == 0);
        // Read first, and learnt by parts: everybody waits for the lock, and there may be many partitions behind the names.
        let names: Vec<_> = topics
            .filter_map(|topic| Some((topic.topic_id.0, topic.name?.text()?)))
            .collect();
        for part in names.chunks(NAMES_AT_ONCE) {
            tracer.cluster.known(|known| {
                part.iter()
                    .for_each(|(id, name)| known.learn_topic(*id, name))
            });
        }
    }
    if api == ApiKey::DESCRIBE_CLUSTER
        && let ParseOutcome::Parsed(response) = DescribeClusterResponse::parse(body, version)?
    {
        cluster_id(response.cluster_id);
    }
    Ok(())
}

/// The response that is to go on in the place of this one: with our addresses, and the versions that can be read here.
fn rewrite<C: Cluster>(
    tracer: &Tracer<C>,
    tools: &mut Tools,
    (api, version): (ApiKey, i16),
    frame: &Bytes,
    start: usize,
) -> Result<Option<Bytes>, Error> {
    let body = frame.get(start..).unwrap_or_default();
    let splice = &mut tools.splice;
    splice.clear();
    if api == ApiKey::API_VERSIONS {
        let is_addressed = tracer.cluster.is_addressed();
        let _ = api_versions::clamp(version, body, splice, |api, low, high| {
            (low, high.min(highest(api, is_addressed)))
        })?;
    } else if tracer.cluster.is_addressed() {
        let local = |broker: &NodeEndpoint<'_>| {
            tracer
                .cluster
                .local_address(broker.node_id.0, broker.host.text()?, broker.port)
        };
        let _ = address::rewrite(api, version, body, splice, local)?;
    }
    if splice.is_empty() {
        return Ok(None);
    }
    let mut out = Vec::with_capacity(frame.len());
    splice.reseal(frame, start, &mut out)?;
    Ok(Some(out.into()))
}

/// The frame with the ids of spans in the places of their parents'.
fn patch(tools: &mut Tools, frame: &Bytes, start: usize, patches: &[Patch]) -> Bytes {
    if patches.is_empty() {
        return frame.clone();
    }
    let mut out = frame.to_vec();
    for Patch { records, made } in patches {
        let mut at = start + records.start;
        for entry in RecordBatches::new(frame.get(at..start + records.end).unwrap_or_default()) {
            let end = at + entry.bytes().len();
            if let (RecordSetEntry::Batch(batch), Some(bytes)) = (entry, out.get_mut(at..end)) {
                patch_batch(tools, bytes, batch.base_offset().0, made);
            }
            at = end;
        }
    }
    out.into()
}

/// Replaces ids in a batch; one that cannot be changed stays as it is.
fn patch_batch(tools: &mut Tools, batch: &mut [u8], base_offset: i64, made: &[(i64, Identity)]) {
    let span_of = |record: &Record<'_>| {
        let offset = base_offset.saturating_add(i64::from(record.offset_delta));
        let at = made
            .binary_search_by_key(&offset, |(offset, _)| *offset)
            .ok()?;
        made.get(at)
            .and_then(|(_, made)| Some((made.parent?, made.span_id)))
    };
    let _outcome = tools.patcher.patch(batch, |record, patches| {
        let Some((parent, span)) = span_of(record) else {
            return;
        };
        for header in record.headers() {
            if let Some(at) = header
                .value
                .and_then(|value| span_id_offset(header.key, value, parent))
            {
                patches.overwrite(record, &header, at, &span.to_hex());
            }
        }
    });
}

/// Returns the highest version that is supported, of the APIs that are read; any of the others.
fn highest(api: ApiKey, is_addressed: bool) -> i16 {
    match api.supported_versions() {
        // Above it responses would have to be held in whole for the sake of an address that they
        // seldom have; the client asks for Metadata instead.
        Some(_) if api == ApiKey::FETCH && is_addressed => FETCH_WITH_ADDRESSES - 1,
        Some(versions) => *versions.end(),
        None => i16::MAX,
    }
}

// === impl Exchange ===

impl Exchange {
    /// What a session wants to do with the response.
    fn wish(&self, settings: &Settings, is_addressed: bool, settles: bool) -> Wish {
        match self.api {
            ApiKey::API_VERSIONS => return Wish::MustChange,
            ApiKey::METADATA | ApiKey::FIND_COORDINATOR | ApiKey::DESCRIBE_CLUSTER
                if is_addressed =>
            {
                return Wish::MustChange;
            }
            ApiKey::PRODUCE if is_addressed && self.version >= PRODUCE_WITH_ADDRESSES => {
                return Wish::MustChange;
            }
            ApiKey::SHARE_ACKNOWLEDGE if is_addressed => return Wish::MustChange,
            ApiKey::METADATA | ApiKey::DESCRIBE_CLUSTER => return Wish::Read,
            _ => {}
        }
        match &self.story {
            Story::Plain => Wish::Nothing,
            Story::Fetch(_) if is_addressed && self.version >= FETCH_WITH_ADDRESSES => Wish::Change,
            Story::Fetch(_) if settings.patches() => Wish::Change,
            Story::ShareFetch(_) if is_addressed => Wish::Change,
            Story::Commit(_) if !settles => Wish::Nothing,
            Story::Produce(_)
            | Story::Fetch(_)
            | Story::ShareFetch(_)
            | Story::Acknowledge(_)
            | Story::Commit(_) => Wish::Read,
        }
    }
}
