//! Batches of `jaeger.thrift`: a process and its spans.

use std::sync::Arc;

use throughline_model::{Event, KeyValue, Resource, Scope, Value};
use throughline_otlp::DecodedSpans;

use super::span::{JaegerReference, JaegerSpan};
use super::thrift::{ThriftError, ThriftField, ThriftProtocol, ThriftReader};
use crate::ingest::IngestError;

/// The method of the agent that takes a batch.
const EMIT_BATCH: &[u8] = b"emitBatch";

/// Decodes a batch, the whole body of a request over HTTP.
pub(super) fn decode_batch(
    body: &[u8],
    protocol: ThriftProtocol,
) -> Result<DecodedSpans, IngestError> {
    read_batch(&mut ThriftReader::new(body, protocol)).map_err(|error| malformed(&error))
}

/// Decodes a call of the agent, the content of a datagram.
pub(super) fn decode_agent_call(datagram: &[u8]) -> Result<DecodedSpans, IngestError> {
    let (mut reader, method) = ThriftReader::call(datagram).map_err(|error| malformed(&error))?;
    if method != EMIT_BATCH {
        return Err(IngestError::Malformed(format!(
            "of the agent's methods only emitBatch is served, not {:?}",
            String::from_utf8_lossy(method)
        )));
    }
    let mut decoded = DecodedSpans::default();
    // The arguments are a struct with the batch as its first field.
    let read = reader.read_struct(|reader, field| match field.id {
        1 if reader.is_struct(field)? => {
            decoded = read_batch(reader)?;
            Ok(())
        }
        1 => Ok(()),
        _ => reader.skip(field),
    });
    read.map_err(|error| malformed(&error))?;
    Ok(decoded)
}

fn malformed(error: &ThriftError) -> IngestError {
    IngestError::Malformed(format!("not a batch of Jaeger's Thrift: {error}"))
}

fn read_batch(reader: &mut ThriftReader<'_>) -> Result<DecodedSpans, ThriftError> {
    let mut decoded = DecodedSpans::default();
    let mut resource = Arc::new(Resource::default());
    let mut scope = Arc::new(Scope::default());
    reader.read_struct(|reader, field| match field.id {
        1 if reader.is_struct(field)? => {
            resource = Arc::new(read_process(reader)?);
            Ok(())
        }
        1 => Ok(()),
        2 => reader.structs(field, |reader| {
            match read_span(reader)?.into_span(&mut scope) {
                Ok(span) => decoded.spans.push(span),
                // One bad span must not cost the others of the batch.
                Err(reason) => decoded.rejected.add(reason),
            }
            Ok(())
        }),
        // Sequence number and statistics of the client.
        _ => reader.skip(field),
    })?;
    // Afterwards, because the fields of a struct may come in any order.
    for span in &mut decoded.spans {
        span.resource = Arc::clone(&resource);
    }
    Ok(decoded)
}

fn read_process(reader: &mut ThriftReader<'_>) -> Result<Resource, ThriftError> {
    let mut resource = Resource::default();
    reader.read_struct(|reader, field| match field.id {
        1 => {
            if let Some(name) = reader.text(field)? {
                resource.attributes.insert(0, service_name(name));
            }
            Ok(())
        }
        2 => read_tags(reader, field, &mut resource.attributes),
        _ => reader.skip(field),
    })?;
    Ok(resource)
}

fn service_name(name: String) -> KeyValue {
    KeyValue::new(throughline_model::convention::SERVICE_NAME, name)
}

fn read_span(reader: &mut ThriftReader<'_>) -> Result<JaegerSpan, ThriftError> {
    let mut span = JaegerSpan::default();
    reader.read_struct(|reader, field| {
        let number = match field.id {
            1 => &mut span.trace_id_low,
            2 => &mut span.trace_id_high,
            3 => &mut span.span_id,
            4 => &mut span.parent_span_id,
            7 => &mut span.flags,
            8 => &mut span.start_time,
            9 => &mut span.duration,
            5 => {
                span.operation_name = reader.text(field)?.unwrap_or_default();
                return Ok(());
            }
            6 => {
                return reader.structs(field, |reader| {
                    span.references.push(read_reference(reader)?);
                    Ok(())
                });
            }
            10 => return read_tags(reader, field, &mut span.tags),
            11 => {
                return reader.structs(field, |reader| {
                    span.logs.extend(read_log(reader)?);
                    Ok(())
                });
            }
            _ => return reader.skip(field),
        };
        *number = reader.integer(field)?.unwrap_or_default();
        Ok(())
    })?;
    Ok(span)
}

fn read_reference(reader: &mut ThriftReader<'_>) -> Result<JaegerReference, ThriftError> {
    let mut reference = JaegerReference::default();
    reader.read_struct(|reader, field| {
        let number = match field.id {
            1 => &mut reference.kind,
            2 => &mut reference.trace_id_low,
            3 => &mut reference.trace_id_high,
            4 => &mut reference.span_id,
            _ => return reader.skip(field),
        };
        *number = reader.integer(field)?.unwrap_or_default();
        Ok(())
    })?;
    Ok(reference)
}

/// Reads a log; `None` without its required timestamp.
fn read_log(reader: &mut ThriftReader<'_>) -> Result<Option<Event>, ThriftError> {
    let mut time = None;
    let mut attributes = Vec::new();
    reader.read_struct(|reader, field| match field.id {
        1 => {
            time = reader.integer(field)?;
            Ok(())
        }
        2 => read_tags(reader, field, &mut attributes),
        _ => reader.skip(field),
    })?;
    Ok(time.map(|time| super::span::event(time, attributes)))
}

fn read_tags(
    reader: &mut ThriftReader<'_>,
    field: ThriftField,
    tags: &mut Vec<KeyValue>,
) -> Result<(), ThriftError> {
    reader.structs(field, |reader| {
        tags.extend(read_tag(reader)?);
        Ok(())
    })
}

/// Reads a tag; `None` without its required key.
fn read_tag(reader: &mut ThriftReader<'_>) -> Result<Option<KeyValue>, ThriftError> {
    let mut key = None;
    let mut kind = 0;
    let (mut text, mut bytes) = (String::new(), Vec::new());
    let (mut double, mut boolean, mut long) = (0.0, false, 0);
    reader.read_struct(|reader, field| {
        match field.id {
            1 => key = reader.text(field)?,
            2 => kind = reader.integer(field)?.unwrap_or_default(),
            3 => text = reader.text(field)?.unwrap_or_default(),
            4 => double = reader.double(field)?.unwrap_or_default(),
            5 => boolean = reader.boolean(field)?.unwrap_or_default(),
            6 => long = reader.integer(field)?.unwrap_or_default(),
            7 => bytes = reader.byte_string(field)?.unwrap_or_default().to_vec(),
            _ => reader.skip(field)?,
        }
        Ok(())
    })?;
    // The values of `TagType`.
    let value = match kind {
        0 => Value::from(text),
        1 => Value::Double(double),
        2 => Value::Bool(boolean),
        3 => Value::Int(long),
        4 => Value::Bytes(bytes),
        _ => Value::Empty,
    };
    Ok(key.map(|key| KeyValue::new(key, value)))
}
