//! Route templates, which give spans names of low cardinality.

use std::str::FromStr;

/// Path template such as `/orders/{id}`. A `*` at its end matches any rest of the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteTemplate(String);

/// Error for text that is not a route template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvalidRoute {
    /// It does not begin with a slash.
    NotAPath,
    /// It has a query.
    Query,
    /// It has a variable in the syntax of another router, such as `:id`.
    ForeignVariable,
    /// It has an opening brace without a closing one, or the reverse.
    UnbalancedBraces,
    /// It has a variable that is a part of a segment.
    PartialVariable,
    /// It has a variable without a name.
    UnnamedVariable,
    /// It has a `*` that is not at its end.
    InnerWildcard,
}

// === impl RouteTemplate ===

impl FromStr for RouteTemplate {
    type Err = InvalidRoute;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !text.starts_with('/') && text != "*" {
            return Err(InvalidRoute::NotAPath);
        }
        if text.contains(['?', '#']) {
            return Err(InvalidRoute::Query);
        }
        let path = text.strip_suffix('*').unwrap_or(text);
        if path.contains('*') {
            return Err(InvalidRoute::InnerWildcard);
        }
        path.split('/').try_for_each(check_segment)?;
        Ok(Self::new(text))
    }
}

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

/// Checks a segment of a template: it is a variable or a text, and not both.
fn check_segment(segment: &str) -> Result<(), InvalidRoute> {
    // `:id` and `<id>` are variables of other routers, and would match themselves only.
    let is_foreign = segment.starts_with(':')
        || (segment.starts_with('<') && segment.ends_with('>'))
        || (segment.starts_with('[') && segment.ends_with(']'));
    if is_foreign {
        return Err(InvalidRoute::ForeignVariable);
    }
    let (open, close) = (segment.matches('{').count(), segment.matches('}').count());
    match (
        open,
        close,
        segment
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}')),
    ) {
        (0, 0, _) => Ok(()),
        (1, 1, Some("" | "*")) => Err(InvalidRoute::UnnamedVariable),
        (1, 1, Some(_)) => Ok(()),
        (open, close, _) if open != close => Err(InvalidRoute::UnbalancedBraces),
        _ => Err(InvalidRoute::PartialVariable),
    }
}

// === impl InvalidRoute ===

/// The rest of a sentence that begins with the text.
impl std::fmt::Display for InvalidRoute {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NotAPath => "is not a path; write it as /orders/{id}",
            Self::Query => "has a query, which no route has; leave it out",
            Self::ForeignVariable => {
                "has a variable in the syntax of another router; write it as /orders/{id}"
            }
            Self::UnbalancedBraces => "has unbalanced braces; write a variable as /orders/{id}",
            Self::PartialVariable => {
                "has a variable that is not a whole segment; write it as /orders/{id}"
            }
            Self::UnnamedVariable => "has a variable without a name; write it as /orders/{id}",
            Self::InnerWildcard => {
                "has a * that is not at its end; write a variable segment as /orders/{id}"
            }
        })
    }
}

impl std::error::Error for InvalidRoute {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_that_would_match_nothing_are_rejected() {
        for valid in [
            "/",
            "/orders/{id}",
            "/static/*",
            "/u/{id}/*",
            "*",
            "/a:b",
            "/users/me",
        ] {
            assert_eq!(valid.parse(), Ok(RouteTemplate::new(valid)), "{valid}");
        }
        for (text, error) in [
            ("orders", InvalidRoute::NotAPath),
            ("", InvalidRoute::NotAPath),
            ("/orders?x=1", InvalidRoute::Query),
            ("/orders/:id", InvalidRoute::ForeignVariable),
            ("/orders/<int:id>", InvalidRoute::ForeignVariable),
            ("/orders/[id]", InvalidRoute::ForeignVariable),
            ("/x/{a", InvalidRoute::UnbalancedBraces),
            ("/x/a}", InvalidRoute::UnbalancedBraces),
            ("/x/{a}-{b}", InvalidRoute::PartialVariable),
            ("/x/v{a}", InvalidRoute::PartialVariable),
            ("/x/}a{", InvalidRoute::PartialVariable),
            ("/x/{}", InvalidRoute::UnnamedVariable),
            ("/a/*/b", InvalidRoute::InnerWildcard),
        ] {
            assert_eq!(text.parse::<RouteTemplate>(), Err(error), "{text}");
        }
    }

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
