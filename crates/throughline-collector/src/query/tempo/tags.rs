//! Names and values of attributes, for the query builder.

use std::collections::BTreeMap;

use axum::extract::{Path, Query as QueryString, State};
use axum::response::Response;
use serde_json::{Value, json};
use throughline_query::{
    Candidates, ParsedQuery, QueryField, QueryValue, SearchRequest, ValueExpression, parse_field,
    parse_traceql, search_matches,
};
use throughline_store::{AttributeScope, CompletionKind, SpanField, Store, TraceQuery};

use super::super::query_params::QueryParams;
use super::super::state::{QueryError, QueryState, to_json};
use super::tempo_response::respond;

/// Default and maximum number of names or values.
const MAX_ITEMS: usize = 1000;

/// Number of the newest matching traces from which values are read when there is a query.
const FILTERED_TRACES: usize = 200;

/// Scopes of attributes.
const SCOPES: [&str; 5] = ["resource", "span", "event", "link", "instrumentation"];

/// Names without a scope that queries can use.
const INTRINSICS: [&str; 22] = [
    "duration",
    "event:name",
    "event:timeSinceStart",
    "instrumentation:name",
    "instrumentation:version",
    "kind",
    "link:spanID",
    "link:traceID",
    "name",
    "rootName",
    "rootServiceName",
    "span:duration",
    "span:kind",
    "span:name",
    "span:status",
    "span:statusMessage",
    "status",
    "statusMessage",
    "trace:duration",
    "trace:rootName",
    "trace:rootService",
    "traceDuration",
];

pub(super) async fn names(
    State(state): State<QueryState>,
    QueryString(params): QueryString<QueryParams>,
) -> Response {
    let body = state.run(move |store| {
        let mut names: Vec<String> = scopes(store, &params)?
            .into_iter()
            .flat_map(|(_, names)| names)
            .collect();
        names.sort_unstable();
        names.dedup();
        to_json(&json!({ "tagNames": names, "metrics": {} }))
    });
    respond(body.await)
}

pub(super) async fn scoped_names(
    State(state): State<QueryState>,
    QueryString(params): QueryString<QueryParams>,
) -> Response {
    let body = state.run(move |store| {
        let scopes = scopes(store, &params)?.into_iter();
        let scopes = scopes.map(|(name, tags)| json!({ "name": name, "tags": tags }));
        let scopes: Vec<Value> = scopes.collect();
        to_json(&json!({ "scopes": scopes, "metrics": {} }))
    });
    respond(body.await)
}

pub(super) async fn values(
    State(state): State<QueryState>,
    Path(tag): Path<String>,
    QueryString(params): QueryString<QueryParams>,
) -> Response {
    let body = state.run(move |store| {
        // The first version names attributes without a scope or a dot.
        let field = parse_field(&tag).or_else(|_| parse_field(&format!(".{tag}")));
        let values = match field {
            Ok(field) => field_values(store, &field, &params)?,
            Err(_) => Vec::new(),
        };
        let values: Vec<String> = values.into_iter().map(|(_, text)| text).collect();
        to_json(&json!({ "tagValues": values, "metrics": {} }))
    });
    respond(body.await)
}

pub(super) async fn typed_values(
    State(state): State<QueryState>,
    Path(tag): Path<String>,
    QueryString(params): QueryString<QueryParams>,
) -> Response {
    let body = state.run(move |store| {
        let field = parse_field(&tag).map_err(|error| {
            QueryError::Invalid(format!(
                "tag name is not valid intrinsic or scoped attribute: {}",
                error.message
            ))
        })?;
        let values = field_values(store, &field, &params)?.into_iter();
        let values = values.map(|(kind, value)| json!({ "type": kind, "value": value }));
        let values: Vec<Value> = values.collect();
        to_json(&json!({ "tagValues": values, "metrics": {} }))
    });
    respond(body.await)
}

/// Returns the names of each scope that the request asks for and that has any.
fn scopes(
    store: &dyn Store,
    params: &QueryParams,
) -> Result<Vec<(&'static str, Vec<String>)>, QueryError> {
    let wanted = params.parse(
        &["scope"],
        "resource, span, event, link, instrumentation, intrinsic, all or none",
        |text| {
            let is_known = matches!(text, "intrinsic" | "all" | "none") || SCOPES.contains(&text);
            is_known.then(|| text.to_owned())
        },
    )?;
    let limit = limit(params)?;
    let keys = store.complete(&CompletionKind::Keys, "", MAX_ITEMS);
    let mut by_scope: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (key, _) in &keys.items {
        if let Some((scope, name)) = key.split_once('.') {
            by_scope.entry(scope).or_default().push(name.to_owned());
        }
    }
    let intrinsics = INTRINSICS.into_iter().map(str::to_owned).collect();
    by_scope.insert("intrinsic", intrinsics);
    let is_wanted = |scope: &str| {
        wanted
            .as_deref()
            .is_none_or(|wanted| wanted == scope || matches!(wanted, "all" | "none"))
    };
    Ok(SCOPES
        .into_iter()
        .chain(["intrinsic"])
        .filter(|scope| is_wanted(scope))
        .filter_map(|scope| {
            let mut names = by_scope.remove(scope)?;
            names.sort_unstable();
            names.truncate(limit);
            Some((scope, names))
        })
        .collect())
}

fn limit(params: &QueryParams) -> Result<usize, QueryError> {
    let limit = params.parse(&["limit"], "a whole number", |text| text.parse().ok())?;
    Ok(match limit {
        // In Tempo, 0 means no limit.
        None | Some(0) => MAX_ITEMS,
        Some(limit) => limit.min(MAX_ITEMS),
    })
}

/// Returns the values of a field with their types.
fn field_values(
    store: &dyn Store,
    field: &QueryField,
    params: &QueryParams,
) -> Result<Vec<(&'static str, String)>, QueryError> {
    let limit = limit(params)?;
    let filter = params.first(&["q", "query"]);
    // An incomplete query, as it is while it is typed, does not filter.
    if let Some(Ok(ParsedQuery::Spansets(spansets))) = filter.map(parse_traceql)
        && !Candidates::of(&spansets).expression.matches_every_span()
    {
        let request = SearchRequest {
            query: TraceQuery {
                limit: FILTERED_TRACES,
                ..TraceQuery::default()
            },
            spansets: &spansets,
        };
        let expression = ValueExpression::Field(field.clone());
        let mut values = BTreeMap::new();
        search_matches(store, request, |trace, matched| {
            for at in matched.into_iter().flat_map(|set| set.spans) {
                if let Some(value) = trace
                    .value(&expression, at)
                    .filter(|_| values.len() < limit)
                {
                    values.insert(value.to_text(), type_of(&value, field));
                }
            }
        });
        return Ok(values
            .into_iter()
            .map(|(text, kind)| (kind, text))
            .collect());
    }
    match field {
        QueryField::Span(field) => Ok(listed_values(store, field, limit)),
        // Lists have no values of other spans.
        QueryField::Parent(_)
        | QueryField::ChildCount
        | QueryField::NestedSetLeft
        | QueryField::NestedSetRight
        | QueryField::NestedSetParent => Ok(Vec::new()),
    }
}

/// Returns all stored values of a field with their types.
fn listed_values(
    store: &dyn Store,
    field: &SpanField,
    limit: usize,
) -> Vec<(&'static str, String)> {
    let keywords = |words: &[&str]| {
        let words = words.iter().map(|word| ("keyword", (*word).to_owned()));
        words.collect()
    };
    let kind = match field {
        SpanField::Status => return keywords(&["error", "ok", "unset"]),
        SpanField::Kind => {
            return keywords(&[
                "client",
                "consumer",
                "internal",
                "producer",
                "server",
                "unspecified",
            ]);
        }
        SpanField::Name | SpanField::RootName => CompletionKind::Operations(None),
        SpanField::Service | SpanField::RootService => CompletionKind::Services,
        SpanField::Topic => CompletionKind::Topics,
        SpanField::Attribute(AttributeScope::Any, key) => CompletionKind::Values(key.clone()),
        SpanField::Attribute(scope, key) => {
            CompletionKind::Values(format!("{}.{key}", scope.name()))
        }
        SpanField::StartTime
        | SpanField::Duration
        | SpanField::StatusMessage
        | SpanField::Id
        | SpanField::ParentId
        | SpanField::TraceDuration
        | SpanField::TraceId
        | SpanField::EventName
        | SpanField::EventTime
        | SpanField::LinkTraceId
        | SpanField::LinkSpanId
        | SpanField::ScopeName
        | SpanField::ScopeVersion
        | SpanField::Partition
        | SpanField::Offset
        | SpanField::Group
        | SpanField::Lag
        | SpanField::QueueTime => return Vec::new(),
    };
    let is_text = !matches!(kind, CompletionKind::Values(_));
    let completions = store.complete(&kind, "", limit);
    let items = completions.items.into_iter();
    let typed = items.map(|(text, _)| (if is_text { "string" } else { guess_type(&text) }, text));
    typed.collect()
}

fn type_of(value: &QueryValue, field: &QueryField) -> &'static str {
    if matches!(field, QueryField::Span(SpanField::Status | SpanField::Kind)) {
        return "keyword";
    }
    match value {
        QueryValue::Integer(_) => "int",
        QueryValue::Number(_) => "float",
        QueryValue::Boolean(_) => "bool",
        QueryValue::Duration(_) => "duration",
        QueryValue::Nil | QueryValue::Text(_) => "string",
    }
}

/// Returns the type under which a listed value is written in a query. The list has texts only; a
/// number matches a text of the same digits, so the guess does not change what is found.
fn guess_type(text: &str) -> &'static str {
    if text.parse::<i64>().is_ok() {
        "int"
    } else if text.parse::<f64>().is_ok_and(f64::is_finite) {
        "float"
    } else if text.parse::<bool>().is_ok() {
        "bool"
    } else {
        "string"
    }
}
