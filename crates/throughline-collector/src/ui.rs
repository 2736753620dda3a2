//! The web UI, embedded in the binary.

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY};
use http::{Method, StatusCode};
use rust_embed::RustEmbed;

/// What `cargo xtask ui` built, if it did.
#[derive(RustEmbed)]
#[folder = "../../ui/dist"]
#[allow_missing = true]
struct Assets;

/// Serves a file of the UI. Paths of pages, which have no file, get the one page that shows them all.
pub(crate) async fn serve(request: Request) -> Response {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, "GET, HEAD")]).into_response();
    }
    let path = request.uri().path().trim_start_matches('/');
    if let Some(file) = Assets::get(path).filter(|_| path != INDEX) {
        // Names of assets carry a hash of their content.
        let cache = if path.starts_with("assets/") {
            "public, max-age=31536000, immutable"
        } else {
            "no-cache"
        };
        return asset(path, cache, file.data);
    }
    // What looks like a file or a call is not a page: a stale asset or a mistyped call must not be answered with HTML.
    let steps = path.bytes().filter(|byte| *byte == b'/').count();
    if path.starts_with("api/")
        || path.starts_with("assets/")
        || path.contains('.')
        || steps > STEPS_MAX
    {
        return (StatusCode::NOT_FOUND, "not found\n").into_response();
    }
    let page = Assets::get(INDEX).map_or_else(|| NOT_BUILT.as_bytes().into(), |file| file.data);
    asset(
        INDEX,
        "no-cache",
        addressed_from(steps, &String::from_utf8_lossy(&page))
            .into_bytes()
            .into(),
    )
}

/// The page as it is served so many folders down: the addresses in it lead up to the one that everything is served from. They are
/// relative, so behind a proxy that strips a base path nobody needs to know it.
fn addressed_from(steps: usize, page: &str) -> String {
    if steps == 0 {
        page.to_owned()
    } else {
        page.replace("=\"./", &format!("=\"{}", "../".repeat(steps)))
    }
}

fn asset(path: &str, cache: &'static str, data: std::borrow::Cow<'static, [u8]>) -> Response {
    let body = match data {
        std::borrow::Cow::Borrowed(bytes) => Body::from(bytes),
        std::borrow::Cow::Owned(bytes) => Body::from(bytes),
    };
    let headers = [
        (CONTENT_TYPE, media_type(path)),
        (CACHE_CONTROL, cache),
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "no-referrer"),
    ];
    (headers, body).into_response()
}

fn media_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("json" | "map") => "application/json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        Some("woff2") => "font/woff2",
        Some("wasm") => "application/wasm",
        _ => "application/octet-stream",
    }
}

const INDEX: &str = "index.html";

/// Folders that a page may be down; ours are two at most.
const STEPS_MAX: usize = 8;

/// Nothing from elsewhere, no inline script; styles may be inline, for a bar's place and width. Pages of our own origin may frame it.
const POLICY: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; \
                      base-uri 'none'; form-action 'self'; frame-ancestors 'self'";

const NOT_BUILT: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Throughline</title>\
<h1>Throughline</h1><p>The collector runs, but this binary was built without the web UI. \
<code>cargo xtask ui</code> builds it; then build the collector again.</p>\
<p>Traces as JSON: <a href=\"./api/traces?limit=20\">the newest</a>, <a href=\"./api/services\">services</a>.</p>\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_finds_its_files_from_every_depth_and_below_every_base_path() {
        let page = r#"<script src="./assets/a.js"></script><a href="https://x.example/">"#;
        for (steps, address) in [
            (0, "./assets/a.js"),
            (1, "../assets/a.js"),
            (2, "../../assets/a.js"),
        ] {
            assert_eq!(
                addressed_from(steps, page),
                page.replace("./assets/a.js", address),
                "{steps}"
            );
        }
    }
}
