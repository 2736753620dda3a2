//! Signatures of HTTP requests, for the statistics of the correlator.

use std::hash::{Hash, Hasher};

use super::description::known_method;
use crate::correlate::CallSignature;

/// Path segments that are part of a signature.
const MAX_SEGMENTS: usize = 4;
/// Longest segment that can be a word; a longer one is an id whatever its characters.
const MAX_WORD_BYTES: usize = 32;

/// Path of a request, hashed as a template: segments that look like ids are alike.
struct PathTemplate<'a>(&'a str);

/// Returns the signature of requests with this method, authority and path template. A query in
/// `target` is ignored.
#[must_use]
pub fn request_signature(method: &str, authority: &str, target: &str) -> CallSignature {
    // Unknown methods share a signature: clients must not be able to fill the statistics with them.
    let method = known_method(method).unwrap_or("HTTP");
    CallSignature::new(&("http", method, authority, PathTemplate(target)))
}

// === impl PathTemplate ===

impl Hash for PathTemplate<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let path = self.0.split(['?', '#']).next().unwrap_or_default();
        let segments = path.split('/').filter(|segment| !segment.is_empty());
        for segment in segments.take(MAX_SEGMENTS) {
            // Words rarely have digits, ids nearly always do.
            let has_digit = segment.bytes().any(|byte| byte.is_ascii_digit());
            let is_word = segment.len() <= MAX_WORD_BYTES && !has_digit;
            if is_word { segment } else { "{}" }.hash(state);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_in_a_path_share_a_signature_and_words_do_not() {
        let signature = |path| request_signature("GET", "inventory:8080", path);
        assert_eq!(
            signature("/orders/17?full=1"),
            signature("/orders/9f86d081")
        );
        assert_eq!(signature("/a/b/c/d/e"), signature("/a/b/c/d/f"));
        assert_ne!(signature("/orders/17"), signature("/orders"));
        assert_ne!(signature("/orders"), signature("/customers"));
        assert_ne!(
            signature("/orders"),
            request_signature("POST", "inventory:8080", "/orders")
        );
        assert_ne!(
            signature("/orders"),
            request_signature("GET", "billing:8080", "/orders")
        );
    }
}
