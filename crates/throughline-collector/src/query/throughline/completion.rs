//! Completion of a query with names and values from the stored spans.

use serde::de::IntoDeserializer as _;
use serde::{Deserialize, Serialize};
use throughline_store::{CompletionKind, Store};
use utoipa::{IntoParams, ToSchema};

use super::api_error::ApiError;
use super::parameter;
use crate::query::state::{QueryError, to_json};

/// Default number of completions.
const DEFAULT_LIMIT: usize = 50;

/// Maximum number of completions.
const MAX_LIMIT: usize = 1000;

/// The parameters of a completion.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct CompletionParams {
    /// Kind of text to complete.
    #[param(value_type = CompletionSubject, required = true)]
    pub(crate) what: Option<String>,
    /// Attribute whose `values` to list: `http.route`, `span.http.route`, `resource.host.name`.
    pub(crate) key: Option<String>,
    /// Service whose `operations` to list; all services when absent.
    pub(crate) service: Option<String>,
    /// Text that the completions contain, ignoring case. Completions that begin with it come first.
    pub(crate) text: Option<String>,
    /// Maximum number of completions: 50 by default, 1000 at most.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    pub(crate) limit: Option<String>,
}

/// The kind of text to complete.
#[derive(Debug, Clone, Copy, ToSchema, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum CompletionSubject {
    /// Attribute names, each with its scope: `span.http.route`.
    Keys,
    /// Values of the attribute `key`.
    Values,
    /// Service names.
    Services,
    /// Span names.
    Operations,
    /// Topic names.
    Topics,
}

/// Completions of a text.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CompletionResponse {
    /// Completions that begin with the text first, then the most frequent.
    pub(crate) items: Vec<CompletionItem>,
    /// True when there are others: more than `limit`, or more values of the attribute than are
    /// listed.
    pub(crate) more: bool,
}

/// A completion.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CompletionItem {
    /// Completed text.
    pub(crate) text: String,
    /// Approximate number of spans that contain it; a resource counts once.
    pub(crate) count: u64,
}

/// Plans the query of a request.
pub(super) fn plan(
    params: &CompletionParams,
) -> Result<impl FnOnce(&dyn Store) -> Result<Vec<u8>, QueryError> + use<>, ApiError> {
    let kind = completion_kind(params)?;
    let limit = parameter::count("limit", params.limit.as_deref(), 1..=MAX_LIMIT)?;
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    let text = params.text.clone().unwrap_or_default();
    Ok(move |store: &dyn Store| {
        let completions = store.complete(&kind, &text, limit);
        let items = completions
            .items
            .into_iter()
            .map(|(text, count)| CompletionItem { text, count })
            .collect();
        to_json(&CompletionResponse {
            items,
            more: completions.more,
        })
    })
}

fn completion_kind(params: &CompletionParams) -> Result<CompletionKind, ApiError> {
    let text = parameter::text(params.what.as_deref()).unwrap_or_default();
    // Parsed by serde so that the names are those of the OpenAPI schema.
    let subject = CompletionSubject::deserialize(text.into_deserializer());
    let subject = subject.map_err(|_: serde::de::value::Error| {
        ApiError::invalid(
            "what",
            format!("`what` must be keys, values, services, operations or topics, not {text:?}"),
        )
    })?;
    Ok(match subject {
        CompletionSubject::Keys => CompletionKind::Keys,
        CompletionSubject::Services => CompletionKind::Services,
        CompletionSubject::Topics => CompletionKind::Topics,
        CompletionSubject::Operations => {
            let service = parameter::text(params.service.as_deref());
            CompletionKind::Operations(service.map(str::to_owned))
        }
        CompletionSubject::Values => {
            let key = parameter::text(params.key.as_deref());
            let key = key.ok_or_else(|| {
                let message = "`what=values` requires an attribute, as in key=http.route";
                ApiError::invalid("key", message)
            })?;
            CompletionKind::Values(key.to_owned())
        }
    })
}
