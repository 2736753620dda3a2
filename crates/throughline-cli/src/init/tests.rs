use clap::Parser as _;

use super::*;
use crate::args::{CliArgs, CliCommand};

fn init_args(args: &[&str]) -> InitArgs {
    let args = ["throughline", "init"].iter().chain(args);
    let CliCommand::Init(args) = CliArgs::try_parse_from(args).unwrap().command else {
        panic!("not the init command")
    };
    args
}

#[test]
fn exclusions_come_before_the_redirect() {
    let args = [
        "--uid",
        "5",
        "--exclude-outbound",
        "22,6000-6010",
        "--exclude-networks",
        "10.0.0.0/8,fd00::/8",
        "--exclude-inbound",
        "8",
    ];
    let render = |args: &[&str]| {
        let config = RedirectConfig::parse(&init_args(args)).unwrap();
        ruleset::render(&ruleset::chains(&config))
    };
    let rules = render(&args);
    let position = |part: &str| {
        rules
            .find(part)
            .unwrap_or_else(|| panic!("{part} is missing in {rules}"))
    };
    let redirect = position("redirect to :19092");
    for part in [
        "skuid 5 return",
        "skgid 1337 return",
        "tcp dport 22 return",
        "tcp dport 6000-6010 return",
        "ip daddr 10.0.0.0/8 return",
        "ip6 daddr fd00::/8 return",
    ] {
        assert!(position(part) < redirect, "{rules}");
    }
    let inbound = position("redirect to :19090");
    for port in ["19090", "19091", "19092", "8"] {
        let position = position(&format!("tcp dport {port} return"));
        assert!(redirect < position && position < inbound, "{rules}");
    }
    assert!(!render(&["--inbound-port", "off"]).contains("prerouting"));
}

#[test]
fn all_errors_are_reported_together_each_with_its_remedy() {
    let args = [
        "--uid",
        "root",
        "--outbound-port",
        "0",
        "--exclude-inbound",
        "9-1",
        "--exclude-networks",
        "ten",
    ];
    let errors = RedirectConfig::parse(&init_args(&args)).unwrap_err();
    for part in ["id -u", "1 to 65535", "22,6000-6010", "10.0.0.0/8"] {
        assert!(
            errors.iter().any(|error| error.contains(part)),
            "{part} is missing in {errors:?}"
        );
    }
    assert_eq!(errors.len(), 4, "{errors:?}");
}
