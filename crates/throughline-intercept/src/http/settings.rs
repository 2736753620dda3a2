//! What the user decides about HTTP.

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use throughline_model::context::Format;
use throughline_model::{Resource, Scope};

/// How exchanges are traced. Shared by all of them, replaced as a whole when the configuration is read again.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Who the spans say they are of.
    pub resource: Arc<Resource>,
    /// The instrumentation that the spans are from.
    pub scope: Arc<Scope>,
    /// The formats in which contexts are looked for; the first that holds one wins.
    pub read: Vec<Format>,
    /// The formats in which contexts are written, whether or not they stood there.
    pub write: Vec<Format>,
    /// Of the traces that begin here, the part that is recorded: 0.0 to 1.0.
    pub sample_ratio: f64,
    /// Whose contexts are continued.
    pub trust: Trust,
    /// Routes of this service, which name SERVER spans. The first that matches holds.
    pub routes: Vec<Route>,
    /// Routes of others, which name CLIENT spans.
    pub templates: Vec<Route>,
    /// Whether a request without `x-request-id` gets one.
    pub request_id: bool,
    /// Longer values of attributes are cut off, in bytes.
    pub max_attribute_bytes: usize,
}

/// Whose contexts are continued in inbound requests. Those of others are linked to, no more: the trace begins here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Trust {
    /// Nobody's: the service stands at the edge.
    Never,
    #[default]
    Always,
    /// Of those who connect from these networks.
    From(Vec<Cidr>),
}

/// A network: `10.0.0.0/8`, `fd00::/8`, `192.0.2.7`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    prefix: u32,
}

/// It is no network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidCidr(String);

/// A path with variable segments, such as `/orders/{id}`; `*` at its end stands for any rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route(String);

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self {
            resource: Arc::default(),
            scope: Arc::new(Scope {
                name: env!("CARGO_PKG_NAME").to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                attributes: Vec::new(),
            }),
            read: Format::contexts().collect(),
            write: vec![Format::W3c],
            sample_ratio: 1.0,
            trust: Trust::default(),
            routes: Vec::new(),
            templates: Vec::new(),
            request_id: true,
            max_attribute_bytes: 4096,
        }
    }
}

// === impl Trust ===

impl Trust {
    pub(super) fn admits(&self, peer: Option<IpAddr>) -> bool {
        match self {
            Self::Never => false,
            Self::Always => true,
            Self::From(networks) => {
                peer.is_some_and(|peer| networks.iter().any(|network| network.contains(peer)))
            }
        }
    }
}

// === impl Cidr ===

impl Cidr {
    /// Whether the address is of this network. An IPv4 address that came through an IPv6 socket is an IPv4 address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                u64::from(network.to_bits() ^ address.to_bits()) >> (32 - self.prefix) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let differs = network.to_bits() ^ address.to_bits();
                differs.checked_shr(128 - self.prefix).unwrap_or(0) == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl FromStr for Cidr {
    type Err = InvalidCidr;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidCidr(text.to_owned());
        let (address, prefix) = text
            .split_once('/')
            .map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(|_| invalid())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(most), str::parse).map_err(|_| invalid())?;
        if prefix <= most {
            Ok(Self { address, prefix })
        } else {
            Err(invalid())
        }
    }
}

// === impl InvalidCidr ===

impl std::fmt::Display for InvalidCidr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "'{}' is no network: give it as 10.0.0.0/8 or fd00::/8",
            self.0
        )
    }
}

impl std::error::Error for InvalidCidr {}

// === impl Route ===

impl Route {
    /// Any text is one: what is not in braces stands for itself.
    #[must_use]
    pub fn new(template: &str) -> Self {
        Self(template.to_owned())
    }

    /// The template, as spans have it.
    #[must_use]
    pub fn template(&self) -> &str {
        &self.0
    }

    /// Whether the path, without its query, is of this route.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        let (template, has_rest) = self
            .0
            .strip_suffix('*')
            .map_or((&*self.0, false), |rest| (rest, true));
        if has_rest && !template.contains('{') {
            return path.starts_with(template);
        }
        let mut segments = path.split('/');
        let mut parts = template.split('/').peekable();
        while let Some(part) = parts.next() {
            if has_rest && part.is_empty() && parts.peek().is_none() {
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
    fn a_network_contains_its_addresses() {
        let contains = |network: &str, address: &str| {
            network
                .parse::<Cidr>()
                .unwrap()
                .contains(address.parse().unwrap())
        };
        assert!(contains("10.0.0.0/8", "10.255.0.1") && !contains("10.0.0.0/8", "11.0.0.1"));
        assert!(
            contains("10.0.0.0/8", "::ffff:10.1.2.3"),
            "an IPv4 address on an IPv6 socket"
        );
        assert!(contains("0.0.0.0/0", "1.2.3.4") && !contains("0.0.0.0/0", "::1"));
        assert!(contains("192.0.2.7", "192.0.2.7") && !contains("192.0.2.7", "192.0.2.6"));
        assert!(contains("fd00::/8", "fdff::1") && !contains("fd00::/8", "fe80::1"));
        assert!(
            contains("::/0", "2001:db8::1") && contains("::1", "::1") && !contains("::1", "::2")
        );
    }

    #[test]
    fn what_is_no_network_is_refused_with_the_mend() {
        for bad in [
            "",
            "10.0.0.0/33",
            "10.0.0/8",
            "fd00::/129",
            "10.0.0.0/",
            "10.0.0.0/-1",
            "host/8",
        ] {
            let error = bad.parse::<Cidr>().unwrap_err();
            assert!(
                error.to_string().contains("give it as 10.0.0.0/8"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_route_matches_whole_paths() {
        let matches = |route: &str, path| Route::new(route).matches(path);
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
