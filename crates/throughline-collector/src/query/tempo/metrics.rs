//! Time series over spans, and single values of a whole range.

use axum::extract::{Query as QueryString, State};
use axum::response::Response;
use serde_json::{Value, json};
use throughline_query::{
    MetricSeries, MetricsError, MetricsExpression, MetricsRange, MetricsResult, ParsedQuery,
    QueryValue, evaluate_metrics, parse_traceql,
};

use super::super::query_params::QueryParams;
use super::super::state::{QueryError, QueryState, to_json};
use super::attribute_json::attribute;
use super::tempo_response::{invalid_query, respond};
use super::time_range::{self, SECOND};

/// Number of steps of a range for which the request names no step.
const DEFAULT_STEPS: u64 = 100;

/// Message of a result that lacks series.
const PARTIAL: &str = "the query has more series than are returned: group by fewer labels";

pub(super) async fn query_range(
    State(state): State<QueryState>,
    QueryString(params): QueryString<QueryParams>,
) -> Response {
    let body = state.run(move |store| {
        let expression = expression(&params)?;
        let (start, end) = time_range::range(&params)?;
        let step = time_range::step(&params)?
            .unwrap_or_else(|| (end.saturating_sub(start) / DEFAULT_STEPS).max(SECOND));
        let range = MetricsRange::covering(start, end, step);
        let result = evaluate_metrics(store, &expression, range, params.view()?).map_err(error)?;
        let name = expression.name();
        result_json(&result, |series| {
            let samples = series.samples.iter();
            let samples: Vec<Value> = samples
                .map(|sample| {
                    let time = (sample.time / 1_000_000).to_string();
                    json!({ "timestampMs": time, "value": sample.value })
                })
                .collect();
            let mut object = labels_json(series, name);
            object.insert("samples".to_owned(), samples.into());
            object.insert("exemplars".to_owned(), json!([]));
            object
        })
    });
    respond(body.await)
}

pub(super) async fn query(
    State(state): State<QueryState>,
    QueryString(params): QueryString<QueryParams>,
) -> Response {
    let body = state.run(move |store| {
        let expression = expression(&params)?;
        let (start, end) = time_range::range(&params)?;
        let range = MetricsRange::instant(start, end);
        let result = evaluate_metrics(store, &expression, range, params.view()?).map_err(error)?;
        let name = expression.name();
        result_json(&result, |series| {
            let mut object = labels_json(series, name);
            let value = series.samples.first().map(|sample| sample.value);
            object.insert("value".to_owned(), json!(value));
            object
        })
    });
    respond(body.await)
}

fn expression(params: &QueryParams) -> Result<MetricsExpression, QueryError> {
    let Some(text) = params.first(&["q", "query"]) else {
        return Err(QueryError::Invalid(
            "parameter q is required, as in q={} | rate()".to_owned(),
        ));
    };
    match parse_traceql(text).map_err(|error| invalid_query(&error))? {
        ParsedQuery::Metrics(expression) => Ok(expression),
        ParsedQuery::Spansets(_) | ParsedQuery::Span(_) | ParsedQuery::Trace(_) => {
            Err(QueryError::Invalid(
                "not a metrics query: add a function, as in {} | rate()".to_owned(),
            ))
        }
    }
}

fn error(error: MetricsError) -> QueryError {
    QueryError::Invalid(error.to_string())
}

fn result_json(
    result: &MetricsResult,
    series_json: impl Fn(&MetricSeries) -> serde_json::Map<String, Value>,
) -> Result<Vec<u8>, QueryError> {
    let series: Vec<Value> = result
        .series
        .iter()
        .map(|series| Value::Object(series_json(series)))
        .collect();
    let mut body = json!({ "series": series, "metrics": {} });
    if let Some(object) = body.as_object_mut().filter(|_| result.is_partial) {
        object.insert("status".to_owned(), json!("PARTIAL"));
        object.insert("message".to_owned(), json!(PARTIAL));
    }
    to_json(&body)
}

/// Returns the labels, also in Prometheus's notation, which older versions of Grafana read.
fn labels_json(series: &MetricSeries, name: &str) -> serde_json::Map<String, Value> {
    let own = [("__name__".to_owned(), QueryValue::Text(name.to_owned()))];
    let labels = if series.labels.is_empty() {
        own.as_slice()
    } else {
        series.labels.as_slice()
    };
    let prometheus: Vec<String> = labels
        .iter()
        .map(|(key, value)| format!("{key}={:?}", value.to_text()))
        .collect();
    let labels: Vec<Value> = labels
        .iter()
        .map(|(key, value)| attribute(key, value))
        .collect();
    let mut object = serde_json::Map::new();
    object.insert("labels".to_owned(), labels.into());
    let prometheus = format!("{{{}}}", prometheus.join(", "));
    object.insert("promLabels".to_owned(), prometheus.into());
    object
}
