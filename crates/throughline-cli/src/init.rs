//! `throughline init`: has the system turn a pod's connections towards the sidecar in it, by nftables.
//!
//! Everything is one table of its own, so that it is replaced and taken away as a whole, and in one step, whatever else there is.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use throughline_intercept::http::Cidr;

use crate::Failure;
use crate::args::Init;

/// What is to be redirected, and what is not.
#[derive(Debug)]
struct Plan {
    uid: u32,
    gid: u32,
    outbound: u16,
    inbound: Option<u16>,
    exclude_outbound: Vec<String>,
    exclude_inbound: Vec<String>,
    /// Of IPv4, and of IPv6.
    exclude_networks: (Vec<String>, Vec<String>),
}

/// What is wrong with the arguments so far.
#[derive(Debug, Default)]
struct Mistakes(Vec<String>);

/// Sets up the rules, or takes them away.
pub(crate) fn run(args: &Init) -> Result<(), Failure> {
    let plan = Plan::of(args).map_err(Failure::Usage)?;
    let rules = if args.undo {
        GONE.to_owned()
    } else {
        plan.rules()
    };
    if args.print {
        let mut out = std::io::stdout().lock();
        return Ok(out
            .write_all(rules.as_bytes())
            .context("cannot print the rules")?);
    }
    Ok(apply(&rules)?)
}

/// All in one transaction: the rules hold as a whole, or those before do.
fn apply(rules: &str) -> anyhow::Result<()> {
    let mut nft = Command::new("nft");
    nft.args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut nft = nft
        .spawn()
        .context("cannot start nft; on Debian: apt-get install nftables")?;
    // When nft has ended early, it says why itself.
    nft.stdin
        .take()
        .context("cannot speak to nft")?
        .write_all(rules.as_bytes())
        .unwrap_or_default();
    let output = nft.wait_with_output().context("waiting for nft")?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let words = words.lines().next().unwrap_or_default().trim();
    if words.contains("Operation not permitted") {
        bail!("redirecting connections takes root (CAP_NET_ADMIN) in this network namespace");
    }
    bail!("nft did not take the rules: {words}");
}

// === impl Plan ===

impl Plan {
    fn of(args: &Init) -> Result<Self, Vec<String>> {
        let mut mistakes = Mistakes::default();
        let inbound = (args.inbound_port.trim() != "off")
            .then(|| mistakes.port("--inbound-port", &args.inbound_port));
        let plan = Self {
            uid: mistakes.number("--uid", &args.uid),
            gid: mistakes.number("--gid", &args.gid),
            outbound: mistakes.port("--outbound-port", &args.outbound_port),
            inbound,
            exclude_outbound: mistakes.ports("--exclude-outbound", &args.exclude_outbound),
            exclude_inbound: mistakes.ports("--exclude-inbound", &args.exclude_inbound),
            exclude_networks: mistakes.networks(&args.exclude_networks),
        };
        if plan.inbound == Some(plan.outbound) {
            mistakes.0.push(
                "--inbound-port is the port of --outbound-port as well; give it another one"
                    .to_owned(),
            );
        }
        if mistakes.0.is_empty() {
            Ok(plan)
        } else {
            Err(mistakes.0)
        }
    }

    fn rules(&self) -> String {
        let mut outbound = vec![
            format!("meta skuid {} return", self.uid),
            format!("meta skgid {} return", self.gid),
            "ip daddr 127.0.0.0/8 return".to_owned(),
            "ip6 daddr ::1 return".to_owned(),
        ];
        let (ipv4, ipv6) = &self.exclude_networks;
        outbound.extend(set("ip daddr", ipv4));
        outbound.extend(set("ip6 daddr", ipv6));
        outbound.extend(set("tcp dport", &self.exclude_outbound));
        outbound.push(format!("meta l4proto tcp redirect to :{}", self.outbound));
        let mut rules = format!("{GONE}table inet throughline {{\n");
        chain(&mut rules, "outbound", "output", &outbound);
        if let Some(port) = self.inbound {
            // Who connects to the sidecar's own ports does so on purpose.
            let own = [
                port.to_string(),
                METRICS.to_string(),
                self.outbound.to_string(),
            ];
            let excluded: Vec<String> = own
                .into_iter()
                .chain(self.exclude_inbound.iter().cloned())
                .collect();
            let mut inbound = vec!["iifname \"lo\" return".to_owned()];
            inbound.extend(set("tcp dport", &excluded));
            inbound.push(format!("meta l4proto tcp redirect to :{port}"));
            chain(&mut rules, "inbound", "prerouting", &inbound);
        }
        rules + "}\n"
    }
}

fn set(what: &str, values: &[String]) -> Option<String> {
    (!values.is_empty()).then(|| format!("{what} {{ {} }} return", values.join(", ")))
}

fn chain(to: &mut String, name: &str, hook: &str, rules: &[String]) {
    // Writing to a string cannot fail.
    writeln!(
        to,
        "  chain {name} {{\n    type nat hook {hook} priority -100; policy accept;"
    )
    .unwrap_or_default();
    for rule in rules {
        writeln!(to, "    {rule}").unwrap_or_default();
    }
    to.push_str("  }\n");
}

// === impl Mistakes ===

impl Mistakes {
    fn number(&mut self, option: &str, text: &str) -> u32 {
        text.trim().parse().unwrap_or_else(|_| {
            self.0.push(format!(
                "{option} {text:?} is no number; give the one that id -u prints"
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
                self.0.push(format!(
                    "{option} {text:?} is no port; use a number from 1 to 65535"
                ));
                0
            })
    }

    /// Single ones and ranges.
    fn ports(&mut self, option: &str, text: &str) -> Vec<String> {
        let mut ports = Vec::new();
        for part in text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            match (first.trim().parse::<u16>(), last.trim().parse::<u16>()) {
                (Ok(first), Ok(last)) if first == last => ports.push(first.to_string()),
                (Ok(first), Ok(last)) if first < last => ports.push(format!("{first}-{last}")),
                _ => self.0.push(format!(
                    "{option}: {part:?} is no port and no range; write them as 22,6000-6010"
                )),
            }
        }
        ports
    }

    fn networks(&mut self, text: &str) -> (Vec<String>, Vec<String>) {
        let (mut ipv4, mut ipv6) = (Vec::new(), Vec::new());
        for part in text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            match part.parse::<Cidr>() {
                Ok(_) if part.contains(':') => ipv6.push(part.to_owned()),
                Ok(_) => ipv4.push(part.to_owned()),
                Err(error) => self.0.push(format!("--exclude-networks: {error}")),
            }
        }
        (ipv4, ipv6)
    }
}

/// Where the sidecar's metrics are, unless it was told otherwise.
const METRICS: u16 = 19_091;

/// A table that is not there cannot be deleted, so it is made first.
const GONE: &str = "add table inet throughline\ndelete table inet throughline\n";

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Args, Command as Chosen};

    fn args(args: &[&str]) -> Init {
        let args = ["throughline", "init"].iter().chain(args);
        let Chosen::Init(args) = Args::try_parse_from(args).unwrap().command else {
            panic!("another command")
        };
        args
    }

    #[test]
    fn the_sidecar_and_what_was_excluded_is_left_alone_before_the_rest_is_redirected() {
        let given = [
            "--uid",
            "5",
            "--exclude-outbound",
            "22,6000-6010",
            "--exclude-networks",
            "10.0.0.0/8,fd00::/8",
            "--exclude-inbound",
            "8",
        ];
        let rules = Plan::of(&args(&given)).unwrap().rules();
        let at = |part: &str| {
            rules
                .find(part)
                .unwrap_or_else(|| panic!("{part} is missing in {rules}"))
        };
        let redirected = at("redirect to :19092");
        for part in [
            "skuid 5 return",
            "skgid 1337 return",
            "{ 22, 6000-6010 }",
            "{ 10.0.0.0/8 }",
            "{ fd00::/8 }",
        ] {
            assert!(at(part) < redirected, "{rules}");
        }
        assert!(
            redirected < at("{ 19090, 19091, 19092, 8 }")
                && at("19092, 8 }") < at("redirect to :19090"),
            "{rules}"
        );
        assert!(
            !Plan::of(&args(&["--inbound-port", "off"]))
                .unwrap()
                .rules()
                .contains("prerouting")
        );
    }

    #[test]
    fn all_mistakes_are_told_together_each_with_its_mend() {
        let given = [
            "--uid",
            "root",
            "--outbound-port",
            "0",
            "--exclude-inbound",
            "9-1",
            "--exclude-networks",
            "ten",
        ];
        let told = Plan::of(&args(&given)).unwrap_err();
        for part in ["id -u", "1 to 65535", "22,6000-6010", "10.0.0.0/8"] {
            assert!(
                told.iter().any(|mistake| mistake.contains(part)),
                "{part} is missing in {told:?}"
            );
        }
        assert_eq!(told.len(), 4, "{told:?}");
    }
}
