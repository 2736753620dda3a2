//! The door for queries: Jaeger's legacy JSON under `/api`, its OTLP JSON under `/api/v3`, our own under `/api/throughline`, health,
//! metrics and the UI.
//!
//! There are no CORS headers, so pages of strangers cannot read an answer; and where the door is on loopback, a request must name a
//! loopback host, so that a stranger's name that is made to resolve to us (DNS rebinding) does not help them either.

mod answers;
mod ids;
mod jaeger;
mod legacy;
mod params;
mod shared_span;
mod summary;
mod throughline;
mod v3;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, StatusCode};
use throughline_store::Store;
use tokio::sync::Semaphore;

use self::answers::Answers;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::ui;

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct Desk {
    store: Arc<dyn Store>,
    metrics: Arc<Metrics>,
    /// Places for queries: each may hold a large answer.
    places: Arc<Semaphore>,
    /// Memory for the answers that clients are still taking.
    answers: Answers,
    /// When this collector began, so that what another one counted is known for what it is.
    epoch: u64,
}

/// Why there is no answer, with words for the one who asks.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The question makes no sense.
    Bad(String),
    /// There is nothing of the kind.
    Missing(&'static str),
    /// Others are still taking too much of what they asked for.
    Busy,
    /// Our own fault.
    Internal,
}

/// The routes of the door.
pub(crate) fn router(store: Arc<dyn Store>, metrics: Arc<Metrics>, config: &Config) -> Router {
    let places = Arc::new(Semaphore::new(config.limits.queries_max));
    let desk = Desk {
        store,
        metrics,
        places,
        answers: Answers::new(config.limits.answers_max),
        epoch: params::now(),
    };
    let router = Router::new()
        .merge(legacy::routes())
        .merge(v3::routes())
        .merge(throughline::routes())
        .route("/healthz", get(async || "ok\n"))
        .route("/metrics", get(metrics_text))
        .fallback(ui::serve)
        .with_state(desk)
        .layer(middleware::map_response(async |mut response: Response| {
            response
                .headers_mut()
                .insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
            response
        }));
    if config.host.is_loopback() {
        router.layer(middleware::from_fn(loopback_names_only))
    } else {
        router
    }
}

async fn metrics_text(State(desk): State<Desk>) -> Response {
    let text = desk.metrics.render(desk.store.occupancy());
    (
        [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        text,
    )
        .into_response()
}

async fn loopback_names_only(request: Request, next: Next) -> Response {
    if names_this_machine(request.headers()) {
        next.run(request).await
    } else {
        let message = "this collector listens on loopback: ask for it as localhost or by address\n";
        (StatusCode::FORBIDDEN, message).into_response()
    }
}

/// Whether the host asked for is `localhost` or an address, neither of which a stranger's DNS can answer for.
fn names_this_machine(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST) else {
        return true;
    };
    let Ok(authority) = http::uri::Authority::try_from(host.as_bytes()) else {
        return false;
    };
    let name = authority
        .host()
        .trim_start_matches('[')
        .trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || name.to_ascii_lowercase().ends_with(".localhost")
        || name.parse::<std::net::IpAddr>().is_ok()
}

impl Desk {
    /// Has a question answered off the threads that serve connections.
    async fn ask<F>(&self, question: F) -> Result<Bytes, Failure>
    where
        F: FnOnce(&dyn Store) -> Result<Vec<u8>, Failure> + Send + 'static,
    {
        // The semaphore is never closed.
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        let store = Arc::clone(&self.store);
        let work = tokio::task::spawn_blocking(move || {
            let answer = question(&*store);
            drop(place);
            answer
        });
        self.answers
            .hold(work.await.unwrap_or(Err(Failure::Internal))?)
    }
}

impl Failure {
    /// The status and the words it is told with.
    fn told(self) -> (StatusCode, String) {
        match self {
            Self::Bad(message) => (StatusCode::BAD_REQUEST, message),
            Self::Missing(message) => (StatusCode::NOT_FOUND, message.to_owned()),
            Self::Busy => (
                StatusCode::SERVICE_UNAVAILABLE,
                "too many large answers are being read; ask again later".to_owned(),
            ),
            Self::Internal => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "the collector failed to answer".to_owned(),
            ),
        }
    }
}

/// JSON as bytes.
fn to_json(value: &impl serde::Serialize) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec(value).map_err(|_| Failure::Internal)
}

/// An answer in JSON.
fn json_response(status: StatusCode, body: impl Into<Body>) -> Response {
    let body: Body = body.into();
    (
        status,
        [(CONTENT_TYPE, HeaderValue::from_static("application/json"))],
        body,
    )
        .into_response()
}

/// Spans in all the traces of one answer to a search; no further trace is added past it.
const SEARCH_SPANS_MAX: usize = 200_000;

/// Traces in one answer to a search, whatever is asked for; Jaeger's UI asks for no more.
const SEARCH_TRACES_MAX: usize = 1500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_no_stranger_can_answer_for_are_served_on_loopback() {
        let named = |host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_str(host).unwrap());
            names_this_machine(&headers)
        };
        for host in [
            "localhost:16686",
            "127.0.0.1:16686",
            "[::1]:16686",
            "LOCALHOST",
            "traces.localhost",
        ] {
            assert!(named(host), "{host}");
        }
        for host in [
            "evil.example:16686",
            "localhost.evil.example",
            "notlocalhost",
            "",
        ] {
            assert!(!named(host), "{host}");
        }
    }
}
