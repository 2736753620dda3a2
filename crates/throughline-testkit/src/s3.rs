//! A server of S3 (s3s) on a folder, which can go away and come back.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder as ConnectionBuilder;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// Credentials of the server.
pub const ACCESS_KEY: &str = "throughline-test";
const SECRET_KEY: &str = "0123456789abcdef0123456789abcdef";

/// A server of S3 whose buckets are the subfolders of a folder.
#[derive(Debug)]
pub struct S3Server {
    folder: PathBuf,
    address: SocketAddr,
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
        std::fs::create_dir_all(folder.join(bucket)).context("creating a bucket")?;
        let mut server = Self {
            folder: folder.to_path_buf(),
            address: (Ipv4Addr::LOCALHOST, 0).into(),
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
        runtime.spawn(serve(listener, service));
        self.runtime = Some(runtime);
        Ok(())
    }

    /// Returns the variables by which a client finds the server.
    pub fn variables(&self) -> [(&'static str, String); 5] {
        [
            ("AWS_ENDPOINT_URL", format!("http://{}", self.address)),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
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

async fn serve(listener: TcpListener, service: S3Service) {
    // An error of accept (too many open files) ends the server, which its clients then report.
    while let Ok((socket, _)) = listener.accept().await {
        let service = service.clone();
        tokio::spawn(async move {
            let connections = ConnectionBuilder::new(TokioExecutor::new());
            let served = connections.serve_connection(TokioIo::new(socket), service);
            // The client closed it.
            served.await.unwrap_or_default();
        });
    }
}
