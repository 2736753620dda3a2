//! Route templates, which give spans names of low cardinality.

/// Path template such as `/orders/{id}`. A `*` at its end matches any rest of the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteTemplate(String);

// === impl RouteTemplate ===

impl RouteTemplate {
    /// Creates a template. Segments in braces are variables; all other text matches itself.
    #[must_use]
    pub fn new(template: &str) -> Self {
        Self(template.to_owned())
    }

    /// Returns the template, as in `http.route` and `url.template`.
    #[must_use]
    pub fn template(&self) -> &str {
        &self.0
    }

    /// Returns whether a path without query matches.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        let (template, has_rest) = self
            .0
            .strip_suffix('*')
            .map_or((&*self.0, false), |rest| (rest, true));
        // Without variables the template is a plain prefix.
        if has_rest && !template.contains('{') {
            return path.starts_with(template);
        }
        let mut segments = path.split('/');
        let mut parts = template.split('/').peekable();
        while let Some(part) = parts.next() {
            if has_rest && part.is_empty() && parts.peek().is_none() {
                // The slash before `*` must be there, the rest after it may be empty.
                return segments.next().is_some();
            }
            let is_variable = part.starts_with('{') && part.ends_with('}');
            if !segments.next().is_some_and(|segment| {
                if is_variable {
                    !segment.is_empty()
                } else {
                    segment == part
                }
            }) {
                return false;
            }
        }
        segments.next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn route_matches_whole_paths() {
        let matches = |route: &str, path| RouteTemplate::new(route).matches(path);
        assert!(
            matches("/checkout", "/checkout")
                && !matches("/checkout", "/checkout/1")
                && !matches("/checkout", "/")
        );
        assert!(matches("/orders/{id}", "/orders/17") && !matches("/orders/{id}", "/orders/"));
        assert!(
            !matches("/orders/{id}", "/orders/17/lines")
                && matches("/orders/{id}/lines", "/orders/17/lines")
        );
        assert!(
            matches("/static/*", "/static/a/b")
                && matches("*", "/anything")
                && !matches("/static/*", "/statics")
        );
        assert!(
            matches("/u/{id}/*", "/u/1/x/y")
                && !matches("/u/{id}/*", "/v/1/x")
                && !matches("/u/{id}/*", "/u/1")
        );
    }
}
