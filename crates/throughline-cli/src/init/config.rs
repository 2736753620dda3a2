//! The parsed arguments: ports to redirect to, and connections to leave alone.

use throughline_intercept::http::Cidr;

use crate::args::init::InitArgs;

/// Default port of the sidecar's metrics and probes.
const METRICS_PORT: u16 = 19_091;

/// Redirection of one network namespace.
#[derive(Debug, Default)]
pub(super) struct RedirectConfig {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) outbound_port: u16,
    /// [`None`] leaves inbound connections alone.
    pub(super) inbound_port: Option<u16>,
    /// Ports and ranges, as nftables writes them.
    pub(super) exclude_outbound: Vec<String>,
    pub(super) exclude_inbound: Vec<String>,
    pub(super) exclude_ipv4: Vec<String>,
    pub(super) exclude_ipv6: Vec<String>,
}

/// Parses arguments and collects their errors.
#[derive(Debug, Default)]
struct InitParser {
    errors: Vec<String>,
}

// === impl RedirectConfig ===

impl RedirectConfig {
    /// Parses the arguments.
    ///
    /// # Errors
    /// Every error, each with its remedy.
    pub(super) fn parse(args: &InitArgs) -> Result<Self, Vec<String>> {
        let mut parser = InitParser::default();
        let inbound_port = (args.inbound_port.trim() != "off")
            .then(|| parser.port("--inbound-port", &args.inbound_port));
        let (exclude_ipv4, exclude_ipv6) = parser.networks(&args.exclude_networks);
        let config = Self {
            uid: parser.id("--uid", &args.uid),
            gid: parser.id("--gid", &args.gid),
            outbound_port: parser.port("--outbound-port", &args.outbound_port),
            inbound_port,
            exclude_outbound: parser.ports("--exclude-outbound", &args.exclude_outbound),
            exclude_inbound: parser.ports("--exclude-inbound", &args.exclude_inbound),
            exclude_ipv4,
            exclude_ipv6,
        };
        if config.inbound_port == Some(config.outbound_port) {
            parser.errors.push(
                "--inbound-port and --outbound-port are the same port; change one of them"
                    .to_owned(),
            );
        }
        if parser.errors.is_empty() {
            Ok(config)
        } else {
            Err(parser.errors)
        }
    }

    /// Returns the inbound ports that are not redirected: the sidecar's own, whose clients address
    /// it on purpose, and the configured ones.
    pub(super) fn all_excluded_inbound(&self) -> Vec<String> {
        let own = [
            self.inbound_port.unwrap_or_default(),
            METRICS_PORT,
            self.outbound_port,
        ];
        own.iter()
            .map(u16::to_string)
            .chain(self.exclude_inbound.iter().cloned())
            .collect()
    }

    /// Returns the networks of both families that are not redirected.
    pub(super) fn all_excluded_networks(&self) -> Vec<String> {
        [&*self.exclude_ipv4, &*self.exclude_ipv6].concat()
    }
}

// === impl InitParser ===

impl InitParser {
    fn id(&mut self, option: &str, text: &str) -> u32 {
        text.trim().parse().unwrap_or_else(|_| {
            // The kernel matches numbers; a name would need the passwd file of the image.
            let command = if option == "--gid" { "id -g" } else { "id -u" };
            self.errors.push(format!(
                "{option} {text:?} is not a number; give the one that {command} prints"
            ));
            0
        })
    }

    fn port(&mut self, option: &str, text: &str) -> u16 {
        text.trim()
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .unwrap_or_else(|| {
                self.errors.push(format!(
                    "{option} {text:?} is not a port; use a number from 1 to 65535"
                ));
                0
            })
    }

    /// Parses ports and ranges: `22,6000-6010`.
    fn ports(&mut self, option: &str, text: &str) -> Vec<String> {
        let mut ports = Vec::new();
        for part in list_items(text) {
            // A single port is a range of one.
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            match (first.trim().parse::<u16>(), last.trim().parse::<u16>()) {
                (Ok(first), Ok(last)) if first == last => ports.push(first.to_string()),
                (Ok(first), Ok(last)) if first < last => ports.push(format!("{first}-{last}")),
                _ => self.errors.push(format!(
                    "{option}: {part:?} is not a port or a range; write them as 22,6000-6010"
                )),
            }
        }
        ports
    }

    /// Parses networks, into those of IPv4 and those of IPv6.
    fn networks(&mut self, text: &str) -> (Vec<String>, Vec<String>) {
        let (mut ipv4, mut ipv6) = (Vec::new(), Vec::new());
        for part in list_items(text) {
            match part.parse::<Cidr>() {
                // nftables selects `ip` and `ip6` addresses in separate rules.
                Ok(_) if part.contains(':') => ipv6.push(part.to_owned()),
                Ok(_) => ipv4.push(part.to_owned()),
                Err(error) => self.errors.push(format!("--exclude-networks: {error}")),
            }
        }
        (ipv4, ipv6)
    }
}

fn list_items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
}
