//! The web UI, embedded in the binary.

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY};
use http::{Method, StatusCode};
use rust_embed::RustEmbed;

const INDEX: &str = "index.html";

/// Maximum number of slashes in the path of a page; our own pages have two.
const MAX_PAGE_DEPTH: usize = 8;

/// Content security policy: nothing from other origins and no inline script. Inline styles are
/// allowed for the position and width of bars. Pages of our own origin may frame the UI.
const SECURITY_POLICY: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; \
                               img-src 'self' data:; object-src 'none'; base-uri 'none'; \
                               form-action 'self'; frame-ancestors 'self'";

/// Page of a binary without the UI.
const PLACEHOLDER_PAGE: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
<title>Throughline</title><h1>Throughline</h1>\
<p>The collector runs, but this binary was built without the web UI. \
<code>cargo xtask ui</code> builds it; then build the collector again.</p>\
<p>Traces as JSON: <a href=\"./api/traces?limit=20\">the newest</a>, \
<a href=\"./api/services\">services</a>.</p>\n";

/// The output of `cargo xtask ui`, if it was run before the build.
#[derive(RustEmbed)]
#[folder = "../../ui/dist"]
#[allow_missing = true]
struct UiAssets;

/// Serves a file of the UI. The path of a page, which has no file, is answered with the index: it
/// shows all pages.
pub(crate) async fn serve(request: Request) -> Response {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, "GET, HEAD")]).into_response();
    }
    // Files are looked up by name among the embedded ones: a path with `..` finds none.
    let path = request.uri().path().trim_start_matches('/');
    // The index needs its URLs rewritten, whichever path asks for it.
    if let Some(file) = UiAssets::get(path).filter(|_| path != INDEX) {
        // Names of assets contain a hash of their content.
        let cache = if path.starts_with("assets/") {
            "public, max-age=31536000, immutable"
        } else {
            "no-cache"
        };
        return asset(path, cache, file.data);
    }
    // A path that looks like a file or an API call is not a page: an HTML response to a stale
    // asset or a mistyped call would only be reported later, as a syntax error.
    let depth = path.bytes().filter(|byte| *byte == b'/').count();
    if path.starts_with("api/")
        || path.starts_with("assets/")
        || path.contains('.')
        || depth > MAX_PAGE_DEPTH
    {
        return (StatusCode::NOT_FOUND, "not found\n").into_response();
    }
    let index = UiAssets::get(INDEX);
    let page = index.map_or_else(|| PLACEHOLDER_PAGE.as_bytes().into(), |file| file.data);
    let page = with_relative_urls(depth, &String::from_utf8_lossy(&page));
    asset(INDEX, "no-cache", page.into_bytes().into())
}

/// Returns the page with its URLs leading up from a page at this depth. They stay relative, so a
/// proxy that strips a base path needs no configuration here.
fn with_relative_urls(depth: usize, page: &str) -> String {
    if depth == 0 {
        page.to_owned()
    } else {
        page.replace("=\"./", &format!("=\"{}", "../".repeat(depth)))
    }
}

fn asset(path: &str, cache: &'static str, data: std::borrow::Cow<'static, [u8]>) -> Response {
    // A release build borrows the files from the binary; a debug build reads them from disk.
    let body = match data {
        std::borrow::Cow::Borrowed(bytes) => Body::from(bytes),
        std::borrow::Cow::Owned(bytes) => Body::from(bytes),
    };
    let headers = [
        (CONTENT_TYPE, media_type(path)),
        (CACHE_CONTROL, cache),
        (CONTENT_SECURITY_POLICY, SECURITY_POLICY),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_refers_to_its_files_from_every_depth() {
        let page = r#"<script src="./assets/a.js"></script><a href="https://x.example/">"#;
        for (depth, address) in [
            (0, "./assets/a.js"),
            (1, "../assets/a.js"),
            (2, "../../assets/a.js"),
        ] {
            assert_eq!(
                with_relative_urls(depth, page),
                page.replace("./assets/a.js", address),
                "{depth}"
            );
        }
    }
}
