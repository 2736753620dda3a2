//! Jaeger's messages (jaegertracing/jaeger-idl, `api_v3/query_service.proto` and `storage/v2`).
//!
//! Fields that are not used are left out: decoders skip unknown ones. Traces are OTLP's, which
//! `throughline-otlp` encodes.

use prost::Message;
use throughline_model::SpanKind;
use throughline_store::{ServiceOperation, SpanSearch, Store, TagCondition};

use crate::query::query_params::DEFAULT_LIMIT;
use crate::query::state::{MAX_SEARCH_SPANS, MAX_SEARCH_TRACES, QueryError};

/// Year 1 in seconds since the Unix epoch: the zero time of Go, which stands for none.
const GO_ZERO_SECONDS: i64 = -62_135_596_800;

const NANOSECONDS_PER_SECOND: i128 = 1_000_000_000;

/// `google.protobuf.Timestamp` and `google.protobuf.Duration`, which have the same fields.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(super) struct ProtoTime {
    #[prost(int64, tag = "1")]
    pub(super) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(super) nanos: i32,
}

/// A request without fields.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(super) struct EmptyRequest {}

/// `GetServicesResponse` of both interfaces.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct ServicesResponse {
    #[prost(string, repeated, tag = "1")]
    pub(super) services: Vec<String>,
}

/// `GetOperationsRequest` of both interfaces.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct OperationsRequest {
    #[prost(string, tag = "1")]
    pub(super) service: String,
    #[prost(string, tag = "2")]
    pub(super) span_kind: String,
}

/// `Operation` of both interfaces.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct OperationMessage {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) span_kind: String,
}

/// `GetOperationsResponse` of both interfaces.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct OperationsResponse {
    #[prost(message, repeated, tag = "1")]
    pub(super) operations: Vec<OperationMessage>,
}

/// The conditions of a search that both interfaces have.
#[derive(Debug, Default)]
pub(super) struct TraceConditions {
    pub(super) service: String,
    pub(super) operation: String,
    pub(super) tags: Vec<TagCondition>,
    pub(super) start_min: Option<ProtoTime>,
    pub(super) start_max: Option<ProtoTime>,
    pub(super) duration_min: Option<ProtoTime>,
    pub(super) duration_max: Option<ProtoTime>,
    pub(super) search_depth: i32,
}

// === impl ProtoTime ===

impl ProtoTime {
    /// Creates a time from nanoseconds since the Unix epoch.
    pub(super) fn from_nanoseconds(nanoseconds: u64) -> Self {
        let seconds = nanoseconds / 1_000_000_000;
        let nanos = nanoseconds % 1_000_000_000;
        Self {
            seconds: i64::try_from(seconds).unwrap_or(i64::MAX),
            nanos: i32::try_from(nanos).unwrap_or_default(),
        }
    }

    /// Returns nanoseconds since the Unix epoch; `None` when no time is meant. A time outside the
    /// range of spans becomes its first or last value.
    pub(super) fn timestamp(self) -> Option<u64> {
        if self.seconds == GO_ZERO_SECONDS {
            return None;
        }
        Some(u64::try_from(self.nanoseconds().max(0)).unwrap_or(u64::MAX))
    }

    /// Returns the nanoseconds of a duration; `None` for a negative one.
    fn duration(self) -> Option<u64> {
        let nanoseconds = self.nanoseconds();
        (nanoseconds >= 0).then(|| u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }

    fn nanoseconds(self) -> i128 {
        i128::from(self.seconds) * NANOSECONDS_PER_SECOND + i128::from(self.nanos)
    }
}

// === impl OperationsRequest ===

impl OperationsRequest {
    /// Returns the operations of the store that the request is about.
    pub(super) fn operations(
        &self,
        store: &dyn Store,
    ) -> Result<Vec<ServiceOperation>, QueryError> {
        let kind = match self.span_kind.as_str() {
            "" => None,
            name => Some(SpanKind::from_name(name).ok_or_else(|| {
                QueryError::Invalid(format!(
                    "span_kind must be internal, server, client, producer or consumer, not {name:?}"
                ))
            })?),
        };
        let service = Some(self.service.as_str()).filter(|name| !name.is_empty());
        Ok(store.operations(service, kind))
    }
}

// === impl TraceConditions ===

impl TraceConditions {
    /// Returns the search.
    ///
    /// # Errors
    /// [`QueryError::Invalid`] names the field that is out of its range.
    pub(super) fn into_search(self) -> Result<SpanSearch, QueryError> {
        let duration = |name: &str, time: Option<ProtoTime>| {
            let duration = time.unwrap_or_default().duration();
            duration.ok_or_else(|| QueryError::Invalid(format!("{name} is negative")))
        };
        let least = duration("duration_min", self.duration_min)?;
        // Jaeger sends 0 for no maximum.
        let most = match duration("duration_max", self.duration_max)? {
            0 => u64::MAX,
            most => most,
        };
        if most < least {
            let message = "duration_max is less than duration_min";
            return Err(QueryError::Invalid(message.to_owned()));
        }
        let start = self.start_min.and_then(ProtoTime::timestamp);
        let end = self.start_max.and_then(ProtoTime::timestamp);
        let limit = match usize::try_from(self.search_depth) {
            Ok(0) => DEFAULT_LIMIT,
            Ok(depth) => depth.min(MAX_SEARCH_TRACES),
            Err(_) => {
                let message = "search_depth must be a number above 0, or 0 for the default";
                return Err(QueryError::Invalid(message.to_owned()));
            }
        };
        let some = |text: String| Some(text).filter(|text| !text.is_empty());
        Ok(SpanSearch {
            service: some(self.service),
            operation: some(self.operation),
            tags: self.tags,
            duration: least..=most,
            start: start.unwrap_or(0)..=end.unwrap_or(u64::MAX),
            limit,
            // Traces are returned whole, so their number alone would not bound the response.
            max_spans: MAX_SEARCH_SPANS,
        })
    }
}

/// Answers `GetServices` of both interfaces.
pub(super) fn services(store: &dyn Store) -> ServicesResponse {
    ServicesResponse {
        services: store.services(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conditions() -> TraceConditions {
        TraceConditions::default()
    }

    const fn seconds(seconds: i64) -> ProtoTime {
        ProtoTime { seconds, nanos: 0 }
    }

    #[test]
    fn times_outside_of_the_range_of_spans_are_its_bounds() {
        let at = |seconds: i64, nanos: i32| ProtoTime { seconds, nanos }.timestamp();
        assert_eq!(at(1, 5), Some(1_000_000_005));
        assert_eq!(at(0, 0), Some(0));
        assert_eq!(at(-1, 0), Some(0));
        assert_eq!(at(i64::MAX, i32::MAX), Some(u64::MAX));
        assert_eq!(at(GO_ZERO_SECONDS, 0), None, "Go's zero time");
        let time = ProtoTime::from_nanoseconds(u64::MAX);
        assert_eq!(time.timestamp(), Some(u64::MAX));
    }

    #[test]
    fn absent_conditions_match_everything_up_to_the_default_limit() {
        let search = conditions().into_search().unwrap();
        let expected = SpanSearch {
            limit: DEFAULT_LIMIT,
            max_spans: MAX_SEARCH_SPANS,
            ..SpanSearch::default()
        };
        assert_eq!(search, expected);
        let zero = TraceConditions {
            duration_max: Some(seconds(0)),
            start_max: Some(seconds(GO_ZERO_SECONDS)),
            ..conditions()
        };
        assert_eq!(zero.into_search().unwrap(), expected);
    }

    #[test]
    fn depths_are_limited_and_ranges_are_checked() {
        let deep = TraceConditions {
            search_depth: i32::MAX,
            ..conditions()
        };
        assert_eq!(deep.into_search().unwrap().limit, MAX_SEARCH_TRACES);
        let invalid = [
            TraceConditions {
                search_depth: -1,
                ..conditions()
            },
            TraceConditions {
                duration_min: Some(seconds(-1)),
                ..conditions()
            },
            TraceConditions {
                duration_min: Some(seconds(2)),
                duration_max: Some(seconds(1)),
                ..conditions()
            },
        ];
        for conditions in invalid {
            let text = format!("{conditions:?}");
            let error = conditions.into_search();
            assert!(matches!(error, Err(QueryError::Invalid(_))), "{text}");
        }
    }
}
