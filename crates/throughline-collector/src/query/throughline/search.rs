//! Finds traces: a page of summaries, in the order asked for.

use serde::{Deserialize, Serialize};
use throughline_model::TraceId;
use throughline_store::{Expression, Field, Filter, Find, Place, Store, Test};
use utoipa::{IntoParams, ToSchema};

use super::language::{self, Asked};
use super::live::Cursor;
use super::parameter;
use super::summary::TraceSummary;
use super::{Failure, Refusal, to_json};

/// What is looked for. Service, operation, errors and the `key=value` pairs of `q` must hold together on *one span* of a trace; topic,
/// durations and times are those of the *whole trace*; a TraceQL query in `q` must hold besides.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct SearchParams {
    /// A query: TraceQL (`{ span.http.response.status_code >= 500 } && { topic = "orders" }`), logfmt (`http.route=/pay error=true`), or a
    /// bare trace id or span id.
    pub(crate) q: Option<String>,
    /// The trace started then or later: microseconds since the Unix epoch.
    #[param(value_type = Option<u64>)]
    pub(crate) start: Option<String>,
    /// The trace started then or earlier: microseconds since the Unix epoch.
    #[param(value_type = Option<u64>)]
    pub(crate) end: Option<String>,
    /// The service that made the span.
    pub(crate) service: Option<String>,
    /// The span's name.
    pub(crate) operation: Option<String>,
    /// The trace took at least so long: `100ms`, `1.5s`, or a number of microseconds.
    pub(crate) min_duration: Option<String>,
    /// The trace took at most so long.
    pub(crate) max_duration: Option<String>,
    /// `true`: the span failed.
    #[param(value_type = Option<bool>)]
    pub(crate) errors: Option<String>,
    /// A message of the trace went through this topic.
    pub(crate) topic: Option<String>,
    /// What comes first.
    #[param(value_type = Option<Order>)]
    pub(crate) order: Option<String>,
    /// Traces on a page: 20 when not said, 1500 at most.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1500)]
    pub(crate) limit: Option<String>,
    /// `next` of the page before; everything else must be asked for as it was.
    pub(crate) cursor: Option<String>,
}

/// What comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum Order {
    /// The trace that started last. The default.
    Newest,
    /// The trace that took longest.
    Duration,
    /// The trace with most spans.
    Spans,
    /// The trace with most failed spans.
    Errors,
}

/// A page of what was found.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SearchAnswer {
    /// The traces, in the order asked for.
    pub(crate) traces: Vec<TraceSummary>,
    /// The `cursor` of the next page; null when this is the last.
    pub(crate) next: Option<String>,
    /// How many traces match on all pages together; null when finding out would have taken longer than the page.
    pub(crate) total: Option<u64>,
    /// The `since` to ask `/api/throughline/live` with for what comes after this answer.
    pub(crate) live: String,
}

/// What is asked of the store.
pub(super) fn question(
    params: &SearchParams,
    epoch: u64,
) -> Result<impl FnOnce(&dyn Store) -> Result<Vec<u8>, Failure> + use<>, Refusal> {
    let order = order(params.order.as_deref())?;
    let min = parameter::duration("min_duration", params.min_duration.as_deref())?.unwrap_or(0);
    let max =
        parameter::duration("max_duration", params.max_duration.as_deref())?.unwrap_or(u64::MAX);
    if max < min {
        return Err(Refusal::of(
            "max_duration",
            "max_duration is less than min_duration: exchange them",
        ));
    }
    let start = parameter::time("start", params.start.as_deref())?.unwrap_or(0);
    let end = parameter::time_until("end", params.end.as_deref())?.unwrap_or(u64::MAX);
    let find = Find {
        expression: expression(params)?,
        topic: parameter::text(params.topic.as_deref()).map(str::to_owned),
        duration: min..=max,
        start: start..=end,
        order: order.into(),
        limit: parameter::count(
            "limit",
            params.limit.as_deref(),
            1..=super::super::SEARCH_TRACES_MAX,
        )?
        .unwrap_or(LIMIT),
        after: parameter::text(params.cursor.as_deref())
            .map(|cursor| place(order, cursor))
            .transpose()?,
    };
    Ok(move |store: &dyn Store| {
        let live = Cursor {
            epoch,
            moment: store.changes(u64::MAX).now,
        };
        let found = store.find(&find);
        to_json(&SearchAnswer {
            traces: found.traces.iter().map(TraceSummary::from).collect(),
            next: found.next.map(|place| cursor(order, place)),
            total: found.total,
            live: live.to_string(),
        })
    })
}

/// What the form asks of one span, and what the query line asks besides.
fn expression(params: &SearchParams) -> Result<Option<Expression>, Refusal> {
    let mut span = Vec::new();
    let mut trace = Vec::new();
    for (field, value) in [
        (Field::Service, &params.service),
        (Field::Name, &params.operation),
    ] {
        span.extend(
            parameter::text(value.as_deref()).map(|value| Filter::Is(field, Test::equal(value))),
        );
    }
    if parameter::truth("errors", params.errors.as_deref())? {
        span.push(Filter::Is(Field::Status, Test::equal("error")));
    }
    match language::parse(params.q.as_deref().unwrap_or_default()) {
        Ok(None) => {}
        Ok(Some(Asked::Span(filter))) => span.push(filter),
        Ok(Some(Asked::Trace(expression))) => trace.push(expression),
        Err(mistake) => {
            let refusal = Refusal::of("q", mistake.message);
            return Err(Refusal {
                position: Some(mistake.position),
                ..refusal
            });
        }
    }
    if !span.is_empty() {
        trace.push(Expression::Spans(Filter::All(span)));
    }
    Ok((!trace.is_empty()).then_some(Expression::All(trace)))
}

fn order(text: Option<&str>) -> Result<Order, Refusal> {
    let Some(text) = parameter::text(text) else {
        return Ok(Order::Newest);
    };
    let known = Order::ALL.into_iter().find(|order| order.name() == text);
    known.ok_or_else(|| {
        Refusal::of(
            "order",
            format!("order is newest, duration, spans or errors, not {text:?}"),
        )
    })
}

/// A place as text that goes into a URL.
fn cursor(order: Order, place: Place) -> String {
    format!(
        "{}.{:x}.{:x}.{}",
        order.name(),
        place.value,
        place.start,
        place.id
    )
}

fn place(order: Order, text: &str) -> Result<Place, Refusal> {
    let read = || {
        let rest = text.strip_prefix(order.name())?.strip_prefix('.')?;
        let (value, rest) = rest.split_once('.')?;
        let (start, id) = rest.split_once('.')?;
        let number = |text| u64::from_str_radix(text, 16).ok();
        Some(Place {
            value: number(value)?,
            start: number(start)?,
            id: TraceId::from_hex(id)?,
        })
    };
    read().ok_or_else(|| {
        let message =
            "cursor is `next` of an answer to the same question in the same order; leave it out for the first page";
        Refusal::of("cursor", message)
    })
}

// === impl Order ===

impl Order {
    const ALL: [Self; 4] = [Self::Newest, Self::Duration, Self::Spans, Self::Errors];

    const fn name(self) -> &'static str {
        match self {
            Self::Newest => "newest",
            Self::Duration => "duration",
            Self::Spans => "spans",
            Self::Errors => "errors",
        }
    }
}

impl From<Order> for throughline_store::Order {
    fn from(order: Order) -> Self {
        match order {
            Order::Newest => Self::Newest,
            Order::Duration => Self::Duration,
            Order::Spans => Self::Spans,
            Order::Errors => Self::Errors,
        }
    }
}

/// Traces on a page when nobody says.
const LIMIT: usize = 20;
