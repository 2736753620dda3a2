//! The schema of a segment.

use std::sync::Arc;

use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::Result;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesPtr};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::{ColumnPath, TypePtr};

/// Version of the schema, in the metadata of the file under [`VERSION_KEY`]. A change that a reader
/// of the former version would misunderstand raises it.
pub(super) const VERSION: &str = "1";
pub(super) const VERSION_KEY: &str = "throughline.segment.version";

/// Rows of a page: the least that is decoded for one span.
pub(super) const PAGE_ROWS: usize = 1024;

/// Rows of a page of a column with one value: it costs nothing to skip them.
pub(super) const UNIFORM_PAGE_ROWS: usize = 16_384;

/// The schema; the leaves are those of [`Leaf`], in their order.
const MESSAGE: &str = "
message span {
  required fixed_len_byte_array(16) trace_id;
  required fixed_len_byte_array(8) span_id;
  optional fixed_len_byte_array(8) parent_span_id;
  required int64 start_time (TIMESTAMP(NANOS,true));
  required int64 duration_ns;
  required binary service_name (STRING);
  required binary name (STRING);
  required binary kind (STRING);
  required binary status (STRING);
  optional binary status_message (STRING);
  optional binary trace_state (STRING);
  required int64 flags;
  required int64 dropped_attributes;
  required int64 dropped_events;
  required int64 dropped_links;
  required boolean is_fragment;
  optional binary http_request_method (STRING);
  optional binary http_route (STRING);
  optional binary url_path (STRING);
  optional binary server_address (STRING);
  optional int64 http_response_status_code;
  optional binary messaging_system (STRING);
  optional binary messaging_destination_name (STRING);
  optional binary messaging_consumer_group_name (STRING);
  optional binary rpc_service (STRING);
  optional binary rpc_method (STRING);
  optional binary db_system_name (STRING);
  optional binary error_type (STRING);
  required group attributes (MAP) {
    repeated group key_value {
      required binary key (STRING);
      required binary value (STRING);
    }
  }
  optional binary attribute_types (STRING);
  required group resource (MAP) {
    repeated group key_value {
      required binary key (STRING);
      required binary value (STRING);
    }
  }
  optional binary resource_types (STRING);
  optional binary resource_schema_url (STRING);
  optional binary scope_name (STRING);
  optional binary scope_version (STRING);
  optional binary scope_schema_url (STRING);
  required group scope_attributes (MAP) {
    repeated group key_value {
      required binary key (STRING);
      required binary value (STRING);
    }
  }
  optional binary scope_attribute_types (STRING);
  required group events (LIST) {
    repeated group list {
      required group element {
        required int64 time (TIMESTAMP(NANOS,true));
        required binary name (STRING);
        required group attributes (MAP) {
          repeated group key_value {
            required binary key (STRING);
            required binary value (STRING);
          }
        }
        optional binary attribute_types (STRING);
      }
    }
  }
  required group links (LIST) {
    repeated group list {
      required group element {
        required fixed_len_byte_array(16) trace_id;
        required fixed_len_byte_array(8) span_id;
        optional binary trace_state (STRING);
        required int64 flags;
        required group attributes (MAP) {
          repeated group key_value {
            required binary key (STRING);
            required binary value (STRING);
          }
        }
        optional binary attribute_types (STRING);
      }
    }
  }
  optional binary original;
}";

/// Returns whether a leaf is for the queries of other engines only: what it has, others have too.
pub(super) fn is_derived(leaf: usize) -> bool {
    let first = Leaf::HttpRequestMethod as usize;
    leaf == Leaf::ServiceName as usize || (first..first + WELL_KNOWN.len()).contains(&leaf)
}

/// Returns whether a leaf is one of those that outlines are made of. The trace id is known.
pub(super) const fn is_outline(leaf: usize) -> bool {
    leaf >= Leaf::SpanId as usize && leaf <= Leaf::Status as usize
}

/// A leaf of the schema, by its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaf {
    TraceId,
    SpanId,
    ParentSpanId,
    StartTime,
    Duration,
    ServiceName,
    Name,
    Kind,
    Status,
    StatusMessage,
    TraceState,
    Flags,
    DroppedAttributes,
    DroppedEvents,
    DroppedLinks,
    IsFragment,
    /// The first of [`WELL_KNOWN`].
    HttpRequestMethod,
    AttributeKey = 28,
    AttributeValue,
    AttributeTypes,
    ResourceKey,
    ResourceValue,
    ResourceTypes,
    ResourceSchemaUrl,
    ScopeName,
    ScopeVersion,
    ScopeSchemaUrl,
    ScopeAttributeKey,
    ScopeAttributeValue,
    ScopeAttributeTypes,
    EventTime,
    EventName,
    EventAttributeKey,
    EventAttributeValue,
    EventAttributeTypes,
    LinkTraceId,
    LinkSpanId,
    LinkTraceState,
    LinkFlags,
    LinkAttributeKey,
    LinkAttributeValue,
    LinkAttributeTypes,
    Original,
    /// Behind the last one.
    End,
}

/// Attributes with a column of their own, in the order of the columns, for the queries of other
/// engines; the list of attributes has them too.
pub(super) const WELL_KNOWN: [(&str, WellKnownType); 12] = [
    ("http.request.method", WellKnownType::Text),
    ("http.route", WellKnownType::Text),
    ("url.path", WellKnownType::Text),
    ("server.address", WellKnownType::Text),
    ("http.response.status_code", WellKnownType::Number),
    ("messaging.system", WellKnownType::Text),
    ("messaging.destination.name", WellKnownType::Text),
    ("messaging.consumer.group.name", WellKnownType::Text),
    ("rpc.service", WellKnownType::Text),
    ("rpc.method", WellKnownType::Text),
    ("db.system.name", WellKnownType::Text),
    ("error.type", WellKnownType::Text),
];

/// Type of a column for a well-known attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WellKnownType {
    Text,
    Number,
}

pub(super) fn message_type() -> Result<TypePtr> {
    parse_message_type(MESSAGE).map(Arc::new)
}

pub(super) fn properties() -> Result<WriterPropertiesPtr> {
    let path = |name: &str| ColumnPath::new(vec![name.to_owned()]);
    let mut properties = WriterProperties::builder()
        .set_created_by(concat!("throughline ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_key_value_metadata(Some(vec![KeyValue::new(
            VERSION_KEY.to_owned(),
            VERSION.to_owned(),
        )]));
    for name in ["trace_id", "start_time"] {
        properties = properties.set_column_statistics_enabled(path(name), EnabledStatistics::Page);
    }
    // Each value is another one: a dictionary would only be built to be given up.
    for name in ["span_id", "start_time", "duration_ns"] {
        properties = properties.set_column_dictionary_enabled(path(name), false);
    }
    for name in ["start_time", "duration_ns"] {
        properties = properties.set_column_encoding(path(name), Encoding::DELTA_BINARY_PACKED);
    }
    Ok(Arc::new(properties.build()))
}
