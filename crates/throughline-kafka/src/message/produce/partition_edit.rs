//! Edits to the partitions of Produce messages: requests with fewer partitions, and responses with
//! results of another response.

use std::ops::Range;

use super::{PartitionProduceResponse, ProducePartition, TOPIC_IDS_SINCE};
use crate::api::ApiKey;
use crate::message::{BodySplice, TopicRef};
use crate::types::PartitionIndex;
use crate::wire::{Decode, Error, WireReader, varint};

/// A topic of a message, and the positions of its parts.
struct TopicSpan<'a, T> {
    topic: TopicRef<'a>,
    /// The position of the topic.
    range: Range<usize>,
    /// The position of the number of partitions.
    count: Range<usize>,
    partitions: Vec<PartitionSpan<T>>,
}

/// A partition of a message, and its position.
struct PartitionSpan<T> {
    partition: T,
    range: Range<usize>,
}

/// The topics of a message, and the position of their number.
struct TopicSpans<'a, T> {
    count: Range<usize>,
    topics: Vec<TopicSpan<'a, T>>,
}

/// Removes the partitions of a Produce request that `is_kept` does not select, and topics without
/// partitions. The edits are recorded in `splice`.
///
/// # Errors
/// When the body does not follow the version.
pub fn retain_partitions(
    body: &[u8],
    version: i16,
    splice: &mut BodySplice,
    mut is_kept: impl FnMut(&TopicRef<'_>, PartitionIndex) -> bool,
) -> Result<(), Error> {
    let mut reader = reader(body, version)?;
    // transactional_id, acks, timeout_ms
    reader.nullable_string()?;
    reader.i16()?;
    reader.i32()?;
    let is_flexible = reader.is_flexible();
    let spans = TopicSpans::<ProducePartition<'_>>::read(&mut reader)?;
    let kept: Vec<Vec<bool>> = spans
        .topics
        .iter()
        .map(|topic| {
            let partitions = topic.partitions.iter();
            let is_kept = partitions.map(|it| is_kept(&topic.topic, it.partition.index));
            is_kept.collect()
        })
        .collect();
    let topics = kept.iter().filter(|it| it.contains(&true)).count();
    // Edits go in the order of the body, so that each number precedes the elements that it counts.
    splice.replace(spans.count, &array_length(topics, is_flexible))?;
    for (topic, kept) in spans.topics.into_iter().zip(kept) {
        let count = kept.iter().filter(|is_kept| **is_kept).count();
        if count == 0 {
            splice.replace(topic.range, &[])?;
            continue;
        }
        splice.replace(topic.count, &array_length(count, is_flexible))?;
        for (partition, is_kept) in topic.partitions.into_iter().zip(kept) {
            if !is_kept {
                splice.replace(partition.range, &[])?;
            }
        }
    }
    Ok(())
}

/// Replaces results in the body of a Produce response by those of `later`, a response of the same
/// version, where that has the partition. The edits are recorded in `splice`.
///
/// # Errors
/// When a body does not follow the version.
pub fn merge_results(
    body: &[u8],
    later: &[u8],
    version: i16,
    splice: &mut BodySplice,
) -> Result<(), Error> {
    let results = TopicSpans::<PartitionProduceResponse>::read(&mut reader(body, version)?)?;
    let replacements = TopicSpans::<PartitionProduceResponse>::read(&mut reader(later, version)?)?;
    for topic in &results.topics {
        let same_topic = |it: &&TopicSpan<'_, _>| is_same_topic(&it.topic, &topic.topic);
        for result in &topic.partitions {
            let mut candidates = replacements.topics.iter().filter(same_topic);
            let replacement = candidates.find_map(|it| {
                let mut partitions = it.partitions.iter();
                partitions.find(|it| it.partition.index == result.partition.index)
            });
            if let Some(replacement) = replacement {
                let bytes = later.get(replacement.range.clone()).unwrap_or_default();
                splice.replace(result.range.clone(), bytes)?;
            }
        }
    }
    Ok(())
}

fn reader(body: &[u8], version: i16) -> Result<WireReader<'_>, Error> {
    let is_flexible = ApiKey::PRODUCE.is_flexible(version).ok_or(Error {
        at: 0,
        expected: "a version of Produce that is known",
    })?;
    Ok(WireReader::new(body, version, is_flexible))
}

/// Returns whether two references name the same topic, wherever they are in their bodies.
fn is_same_topic(one: &TopicRef<'_>, other: &TopicRef<'_>) -> bool {
    match (one, other) {
        (TopicRef::Name(one), TopicRef::Name(other)) => one.bytes() == other.bytes(),
        (TopicRef::Id(one), TopicRef::Id(other)) => one == other,
        (TopicRef::Name(_), TopicRef::Id(_)) | (TopicRef::Id(_), TopicRef::Name(_)) => false,
    }
}

fn array_length(count: usize, is_flexible: bool) -> Vec<u8> {
    // Not larger than the number that was read from 32 bits.
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    let mut out = Vec::new();
    if is_flexible {
        varint::write_u32(count.saturating_add(1), &mut out);
    } else {
        out.extend(count.to_be_bytes());
    }
    out
}

// === impl TopicSpans ===

impl<'a, T: Decode<'a>> TopicSpans<'a, T> {
    fn read(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let start = reader.position();
        let topics = reader.array_length()?;
        let count = start..reader.position();
        let topics = (0..topics).map(|_| TopicSpan::read(reader));
        Ok(Self {
            count,
            topics: topics.collect::<Result<_, _>>()?,
        })
    }
}

// === impl TopicSpan ===

impl<'a, T: Decode<'a>> TopicSpan<'a, T> {
    fn read(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let start = reader.position();
        let topic = TopicRef::decode(reader, TOPIC_IDS_SINCE)?;
        let count_start = reader.position();
        let length = reader.array_length()?;
        let count = count_start..reader.position();
        let mut partitions = Vec::new();
        for _ in 0..length {
            let start = reader.position();
            let partition = T::decode(reader)?;
            let range = start..reader.position();
            partitions.push(PartitionSpan { partition, range });
        }
        reader.tagged_fields()?;
        Ok(Self {
            topic,
            range: start..reader.position(),
            count,
            partitions,
        })
    }
}
