//! Arguments of `throughline init`.

pub(super) const EXAMPLES: &str = "\
Examples:
  throughline init
      Redirect the pod's connections. Then run the sidecar as user 1337:
      throughline sidecar --transparent
  throughline init --exclude-outbound 5432 --exclude-networks 10.0.0.0/8
      Redirect all but connections to port 5432 or to 10.0.0.0/8.
  throughline init --print
      Print the nftables rules without applying them.
  throughline init --undo
      Remove the rules.

The rules are one nftables table named throughline, for IPv4 and IPv6. Running the command again
replaces that table and no other. It needs root (CAP_NET_ADMIN) in the pod's network namespace and
Linux 5.2; in Kubernetes, throughline inject adds it as an init container.";

const REDIRECTION: &str = "Redirection";
const EXCLUSIONS: &str = "Exclusions";
const ACTIONS: &str = "Actions";

/// Arguments of `throughline init`.
#[derive(Debug, clap::Args)]
pub(crate) struct InitArgs {
    /// Port that outbound connections are redirected to (the sidecar's --listen)
    #[arg(
        long,
        env = "THROUGHLINE_INIT_OUTBOUND_PORT",
        default_value = "19092",
        value_name = "PORT",
        help_heading = REDIRECTION
    )]
    pub(crate) outbound_port: String,

    /// Port that inbound connections are redirected to (the sidecar's --listen-inbound), or off
    #[arg(
        long,
        env = "THROUGHLINE_INIT_INBOUND_PORT",
        default_value = "19090",
        value_name = "PORT",
        help_heading = REDIRECTION
    )]
    pub(crate) inbound_port: String,

    /// User id of the sidecar, whose own connections are not redirected
    #[arg(
        long,
        env = "THROUGHLINE_INIT_UID",
        default_value = "1337",
        value_name = "NUMBER",
        help_heading = EXCLUSIONS
    )]
    pub(crate) uid: String,

    /// Group id of the sidecar, whose own connections are not redirected
    #[arg(
        long,
        env = "THROUGHLINE_INIT_GID",
        default_value = "1337",
        value_name = "NUMBER",
        help_heading = EXCLUSIONS
    )]
    pub(crate) gid: String,

    /// Destination ports of outbound connections that are not redirected, such as 22,6000-6010
    #[arg(
        long,
        env = "THROUGHLINE_INIT_EXCLUDE_OUTBOUND",
        default_value = "",
        hide_default_value = true,
        value_name = "PORTS",
        help_heading = EXCLUSIONS
    )]
    pub(crate) exclude_outbound: String,

    /// Ports of this pod whose inbound connections are not redirected; 19091, the sidecar's metrics
    /// port, is always excluded
    #[arg(
        long,
        env = "THROUGHLINE_INIT_EXCLUDE_INBOUND",
        default_value = "",
        hide_default_value = true,
        value_name = "PORTS",
        help_heading = EXCLUSIONS
    )]
    pub(crate) exclude_inbound: String,

    /// Destination networks of outbound connections that are not redirected, such as
    /// 10.0.0.0/8,fd00::/8
    #[arg(
        long,
        env = "THROUGHLINE_INIT_EXCLUDE_NETWORKS",
        default_value = "",
        hide_default_value = true,
        value_name = "NETWORKS",
        help_heading = EXCLUSIONS
    )]
    pub(crate) exclude_networks: String,

    /// Remove the rules
    #[arg(long, help_heading = ACTIONS)]
    pub(crate) undo: bool,

    /// Print the rules without applying them
    #[arg(long, help_heading = ACTIONS)]
    pub(crate) print: bool,
}
