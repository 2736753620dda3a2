//! The text that `throughline init` prints when it is done.

use std::fmt::Display;

use super::config::RedirectConfig;

/// Default port of the sidecar's `--listen`.
const DEFAULT_OUTBOUND_PORT: u16 = 19_092;
/// Default port of the sidecar's `--listen-inbound`.
const DEFAULT_INBOUND_PORT: u16 = 19_090;

/// Describes the rules in effect, the sidecar to run, and how to remove the rules.
pub(super) fn applied(config: &RedirectConfig) -> String {
    let mut lines = vec![
        "Connections are redirected (nftables table throughline, IPv4 and IPv6).".to_owned(),
        format!(
            "  Outbound  TCP connections of this network namespace -> port {}",
            config.outbound_port
        ),
    ];
    let mut outbound = vec![
        format!("user {}", config.uid),
        format!("group {}", config.gid),
        "destinations on loopback".to_owned(),
    ];
    outbound.extend(listed("ports", &config.exclude_outbound));
    outbound.extend(listed("networks", &config.exclude_networks));
    lines.push(format!("            except {}", outbound.join(", ")));
    match config.inbound_port {
        Some(port) => {
            lines.push(format!(
                "  Inbound   TCP connections to this network namespace -> port {port}"
            ));
            let excluded = joined(&config.all_excluded_inbound());
            lines.push(format!(
                "            except from loopback, ports {excluded}"
            ));
        }
        None => lines.push("  Inbound   not redirected".to_owned()),
    }
    lines.push(format!(
        "Run the sidecar as user {} or group {}:",
        config.uid, config.gid
    ));
    lines.push(format!("  {}", sidecar_command(config)));
    lines.push("Undo with:".to_owned());
    lines.push("  throughline init --undo".to_owned());
    lines.join("\n") + "\n"
}

/// Describes the removal of the rules.
pub(super) fn removed() -> String {
    "Connections are no longer redirected (nftables table throughline removed).\n".to_owned()
}

fn listed<T: Display>(noun: &str, values: &[T]) -> Option<String> {
    (!values.is_empty()).then(|| format!("{noun} {}", joined(values)))
}

fn joined<T: Display>(values: &[T]) -> String {
    let texts: Vec<String> = values.iter().map(T::to_string).collect();
    texts.join(", ")
}

/// Returns the sidecar's command line, with the options that match the redirect's ports.
fn sidecar_command(config: &RedirectConfig) -> String {
    let mut command = "throughline sidecar --transparent".to_owned();
    let outbound = config.outbound_port;
    // Defaults are left out: the short command is the one in the documentation.
    if outbound != DEFAULT_OUTBOUND_PORT {
        command += &format!(" --listen 127.0.0.1:{outbound}");
    }
    match config.inbound_port {
        Some(DEFAULT_INBOUND_PORT) => {}
        Some(port) => command += &format!(" --listen-inbound '[::]:{port}'"),
        None => command += " --listen-inbound off",
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::config::{IpNetwork, RedirectPorts};

    #[test]
    fn summary_names_ports_exclusions_and_the_matching_sidecar_command() {
        let config = RedirectConfig {
            uid: 5,
            gid: 6,
            outbound_port: 19_092,
            inbound_port: Some(19_090),
            exclude_outbound: vec![RedirectPorts {
                first: 22,
                last: 23,
            }],
            exclude_networks: vec![IpNetwork::LOOPBACK_V4],
            ..RedirectConfig::default()
        };
        let text = applied(&config);
        for part in [
            "-> port 19092\n",
            "except user 5, group 6, destinations on loopback, ports 22-23, networks 127.0.0.0/8\n",
            "-> port 19090\n",
            "except from loopback, ports 19090, 19091, 19092\n",
            "  throughline sidecar --transparent\n",
            "throughline init --undo",
        ] {
            assert!(text.contains(part), "{part:?} is missing in:\n{text}");
        }
        let config = RedirectConfig {
            outbound_port: 1,
            inbound_port: None,
            ..config
        };
        let text = applied(&config);
        assert!(
            text.contains("Inbound   not redirected")
                && text.contains("--transparent --listen 127.0.0.1:1 --listen-inbound off\n"),
            "{text}"
        );
    }
}
