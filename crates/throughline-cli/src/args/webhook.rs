//! Arguments of `throughline webhook`.

use super::inject::InjectedPodArgs;

pub(super) const EXAMPLES: &str = "\
Examples:
  throughline webhook --tls-cert /certs/tls.crt --tls-key /certs/tls.key
      Serve the webhook, as the Helm chart does.
  throughline webhook certificate | kubectl apply --server-side -f -
      Make a certificate that the API server trusts, without Helm and cert-manager.

The webhook answers every review with `allowed`: a pod that it cannot change is admitted as it is,
and the reason is a warning that kubectl shows. /healthz and /metrics are on the same port.";

const SERVER: &str = "Server";
const PROCESS: &str = "Process";

/// Arguments of `throughline webhook`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct WebhookArgs {
    #[command(subcommand)]
    pub(crate) command: Option<WebhookCommand>,

    /// Listen address for the API server, HTTPS
    #[arg(
        long,
        env = "THROUGHLINE_WEBHOOK_LISTEN",
        default_value = "0.0.0.0:8443",
        value_name = "IP:PORT",
        help_heading = SERVER
    )]
    pub(crate) listen: String,

    /// Certificate chain, in PEM; read again when it changes
    #[arg(
        long,
        env = "THROUGHLINE_WEBHOOK_TLS_CERT",
        required = true,
        value_name = "FILE",
        help_heading = SERVER
    )]
    pub(crate) tls_cert: Option<String>,

    /// Private key of the certificate, in PEM
    #[arg(
        long,
        env = "THROUGHLINE_WEBHOOK_TLS_KEY",
        required = true,
        value_name = "FILE",
        help_heading = SERVER
    )]
    pub(crate) tls_key: Option<String>,

    #[command(flatten)]
    pub(crate) pod: InjectedPodArgs,

    /// Log filter for stderr: warn, info, debug, or per target
    #[arg(
        long,
        env = "THROUGHLINE_WEBHOOK_LOG",
        default_value = "info",
        value_name = "FILTER",
        help_heading = PROCESS
    )]
    pub(crate) log: String,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum WebhookCommand {
    /// Print a Secret with a new certificate, and the webhook configuration's part that trusts it
    Certificate(CertificateArgs),
}

/// Arguments of `throughline webhook certificate`. The defaults are the names of deploy/manifests.
#[derive(Debug, clap::Args)]
pub(crate) struct CertificateArgs {
    /// Service of the webhook, whose host name the certificate is for
    #[arg(long, default_value = "throughline-webhook", value_name = "NAME")]
    pub(crate) service: String,

    /// Namespace of the webhook
    #[arg(long, default_value = "throughline", value_name = "NAME")]
    pub(crate) namespace: String,

    /// Name of the Secret
    #[arg(long, default_value = "throughline-webhook-tls", value_name = "NAME")]
    pub(crate) secret: String,

    /// Name of the MutatingWebhookConfiguration
    #[arg(long, default_value = "throughline", value_name = "NAME")]
    pub(crate) configuration: String,
}
