//! Names and values to complete a query with, from what is stored.

use serde::{Deserialize, Serialize};
use throughline_store::Store;
use utoipa::{IntoParams, ToSchema};

use super::parameter;
use super::{Failure, Refusal, to_json};

/// What is to be completed.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct CompleteParams {
    /// What is wanted.
    #[param(value_type = Wanted, required = true)]
    pub(crate) what: Option<String>,
    /// Of which attribute `values` are wanted: `http.route`, `span.http.route`, `resource.host.name`.
    pub(crate) key: Option<String>,
    /// Of which service `operations` are wanted; of all when absent.
    pub(crate) service: Option<String>,
    /// What the text contains, in any case; texts that begin with it come first.
    pub(crate) text: Option<String>,
    /// How many: 50 when not said, 1000 at most.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    pub(crate) limit: Option<String>,
}

/// What is wanted.
#[derive(Debug, Clone, Copy, ToSchema, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Wanted {
    /// Names of attributes, each with its scope: `span.http.route`.
    Keys,
    /// Values of the attribute `key`.
    Values,
    /// Services.
    Services,
    /// Names of spans.
    Operations,
    /// Topics.
    Topics,
}

/// What there is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CompleteAnswer {
    /// The most frequent first, after those that begin with the text asked for.
    pub(crate) items: Vec<Completion>,
    /// Whether there are others: more than `limit`, or more values than are listed of one attribute.
    pub(crate) more: bool,
}

/// A text that can stand there.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Completion {
    /// The text.
    pub(crate) text: String,
    /// In how many spans it stands, about; a resource counts once.
    pub(crate) count: u64,
}

/// What is asked of the store.
pub(super) fn question(
    params: &CompleteParams,
) -> Result<impl FnOnce(&dyn Store) -> Result<Vec<u8>, Failure> + use<>, Refusal> {
    let wanted = wanted(params)?;
    let limit = parameter::count("limit", params.limit.as_deref(), 1..=LIMIT_MAX)?.unwrap_or(LIMIT);
    let text = params.text.clone().unwrap_or_default();
    Ok(move |store: &dyn Store| {
        let completions = store.complete(&wanted, &text, limit);
        let items = completions
            .items
            .into_iter()
            .map(|(text, count)| Completion { text, count })
            .collect();
        to_json(&CompleteAnswer {
            items,
            more: completions.more,
        })
    })
}

fn wanted(params: &CompleteParams) -> Result<throughline_store::Wanted, Refusal> {
    use serde::de::IntoDeserializer as _;
    let text = parameter::text(params.what.as_deref()).unwrap_or_default();
    let wanted =
        Wanted::deserialize(text.into_deserializer()).map_err(|_: serde::de::value::Error| {
            Refusal::of(
                "what",
                format!("what is keys, values, services, operations or topics, not {text:?}"),
            )
        })?;
    Ok(match wanted {
        Wanted::Keys => throughline_store::Wanted::Keys,
        Wanted::Services => throughline_store::Wanted::Services,
        Wanted::Topics => throughline_store::Wanted::Topics,
        Wanted::Operations => throughline_store::Wanted::Operations(
            parameter::text(params.service.as_deref()).map(str::to_owned),
        ),
        Wanted::Values => {
            let key = parameter::text(params.key.as_deref());
            let key = key.ok_or_else(|| {
                Refusal::of(
                    "key",
                    "what=values needs the attribute too, as in key=http.route",
                )
            })?;
            throughline_store::Wanted::Values(key.to_owned())
        }
    })
}

/// Texts when nobody says how many.
const LIMIT: usize = 50;

const LIMIT_MAX: usize = 1000;
