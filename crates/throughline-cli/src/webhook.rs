//! `throughline webhook`: the mutating admission webhook that adds the sidecar to pods.
//!
//! It never refuses a pod: an error is a warning in the response, and the configuration's
//! `failurePolicy: Ignore` covers a webhook that does not respond.

mod certificate;
mod review;
mod server;
mod tls_files;

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::net::TcpListener;

use self::review::PodReviewer;
use self::tls_files::TlsFiles;
use crate::args::webhook::{WebhookArgs, WebhookCommand};
use crate::daemon::{init_logging, log_filter, stop_signal};
use crate::error::CommandError;
use crate::inject::PodInjector;

/// Runs the webhook until SIGINT or SIGTERM, or prints a certificate for it.
pub(crate) fn run(args: &WebhookArgs) -> Result<(), CommandError> {
    if let Some(WebhookCommand::Certificate(args)) = &args.command {
        return Ok(certificate::print(args)?);
    }
    let mut errors = Vec::new();
    let address = args.listen.parse::<SocketAddr>().map_err(|_| {
        let listen = &args.listen;
        errors.push(format!(
            "--listen {listen:?} is not an address; write it as 0.0.0.0:8443"
        ));
    });
    let filter = log_filter("--log", &args.log).map_err(|error| errors.push(error));
    let injector = PodInjector::new(&args.pod).map_err(|found| errors.extend(found));
    let (certificate, key) = (args.tls_cert.as_deref(), args.tls_key.as_deref());
    let files = TlsFiles::load(certificate.unwrap_or_default(), key.unwrap_or_default())
        .map_err(|error| errors.push(error.to_string()));
    let (Ok(address), Ok(filter), Ok(injector), Ok(files)) = (address, filter, injector, files)
    else {
        return Err(CommandError::Usage(errors));
    };
    init_logging(filter);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    runtime.block_on(serve(address, Arc::new(files), injector))?;
    runtime.shutdown_background();
    Ok(())
}

async fn serve(
    address: SocketAddr,
    files: Arc<TlsFiles>,
    injector: PodInjector,
) -> anyhow::Result<()> {
    let stop = stop_signal()?;
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}; choose another one with --listen"))?;
    let address = listener.local_addr().context("cannot read the address")?;
    print_address(address).context("cannot write to stdout")?;
    let reloads = tokio::spawn(Arc::clone(&files).reload_on_change());
    let router = server::router(PodReviewer::new(injector));
    server::serve(listener, files.acceptor()?, router, stop).await;
    reloads.abort();
    Ok(())
}

fn print_address(address: SocketAddr) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "The webhook is up: https://{address}/inject")?;
    out.flush()
}
