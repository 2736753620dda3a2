//! Command-line arguments. Values are kept as text here; each command parses its own values and
//! reports all errors at once.

pub(crate) mod forward;
pub(crate) mod init;
pub(crate) mod inject;
pub(crate) mod kafka;
pub(crate) mod query;
pub(crate) mod sidecar;
pub(crate) mod store;
pub(crate) mod up;
pub(crate) mod weave;
pub(crate) mod webhook;

use std::ffi::OsString;

use clap::{Command, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

const EXAMPLES: &str = "\
Examples:
  throughline up
      Start a collector. Its web UI is at http://127.0.0.1:16686.
  throughline sidecar --kafka localhost:9092
      Trace Kafka clients; they connect to 127.0.0.1:19092 in place of localhost:9092.
  throughline sidecar --inbound 8080
      Trace HTTP requests to a service and from it.
  throughline search --service eshop --since 1h
      List the newest traces of a service.
  throughline trace 463ac35c9f6413ad
      Show one trace as a tree.

Most options can be set by environment variable, shown as [env: NAME] in each command's help.
Exit codes: 0 success, 1 failure, 64 invalid arguments or configuration (all errors listed).";

/// Distributed tracing for HTTP and Kafka: one trace per request, from the first HTTP call, through
/// Kafka, to the last side effect
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, after_help = EXAMPLES)]
pub(crate) struct CliArgs {
    #[command(subcommand)]
    pub(crate) command: CliCommand,
}

// === impl CliArgs ===

impl CliArgs {
    /// Parses the command of a command line, from the program's name on.
    ///
    /// # Errors
    /// An unknown option or command.
    pub(crate) fn parse(arguments: &[OsString]) -> Result<CliCommand, clap::Error> {
        let matches = definition().try_get_matches_from(arguments)?;
        Ok(Self::from_arg_matches(&matches)?.command)
    }

    /// Parses the arguments of this process.
    ///
    /// # Errors
    /// An unknown option or command, or a request for help or the version.
    pub(crate) fn from_process() -> Result<Self, clap::Error> {
        Self::from_arg_matches(&definition().try_get_matches()?)
    }
}

/// Returns the definition of the command line. Help shows the names of environment variables, not
/// their values, which may be secret.
pub(crate) fn definition() -> Command {
    CliArgs::command()
        .mut_subcommands(|command| command.mut_args(|argument| argument.hide_env_values(true)))
}

#[derive(Debug, Subcommand)]
pub(crate) enum CliCommand {
    /// Start a collector: OTLP and Zipkin receivers, storage, query APIs and web UI
    #[command(after_help = up::EXAMPLES)]
    Up(Box<up::UpArgs>),
    /// Start a sidecar proxy that traces the HTTP and Kafka traffic of an unmodified service
    #[command(after_help = sidecar::EXAMPLES)]
    Sidecar(Box<sidecar::SidecarArgs>),
    /// Redirect this pod's TCP connections to its sidecar with nftables, or undo it
    #[command(after_help = init::EXAMPLES)]
    Init(init::InitArgs),
    /// Add the sidecar to the pods of a Kubernetes manifest
    #[command(after_help = inject::EXAMPLES)]
    Inject(inject::InjectArgs),
    /// Show one trace as a tree
    #[command(after_help = query::TRACE_EXAMPLES)]
    Trace(query::TraceArgs),
    /// List traces, newest first
    #[command(after_help = query::SEARCH_EXAMPLES)]
    Search(query::SearchArgs),
    /// Join spans in files that were reported without a parent: by record offsets and by inference
    #[command(after_help = weave::EXAMPLES)]
    Weave(weave::WeaveArgs),
    /// Serve the Kubernetes admission webhook that adds the sidecar to pods
    #[command(after_help = webhook::EXAMPLES)]
    Webhook(webhook::WebhookArgs),
    /// Check, compact, export or import the traces on disk
    #[command(after_help = store::EXAMPLES)]
    Store(store::StoreCommandArgs),
}
