//! What must hold of the spans: each record has its producer's and its consumers', in one trace, at the right place.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use e2e::{TraceSet, TraceSpan};
use serde_json::json;
use throughline_testkit::collector::CollectorInstance;
use throughline_testkit::wait;

use super::check::{RecordContext, RecordPosition};

/// The spans that one sidecar made of one topic, by the place of their record.
pub(crate) struct TopicSpans {
    topic: String,
    by_place: BTreeMap<(String, RecordPosition), Vec<TraceSpan>>,
    all: Vec<TraceSpan>,
}

/// Spans are sent in batches, every few seconds.
const SOON: Duration = Duration::from_secs(30);

// === impl Spans ===

impl TopicSpans {
    /// Waits until there are so many spans of each of these operations, such as `send`.
    pub(crate) fn wait_for(
        collector: &CollectorInstance,
        service: &str,
        topic: &str,
        wanted: &[(&str, usize)],
    ) -> Self {
        let look = || {
            let spans = Self::find(collector, service, topic, wanted);
            wanted
                .iter()
                .all(|(operation, count)| spans.named(operation).count() >= *count)
                .then_some(spans)
        };
        wait::until(SOON, look).unwrap_or_else(|| {
            let spans = Self::find(collector, service, topic, wanted);
            let found: Vec<String> = wanted
                .iter()
                .map(|(operation, _)| format!("{operation} {}", spans.named(operation).count()))
                .collect();
            panic!("of {topic} by {service} there are {found:?} spans, of {wanted:?}")
        })
    }

    fn find(
        collector: &CollectorInstance,
        service: &str,
        topic: &str,
        wanted: &[(&str, usize)],
    ) -> Self {
        let mut all: BTreeMap<(String, String), TraceSpan> = BTreeMap::new();
        for (operation, _) in wanted {
            let name = format!("{operation} {topic}");
            let traces = collector
                .search(&[
                    ("service", service),
                    ("operation", &name),
                    ("limit", "1500"),
                ])
                .unwrap();
            let spans = TraceSet::from_json(&json!({ "data": traces })).spans;
            let ours = spans.into_iter().filter(|span| span.service == service);
            all.extend(ours.map(|span| ((span.trace.clone(), span.id.clone()), span)));
        }
        let all: Vec<TraceSpan> = all
            .into_values()
            .filter(|span| span.tag("messaging.destination.name") == topic)
            .collect();
        let mut by_place: BTreeMap<_, Vec<TraceSpan>> = BTreeMap::new();
        for span in &all {
            if let Some(place) = place(span) {
                let operation = span.name.split(' ').next().unwrap_or_default().to_owned();
                by_place
                    .entry((operation, place))
                    .or_default()
                    .push(span.clone());
            }
        }
        Self {
            topic: topic.to_owned(),
            by_place,
            all,
        }
    }

    /// Those of one operation.
    pub(crate) fn of(&self, operation: &str) -> Vec<TraceSpan> {
        self.named(operation).cloned().collect()
    }

    fn named(&self, operation: &str) -> impl Iterator<Item = &TraceSpan> {
        let name = format!("{operation} {}", self.topic);
        self.all.iter().filter(move |span| span.name == name)
    }

    /// The spans of what is at this place; in this trace, for a topic may have been made anew.
    fn at(
        &self,
        operation: &str,
        place: RecordPosition,
        context: &RecordContext,
    ) -> Vec<&TraceSpan> {
        let spans = self
            .by_place
            .get(&(operation.to_owned(), place))
            .into_iter()
            .flatten();
        spans.filter(|span| span.trace == context.trace).collect()
    }

    /// Each record has its producer span: it made the record's context, or is the child of the one that came with it.
    pub(crate) fn assert_sent(
        &self,
        contexts: &BTreeMap<RecordPosition, RecordContext>,
        client: &str,
        times: RangeInclusive<usize>,
    ) {
        for (place, context) in contexts {
            let spans = self.at("send", *place, context);
            assert!(
                times.contains(&spans.len()),
                "{} producer spans at {place:?}",
                spans.len()
            );
            // When a request is sent again, each has its spans; the record has the context of the one that arrived.
            let span = spans
                .iter()
                .find(|span| context.came_along || span.id == context.span);
            let span =
                span.unwrap_or_else(|| panic!("no producer span of {context:?}, but {spans:?}"));
            self.assert_sender(span, context, client);
        }
    }

    /// The same for records without an acknowledgement: their spans do not know the offset.
    pub(crate) fn assert_sent_unacknowledged(
        &self,
        contexts: &BTreeMap<RecordPosition, RecordContext>,
        client: &str,
    ) {
        for (place, context) in contexts {
            let spans: Vec<&TraceSpan> = self
                .named("send")
                .filter(|span| is_sender(span, context))
                .collect();
            let [span] = spans[..] else {
                panic!("{} producer spans at {place:?}", spans.len())
            };
            self.assert_sender(span, context, client);
        }
    }

    /// The same for records that may have been sent more than once: when the answer to the first time is lost, the broker still has the
    /// record of the first time, whose span knows no offset and tells of an error.
    pub(crate) fn assert_sent_at_least_once(
        &self,
        contexts: &BTreeMap<RecordPosition, RecordContext>,
    ) {
        for (place, context) in contexts {
            let found = self.named("send").any(|span| is_sender(span, context));
            assert!(found, "no producer span of {context:?} at {place:?}");
        }
    }

    fn assert_sender(&self, span: &TraceSpan, context: &RecordContext, client: &str) {
        let references = if context.came_along {
            vec![reference("CHILD_OF", context)]
        } else {
            Vec::new()
        };
        assert_eq!(span.references, references, "{span:?}");
        self.assert_tags(span, "producer", client);
    }

    /// Each record has its consumer spans, children of its context and linked to it.
    pub(crate) fn assert_processed(
        &self,
        contexts: &BTreeMap<RecordPosition, RecordContext>,
        [client, group]: [&str; 2],
        times: RangeInclusive<usize>,
    ) {
        for (place, context) in contexts {
            let spans = self.at("process", *place, context);
            assert!(
                times.contains(&spans.len()),
                "{} consumer spans at {place:?}: {spans:?}",
                spans.len()
            );
            for span in spans {
                // Parent and link, as one reference (docs/adr/0003).
                assert_eq!(
                    span.references,
                    [reference("FOLLOWS_FROM", context)],
                    "{span:?}"
                );
                self.assert_tags(span, "consumer", client);
                assert_eq!(span.tag("messaging.consumer.group.name"), group, "{span:?}");
            }
        }
    }

    /// Each record has so many spans of this operation that are children of its context, whoever made them.
    pub(crate) fn assert_continued(
        &self,
        operation: &str,
        contexts: &BTreeMap<RecordPosition, RecordContext>,
        times: RangeInclusive<usize>,
    ) {
        for (place, context) in contexts {
            let spans = self.at(operation, *place, context);
            assert!(
                times.contains(&spans.len()),
                "{} {operation} spans at {place:?}",
                spans.len()
            );
            let is_strange = |span: &&&TraceSpan| {
                span.trace != context.trace || parent(span) != Some(&context.span)
            };
            let strange = spans.iter().find(is_strange);
            assert!(
                strange.is_none(),
                "{strange:?} does not continue {context:?}"
            );
        }
    }

    /// The deliveries of each record are numbered so.
    pub(crate) fn assert_delivery_counts(
        &self,
        contexts: &BTreeMap<RecordPosition, RecordContext>,
        counts: &[i64],
    ) {
        for (place, context) in contexts {
            let spans = self.at("process", *place, context);
            let mut found: Vec<i64> = spans
                .iter()
                .filter_map(|span| span.tags.get("throughline.kafka.delivery_count")?.as_i64())
                .collect();
            found.sort_unstable();
            assert_eq!(found, counts, "deliveries at {place:?}");
        }
    }

    /// Records that nobody was given have no consumer span.
    pub(crate) fn assert_not_processed<'a>(
        &self,
        mut contexts: impl Iterator<Item = &'a RecordContext>,
    ) {
        let is_there = |context: &RecordContext| {
            self.named("process")
                .any(|span| span.trace == context.trace)
        };
        let found = contexts.find(|context| is_there(context));
        assert!(found.is_none(), "{found:?} was processed");
    }

    /// Each record has so many commits that covered it, each the child of a consumer span.
    pub(crate) fn assert_settled(
        &self,
        contexts: &BTreeMap<RecordPosition, RecordContext>,
        times: &RangeInclusive<usize>,
    ) {
        for (place, context) in contexts {
            let processed = self.at("process", *place, context);
            let settled = self
                .named("commit")
                .filter(|span| processed.iter().any(|one| parent(span) == Some(&one.id)));
            let settled = settled.count();
            assert!(
                times.contains(&settled),
                "{settled} commits of the record at {place:?}, with {processed:?}"
            );
        }
    }

    fn assert_tags(&self, span: &TraceSpan, kind: &str, client: &str) {
        for (name, value) in [
            ("span.kind", kind),
            ("messaging.system", "kafka"),
            ("messaging.destination.name", &self.topic),
            ("messaging.client.id", client),
        ] {
            assert_eq!(span.tag(name), value, "{name} of {span:?}");
        }
        assert!(!span.tags.contains_key("error.type"), "{span:?}");
    }
}

fn place(span: &TraceSpan) -> Option<RecordPosition> {
    let partition = span
        .tag("messaging.destination.partition.id")
        .parse()
        .ok()?;
    let offset = span.tags.get("messaging.kafka.offset")?.as_i64()?;
    Some((partition, offset))
}

/// Whether the span made this context, or is the child of the one that came with the record.
fn is_sender(span: &TraceSpan, context: &RecordContext) -> bool {
    let is_child = context.came_along && parent(span) == Some(context.span.as_str());
    span.trace == context.trace && (span.id == context.span || is_child)
}

fn parent(span: &TraceSpan) -> Option<&str> {
    span.references.first().map(|(_, _, id)| id.as_str())
}

fn reference(kind: &str, context: &RecordContext) -> (String, String, String) {
    (kind.to_owned(), context.trace.clone(), context.span.clone())
}
