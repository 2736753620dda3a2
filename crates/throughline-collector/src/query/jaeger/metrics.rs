//! Jaeger's metrics of services and operations: rate of calls, ratio of errors, latency quantiles.
//!
//! Jaeger reads them from a metrics store; here they are counted from the stored spans. Latencies
//! are those of the step before each time, calls and errors those of `ratePer` before it.

use axum::Router;
use axum::extract::{Path, Query as QueryString, State};
use axum::response::Response;
use axum::routing::get;
use http::StatusCode;
use serde_json::{Value, json};
use throughline_model::SpanKind;
use throughline_query::{
    GroupKey, MetricSample, MetricSeries, MetricsAggregate, MetricsExpression, MetricsFunction,
    MetricsRange, QueryField, SpanCondition, SpansetExpression, ValueExpression, evaluate_metrics,
};
use throughline_store::{SpanField, SpanFilter, Store, ValuePredicate, WeavingView};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::clock;
use crate::query::query_params::QueryParams;
use crate::query::state::{QueryError, QueryState, json_response, to_json};

/// Nanoseconds of a millisecond.
const MILLISECOND: u64 = 1_000_000;

/// Defaults of Jaeger, in milliseconds.
const DEFAULT_LOOKBACK: u64 = 3600 * 1000;
const DEFAULT_STEP: u64 = 5 * 1000;
const DEFAULT_RATE_PER: u64 = 600 * 1000;

/// The metrics, by their names in the path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ServiceMetric {
    Latencies,
    Calls,
    Errors,
}

/// A request for a metric.
struct MetricRequest {
    metric: ServiceMetric,
    spans: Vec<SpanFilter>,
    is_by_operation: bool,
    quantile: f64,
    range: MetricsRange,
    /// Steps that a rate covers.
    window: usize,
}

/// Returns the routes.
pub(super) fn routes() -> Router<QueryState> {
    Router::new()
        .route("/api/metrics/minstep", get(min_step))
        .route("/api/metrics/{metric}", get(metric))
}

/// The shortest useful step is a millisecond, because steps are counted exactly.
async fn min_step() -> Response {
    let body = json!({ "data": 1, "total": 0, "limit": 0, "offset": 0, "errors": null });
    json_response(StatusCode::OK, body.to_string())
}

async fn metric(
    State(state): State<QueryState>,
    Path(name): Path<String>,
    QueryString(params): QueryString<QueryParams>,
) -> Response {
    let body = state.run(move |store| {
        let metric = ServiceMetric::from_name(&name).ok_or(QueryError::NotFound(
            "the metrics are latencies, calls and errors",
        ))?;
        let request = MetricRequest::parse(metric, &params)?;
        to_json(&request.family(store)?)
    });
    super::legacy::respond(body.await)
}

// === impl MetricRequest ===

impl MetricRequest {
    fn parse(metric: ServiceMetric, params: &QueryParams) -> Result<Self, QueryError> {
        let number = |name: &'static str| {
            let expected = "a number of milliseconds above 0";
            params.parse(&[name], expected, |text| {
                text.parse::<u64>().ok().filter(|number| *number > 0)
            })
        };
        let services: Vec<SpanFilter> = params
            .all("service")
            .map(|service| SpanFilter::Is(SpanField::Service, ValuePredicate::equal(service)))
            .collect();
        if services.is_empty() {
            return Err(QueryError::Invalid(
                "parameter service is required; it may be repeated".to_owned(),
            ));
        }
        let mut kinds = Vec::new();
        for text in params.all("spanKind") {
            let short = text.strip_prefix("SPAN_KIND_").unwrap_or(text);
            let kind = SpanKind::from_name(short).and_then(SpanKind::name);
            let kind = kind.ok_or_else(|| {
                QueryError::Invalid(format!(
                    "parameter spanKind must be internal, server, client, producer or consumer, \
                     not {text:?}"
                ))
            })?;
            kinds.push(is_kind(kind));
        }
        if kinds.is_empty() {
            kinds.push(is_kind("server"));
        }
        let quantile = params.parse(&["quantile"], "a number from 0 to 1", |text| {
            text.parse().ok().filter(|it| (0.0..=1.0).contains(it))
        })?;
        if quantile.is_none() && metric == ServiceMetric::Latencies {
            return Err(QueryError::Invalid(
                "parameter quantile is required, as in quantile=0.95".to_owned(),
            ));
        }
        let end = number("endTs")?.unwrap_or_else(|| clock::now() / MILLISECOND);
        let lookback = number("lookback")?.unwrap_or(DEFAULT_LOOKBACK);
        let step = number("step")?.unwrap_or(DEFAULT_STEP);
        let rate_per = number("ratePer")?.unwrap_or(DEFAULT_RATE_PER);
        let window = match metric {
            ServiceMetric::Latencies => 1,
            ServiceMetric::Calls | ServiceMetric::Errors => rate_per.div_ceil(step).max(1),
        };
        // The first rate needs the spans of its window.
        let before = (window - 1).saturating_mul(step);
        let start = end.saturating_sub(lookback).saturating_sub(before);
        let nanoseconds = |milliseconds: u64| milliseconds.saturating_mul(MILLISECOND);
        let is_by_operation = params.parse(&["groupByOperation"], "true or false", |text| {
            text.parse().ok()
        })?;
        Ok(Self {
            metric,
            spans: vec![SpanFilter::Any(services), SpanFilter::Any(kinds)],
            is_by_operation: is_by_operation.unwrap_or(false),
            quantile: quantile.unwrap_or_default(),
            range: MetricsRange::covering(nanoseconds(start), nanoseconds(end), nanoseconds(step)),
            window: usize::try_from(window).unwrap_or(usize::MAX),
        })
    }

    /// Returns the metric in the form of Jaeger's `MetricFamily`.
    fn family(&self, store: &dyn Store) -> Result<Value, QueryError> {
        let mut series = match self.metric {
            ServiceMetric::Latencies => self.evaluate(
                store,
                &self.aggregate(
                    MetricsFunction::Quantile(field(SpanField::Duration), vec![self.quantile]),
                    false,
                ),
            )?,
            ServiceMetric::Calls => {
                self.evaluate(store, &self.aggregate(MetricsFunction::Rate, false))?
            }
            ServiceMetric::Errors => {
                self.evaluate(store, &self.aggregate(MetricsFunction::Count, true))?
            }
        };
        match self.metric {
            ServiceMetric::Latencies => {
                // Jaeger has latencies in milliseconds.
                let samples = series.iter_mut().flat_map(|it| &mut it.samples);
                samples.for_each(|sample| sample.value *= 1000.0);
            }
            ServiceMetric::Calls => {
                for series in &mut series {
                    let sums = window_sums(&series.samples, self.window);
                    #[expect(clippy::cast_precision_loss, reason = "a window is a small number")]
                    let window = self.window as f64;
                    let samples = series.samples.iter_mut().zip(sums);
                    samples.for_each(|(sample, sum)| sample.value = sum / window);
                }
            }
            ServiceMetric::Errors => {
                let calls = self.aggregate(MetricsFunction::Count, false);
                let calls = self.evaluate(store, &calls)?;
                series = self.error_ratios(&series, calls);
            }
        }
        let by = if self.is_by_operation {
            "service & operation"
        } else {
            "service"
        };
        let name = self.metric.family_name(self.is_by_operation);
        let help = format!("{} grouped by {by}", self.metric.description(self.quantile));
        let metrics: Vec<Value> = series.iter().map(|it| self.metric_json(it)).collect();
        Ok(json!({ "name": name, "type": "GAUGE", "help": help, "metrics": metrics }))
    }

    fn aggregate(&self, function: MetricsFunction, is_failed: bool) -> MetricsExpression {
        let mut spans = self.spans.clone();
        if is_failed {
            let failed = ValuePredicate::equal("error");
            spans.push(SpanFilter::Is(SpanField::Status, failed));
        }
        let mut by = vec![group(SpanField::Service, "service_name")];
        if self.is_by_operation {
            by.push(group(SpanField::Name, "operation"));
        }
        MetricsExpression::Aggregate(Box::new(MetricsAggregate {
            spansets: SpansetExpression::Filter(SpanCondition::Filter(SpanFilter::All(spans))),
            function,
            by,
        }))
    }

    fn evaluate(
        &self,
        store: &dyn Store,
        expression: &MetricsExpression,
    ) -> Result<Vec<MetricSeries>, QueryError> {
        // Counted per span: it does not matter which traces are one.
        evaluate_metrics(store, expression, self.range, WeavingView::Raw)
            .map(|result| result.series)
            .map_err(|error| QueryError::Invalid(error.to_string()))
    }

    /// Divides the errors of each window by its calls; a series without errors is zero.
    fn error_ratios(&self, errors: &[MetricSeries], calls: Vec<MetricSeries>) -> Vec<MetricSeries> {
        let mut ratios = calls;
        for series in &mut ratios {
            let own = errors.iter().find(|it| it.labels == series.labels);
            let errors = own.map_or_else(Vec::new, |own| window_sums(&own.samples, self.window));
            let calls = window_sums(&series.samples, self.window);
            let samples = series.samples.iter_mut().zip(calls).enumerate();
            for (at, (sample, calls)) in samples {
                let errors = errors.get(at).copied().unwrap_or_default();
                sample.value = if calls > 0.0 { errors / calls } else { 0.0 };
            }
        }
        ratios
    }

    fn metric_json(&self, series: &MetricSeries) -> Value {
        let names = ["service_name", "operation"];
        let labels = series.labels.iter().zip(names);
        let labels: Vec<Value> = labels
            .take(1 + usize::from(self.is_by_operation))
            .map(|((_, value), name)| json!({ "name": name, "value": value.to_text() }))
            .collect();
        let points: Vec<Value> = series
            .samples
            .iter()
            // The steps before the range are there for the first rate only.
            .skip(self.window - 1)
            .map(|sample| {
                json!({
                    "gaugeValue": { "doubleValue": sample.value },
                    "timestamp": timestamp(sample.time),
                })
            })
            .collect();
        json!({ "labels": labels, "metricPoints": points })
    }
}

fn is_kind(kind: &str) -> SpanFilter {
    SpanFilter::Is(SpanField::Kind, ValuePredicate::equal(kind))
}

const fn field(field: SpanField) -> ValueExpression {
    ValueExpression::Field(QueryField::Span(field))
}

fn group(own: SpanField, label: &str) -> GroupKey {
    GroupKey {
        value: field(own),
        label: label.to_owned(),
    }
}

/// Returns, for each sample, the sum of it and of those before it in the window.
fn window_sums(samples: &[MetricSample], window: usize) -> Vec<f64> {
    let mut sum = 0.0;
    let mut sums = Vec::with_capacity(samples.len());
    for (at, sample) in samples.iter().enumerate() {
        sum += sample.value;
        if let Some(left) = at.checked_sub(window).and_then(|left| samples.get(left)) {
            sum -= left.value;
        }
        sums.push(sum.max(0.0));
    }
    sums
}

fn timestamp(nanoseconds: u64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(nanoseconds))
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_default()
}

// === impl ServiceMetric ===

impl ServiceMetric {
    fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "latencies" => Self::Latencies,
            "calls" => Self::Calls,
            "errors" => Self::Errors,
            _ => return None,
        })
    }

    const fn family_name(self, is_by_operation: bool) -> &'static str {
        match (self, is_by_operation) {
            (Self::Latencies, false) => "service_latencies",
            (Self::Latencies, true) => "service_operation_latencies",
            (Self::Calls, false) => "service_call_rate",
            (Self::Calls, true) => "service_operation_call_rate",
            (Self::Errors, false) => "service_error_rate",
            (Self::Errors, true) => "service_operation_error_rate",
        }
    }

    fn description(self, quantile: f64) -> String {
        match self {
            Self::Latencies => format!("{quantile}th quantile latency,"),
            Self::Calls => "calls/sec,".to_owned(),
            Self::Errors => {
                "error rate, computed as a fraction of errors/sec over calls/sec,".to_owned()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_slides_over_the_samples() {
        let samples = [1.0, 2.0, 0.0, 4.0].map(|value| MetricSample { time: 0, value });
        assert_eq!(window_sums(&samples, 1), [1.0, 2.0, 0.0, 4.0]);
        assert_eq!(window_sums(&samples, 2), [1.0, 3.0, 2.0, 4.0]);
        assert_eq!(window_sums(&samples, 9), [1.0, 3.0, 3.0, 7.0]);
    }
}
