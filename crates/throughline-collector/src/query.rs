//! The query endpoint: Jaeger's legacy JSON under `/api`, its OTLP JSON under `/api/v3`, Tempo's
//! API under `/tempo`, our own under `/api/throughline`, health, metrics and the UI. The queries of
//! gRPC are in [`grpc`], on a port of their own.
//!
//! Responses carry no CORS headers, so pages of other origins cannot read them. A listener on
//! loopback also requires a loopback host name or an allowed one, so a foreign name that resolves
//! to it (DNS rebinding) does not help either.

pub(crate) mod grpc;
mod jaeger;
mod query_params;
mod response_budget;
mod state;
mod tempo;
mod throughline;
mod trace_id;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::header::{CONTENT_TYPE, HOST, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, StatusCode};
use throughline_store::StoreOccupancy;

pub(crate) use self::state::QueryState;
use crate::config::{CollectorEndpoint, Config};
use crate::metrics::Metrics;
use crate::token_layer::require_query_token;
use crate::ui;

/// Returns the routes of the endpoint.
pub(crate) fn router(state: QueryState, config: &Config) -> Router {
    let router = Router::new()
        .merge(jaeger::routes())
        .merge(tempo::routes())
        .merge(throughline::routes())
        .route("/healthz", get(async || "ok\n"))
        .route("/metrics", get(metrics_text))
        .fallback(ui::serve)
        .with_state(state)
        .layer(middleware::map_response(async |mut response: Response| {
            response
                .headers_mut()
                .insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
            response
        }));
    guard(router, config)
}

/// Returns the routes of a collector that keeps no spans: health and metrics.
pub(crate) fn status_router(metrics: Arc<Metrics>, config: &Config) -> Router {
    let text = move || async move { prometheus(metrics.render(StoreOccupancy::default())) };
    let router = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/metrics", get(text))
        .fallback(async || {
            let message = "this collector forwards all spans and keeps none; query a collector \
                           that keeps them\n";
            (StatusCode::NOT_FOUND, message)
        });
    guard(router, config)
}

/// Returns the router with the checks of tokens and host names.
fn guard(router: Router, config: &Config) -> Router {
    let router = require_query_token(router, &config.access, CollectorEndpoint::Query);
    // Any other address is served under names that are not known here.
    if config.host.is_loopback() {
        let allowed: Arc<[String]> = config.allowed_hosts.clone().into();
        router.layer(middleware::from_fn_with_state(
            allowed,
            require_loopback_host,
        ))
    } else {
        router
    }
}

async fn metrics_text(State(state): State<QueryState>) -> Response {
    prometheus(state.render_metrics())
}

fn prometheus(text: String) -> Response {
    let media_type = "text/plain; version=0.0.4; charset=utf-8";
    ([(CONTENT_TYPE, media_type)], text).into_response()
}

async fn require_loopback_host(
    State(allowed): State<Arc<[String]>>,
    request: Request,
    next: Next,
) -> Response {
    if has_local_host(request.headers(), &allowed) {
        next.run(request).await
    } else {
        let message = "this collector listens on loopback: use localhost or an IP address as \
                       host, or allow this name with --allowed-host\n";
        (StatusCode::FORBIDDEN, message).into_response()
    }
}

/// Returns whether the host is `localhost` or an IP address, for neither of which foreign DNS can
/// answer, or one of the allowed names.
fn has_local_host(headers: &HeaderMap, allowed: &[String]) -> bool {
    // HTTP/1.0 and hand-written clients may omit the header; browsers never do.
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
    // RFC 6761, section 6.3: names below `.localhost` resolve to loopback as well.
    name.eq_ignore_ascii_case("localhost")
        || name.to_ascii_lowercase().ends_with(".localhost")
        || name.parse::<std::net::IpAddr>().is_ok()
        || allowed.iter().any(|own| own.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hosts_that_foreign_dns_cannot_answer_for_are_local() {
        let is_local = |host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_str(host).unwrap());
            has_local_host(&headers, &["shop.test".to_owned()])
        };
        for host in [
            "localhost:16686",
            "127.0.0.1:16686",
            "[::1]:16686",
            "LOCALHOST",
            "traces.localhost",
            "Shop.test:8080",
        ] {
            assert!(is_local(host), "{host}");
        }
        for host in [
            "evil.example:16686",
            "localhost.evil.example",
            "notlocalhost",
            "evil.shop.test",
            "",
        ] {
            assert!(!is_local(host), "{host}");
        }
    }
}
