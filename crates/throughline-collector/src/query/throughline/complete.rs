//! Names and values to complete a query with, from what is stored.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

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
#[derive(Debug, Clone, Copy, ToSchema)]
#[schema(rename_all = "lowercase")]
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
