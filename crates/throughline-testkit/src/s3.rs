//! A server of S3 (s3s) on a folder, which can go away and come back.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder as ConnectionBuilder;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

use crate::kafka::CertificateFiles;

/// Credentials of the server.
pub const ACCESS_KEY: &str = "throughline-test";
const SECRET_KEY: &str = "0123456789abcdef0123456789abcdef";

/// A server of S3 whose buckets are the subfolders of a folder.
#[derive(Debug)]
pub struct S3Server {
    folder: PathBuf,
    address: SocketAddr,
    /// `None` without TLS.
    tls: Option<Arc<ServerConfig>>,
    /// `None` while it is stopped.
    runtime: Option<Runtime>,
}

// === impl S3Server ===

impl S3Server {
    /// Starts a server with a bucket, on a free port of the loopback.
    ///
    /// # Errors
    /// Fails if the folder cannot be written or no port is free.
    pub fn start(folder: &Path, bucket: &str) -> Result<Self> {
        Self::start_with(folder, bucket, None)
    }

    /// Starts a server that speaks TLS with these certificates.
    ///
    /// # Errors
    /// As for [`Self::start`], or the certificates cannot be used.
    pub fn start_tls(folder: &Path, bucket: &str, files: &CertificateFiles) -> Result<Self> {
        Self::start_with(folder, bucket, Some(tls_config(files)?))
    }

    fn start_with(folder: &Path, bucket: &str, tls: Option<Arc<ServerConfig>>) -> Result<Self> {
        std::fs::create_dir_all(folder.join(bucket)).context("creating a bucket")?;
        let mut server = Self {
            folder: folder.to_path_buf(),
            address: (Ipv4Addr::LOCALHOST, 0).into(),
            tls,
            runtime: None,
        };
        server.restart()?;
        Ok(server)
    }

    /// Stops listening and closes all connections.
    pub fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    /// Listens again on the same port.
    ///
    /// # Errors
    /// Fails if the port is taken meanwhile.
    pub fn restart(&mut self) -> Result<()> {
        self.stop();
        let files = FileSystem::new(&self.folder).map_err(|error| anyhow!("{error:?}"))?;
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let service = builder.build();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .context("starting a runtime")?;
        let listener = runtime.block_on(TcpListener::bind(self.address));
        let listener = listener.context("binding the port of S3")?;
        self.address = listener.local_addr()?;
        let tls = self.tls.clone().map(TlsAcceptor::from);
        runtime.spawn(serve(listener, tls, service));
        self.runtime = Some(runtime);
        Ok(())
    }

    /// Returns the variables by which a client finds the server.
    pub fn variables(&self) -> [(&'static str, String); 5] {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        [
            ("AWS_ENDPOINT_URL", format!("{scheme}://{}", self.address)),
            ("AWS_ALLOW_HTTP", self.tls.is_none().to_string()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.to_owned()),
        ]
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn tls_config(files: &CertificateFiles) -> Result<Arc<ServerConfig>> {
    let certificates = CertificateDer::pem_file_iter(&files.server)?;
    let certificates = certificates.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(&files.server_key)?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions()?;
    let config = config.with_no_client_auth();
    Ok(Arc::new(config.with_single_cert(certificates, key)?))
}

async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, service: S3Service) {
    // An error of accept (too many open files) ends the server, which its clients then report.
    while let Ok((socket, _)) = listener.accept().await {
        let (tls, service) = (tls.clone(), service.clone());
        tokio::spawn(async move {
            match tls {
                None => serve_connection(socket, service).await,
                // The client refuses the certificate, and reports it.
                Some(tls) => {
                    if let Ok(socket) = tls.accept(socket).await {
                        serve_connection(socket, service).await;
                    }
                }
            }
        });
    }
}

async fn serve_connection(
    socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    service: S3Service,
) {
    let connections = ConnectionBuilder::new(TokioExecutor::new());
    let served = connections.serve_connection(TokioIo::new(socket), service);
    // The client closed it.
    served.await.unwrap_or_default();
}
