//! Zipkin's JSON of version 1, the default of zipkin-js (openzipkin/zipkin-api, `zipkin-api.yaml`).
//!
//! In version 1 the sides of a call are annotations with an endpoint each, and tags are binary
//! annotations. One span of version 1 may describe both sides; it becomes a span of version 2 for
//! each of them.

use serde_json::Value;

use super::reader::{FieldReader, SpanFields};
use super::span::{ZipkinAnnotation, ZipkinEndpoint, ZipkinSpan, tag_text};

/// The core annotations that begin and end a side, with the kind of the side.
const SIDES: [(&str, &str, &str); 4] = [
    ("cs", "cr", "CLIENT"),
    ("sr", "ss", "SERVER"),
    ("ms", "", "PRODUCER"),
    ("mr", "", "CONSUMER"),
];

/// Maximum number of sides of one span that are compared.
const MAX_SIDES: usize = 16;

/// Returns whether the fields are those of version 1.
pub(super) fn is_v1(fields: &SpanFields) -> bool {
    let is_endpoint_inside = |annotation: &Value| annotation.get("endpoint").is_some();
    fields.contains_key("binaryAnnotations")
        || fields
            .get("annotations")
            .and_then(Value::as_array)
            .is_some_and(|annotations| annotations.iter().any(is_endpoint_inside))
}

/// Reads a span of version 1 as spans of version 2: one for each side, or one without a side.
pub(super) fn read(mut fields: SpanFields, reader: &mut FieldReader) -> Vec<ZipkinSpan> {
    let mut annotations = Vec::new();
    for mut annotation in reader.objects(&mut fields, "annotations") {
        let endpoint = ZipkinEndpoint::read(&mut annotation, "endpoint", reader);
        annotations.push((ZipkinAnnotation::read(annotation, reader), endpoint));
    }
    let blank = ZipkinSpan {
        trace_id: FieldReader::id(&mut fields, "traceId"),
        id: FieldReader::id(&mut fields, "id"),
        parent_id: FieldReader::id(&mut fields, "parentId"),
        name: reader.text(&mut fields, "name"),
        ..ZipkinSpan::default()
    };
    let start = reader.microseconds(&mut fields, "timestamp");
    let duration = reader.microseconds(&mut fields, "duration");
    let mut sides = split_sides(&blank, annotations);
    if sides.is_empty() {
        sides.push(blank);
    }
    let is_only = sides.len() == 1;
    for side in &mut sides {
        // Times of the span count for a single side; of two, they are the client's.
        if is_only || side.kind.as_deref() == Some("CLIENT") {
            side.start = start.or(side.start);
            side.duration = duration.or(side.duration);
        }
    }
    for annotation in reader.objects(&mut fields, "binaryAnnotations") {
        add_tag(&mut sides, annotation, reader);
    }
    sides
}

/// Makes a span of each side that the core annotations describe, and adds the other annotations to
/// the side of their endpoint.
fn split_sides(
    blank: &ZipkinSpan,
    annotations: Vec<(ZipkinAnnotation, ZipkinEndpoint)>,
) -> Vec<ZipkinSpan> {
    let mut sides: Vec<ZipkinSpan> = Vec::new();
    let mut others = Vec::new();
    for (annotation, endpoint) in annotations {
        let value = annotation.value.as_str();
        let core = SIDES
            .iter()
            .find(|(begin, end, _)| value == *begin || (value == *end && !end.is_empty()));
        let Some((begin, _, kind)) = core else {
            others.push((annotation, endpoint));
            continue;
        };
        let known = sides
            .iter()
            .position(|side| side.kind.as_deref() == Some(*kind));
        let index = known.unwrap_or_else(|| {
            sides.push(ZipkinSpan {
                kind: Some((*kind).to_owned()),
                ..blank.clone()
            });
            sides.len() - 1
        });
        let Some(side) = sides.get_mut(index) else {
            continue;
        };
        if side.local_endpoint.service_name.is_none() {
            side.local_endpoint = endpoint;
        }
        // The end is held as the duration until the beginning is known.
        if value == *begin {
            let end = side.start.map_or(side.duration, |_| None);
            side.start = annotation.time;
            side.duration = end
                .zip(annotation.time)
                .map(|(end, start)| end.saturating_sub(start));
        } else if let (Some(start), Some(end)) = (side.start, annotation.time) {
            side.duration = Some(end.saturating_sub(start));
        } else {
            side.duration = annotation.time;
        }
    }
    for side in &mut sides {
        // An end without a beginning gives no duration.
        if side.start.is_none() {
            side.duration = None;
        }
    }
    for (annotation, endpoint) in others {
        if let Some(side) = side_of(&mut sides, blank, &endpoint) {
            side.annotations.push(annotation);
        }
    }
    sides
}

/// Adds a binary annotation as a tag, or as the address of the other side.
fn add_tag(sides: &mut Vec<ZipkinSpan>, mut annotation: SpanFields, reader: &mut FieldReader) {
    let endpoint = ZipkinEndpoint::read(&mut annotation, "endpoint", reader);
    let key = reader.text(&mut annotation, "key").unwrap_or_default();
    let value = annotation.swap_remove("value").unwrap_or_default();
    // `sa` and `ca` with the value true: the addresses of the server and the client, each given by
    // the other side.
    let other_kinds: &[&str] = match key.as_str() {
        "sa" => &["CLIENT"],
        "ca" => &["SERVER"],
        "ma" => &["PRODUCER", "CONSUMER"],
        _ => &[],
    };
    if !other_kinds.is_empty() {
        let other = sides.iter_mut().find(|side| {
            side.kind
                .as_deref()
                .is_none_or(|kind| other_kinds.contains(&kind))
        });
        if let Some(side) = other {
            side.remote_endpoint = endpoint;
        }
        return;
    }
    let blank = sides.first().cloned().unwrap_or_default();
    let Some(side) = side_of(sides, &blank, &endpoint) else {
        return;
    };
    let text = tag_text(value);
    // A local component without a name marks a span without a side, and says nothing else.
    if key != "lc" || !text.is_empty() {
        side.tags.push((key, text));
    }
}

/// Returns the side of this endpoint, the first one by default.
fn side_of<'a>(
    sides: &'a mut Vec<ZipkinSpan>,
    blank: &ZipkinSpan,
    endpoint: &ZipkinEndpoint,
) -> Option<&'a mut ZipkinSpan> {
    if sides.is_empty() {
        sides.push(blank.clone());
    }
    let of_service = sides.iter().take(MAX_SIDES).position(|side| {
        side.local_endpoint.service_name.is_some()
            && side.local_endpoint.service_name == endpoint.service_name
    });
    let side = sides.get_mut(of_service.unwrap_or_default())?;
    if side.local_endpoint == ZipkinEndpoint::default() {
        side.local_endpoint = endpoint.clone();
    }
    Some(side)
}
