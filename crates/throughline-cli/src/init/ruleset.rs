//! The nftables ruleset.

use std::fmt::Write as _;

use super::config::RedirectConfig;

/// Removes the table. nft cannot delete a table that does not exist, so it is created first.
pub(super) const REMOVE: &str = "add table inet throughline\ndelete table inet throughline\n";

/// Returns the ruleset, which replaces an earlier one.
pub(super) fn render(config: &RedirectConfig) -> String {
    let mut rules = format!("{REMOVE}table inet throughline {{\n");
    push_chain(&mut rules, "outbound", "output", &outbound_rules(config));
    // Without a chain, inbound connections reach the service directly.
    if let Some(port) = config.inbound_port {
        let inbound = inbound_rules(config, port);
        push_chain(&mut rules, "inbound", "prerouting", &inbound);
    }
    rules + "}\n"
}

fn outbound_rules(config: &RedirectConfig) -> Vec<String> {
    // The sidecar's own connections come first: redirected, they would loop.
    let mut rules = vec![
        format!("meta skuid {} return", config.uid),
        format!("meta skgid {} return", config.gid),
        "ip daddr 127.0.0.0/8 return".to_owned(),
        "ip6 daddr ::1 return".to_owned(),
    ];
    rules.extend(return_rule("ip daddr", &config.exclude_ipv4));
    rules.extend(return_rule("ip6 daddr", &config.exclude_ipv6));
    rules.extend(return_rule("tcp dport", &config.exclude_outbound));
    rules.push(redirect_rule(config.outbound_port));
    rules
}

fn inbound_rules(config: &RedirectConfig, port: u16) -> Vec<String> {
    // The pod's connections to its own address have been redirected on their way out.
    let mut rules = vec!["iifname \"lo\" return".to_owned()];
    rules.extend(return_rule("tcp dport", &config.all_excluded_inbound()));
    rules.push(redirect_rule(port));
    rules
}

fn return_rule(selector: &str, values: &[String]) -> Option<String> {
    (!values.is_empty()).then(|| format!("{selector} {{ {} }} return", values.join(", ")))
}

fn redirect_rule(port: u16) -> String {
    // Both families in one rule, which needs the inet family of nat (Linux 5.2).
    format!("meta l4proto tcp redirect to :{port}")
}

fn push_chain(ruleset: &mut String, name: &str, hook: &str, rules: &[String]) {
    // Priority -100 is that of destination NAT. Writing to a string cannot fail.
    writeln!(
        ruleset,
        "  chain {name} {{\n    type nat hook {hook} priority -100; policy accept;"
    )
    .unwrap_or_default();
    for rule in rules {
        writeln!(ruleset, "    {rule}").unwrap_or_default();
    }
    ruleset.push_str("  }\n");
}
