//! The certificate and key of the webhook, read again when their files change: Kubernetes replaces
//! the files of a Secret in a running pod.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::MissedTickBehavior;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;

/// Interval at which the files are compared. A Secret takes up to a minute to reach a pod anyway.
const RELOAD_INTERVAL: Duration = Duration::from_secs(2);

/// A certificate chain and its key in two files, with the last valid content.
pub(super) struct TlsFiles {
    certificate_path: String,
    key_path: String,
    current: Arc<CurrentCertificate>,
}

/// The certificate for the next handshake.
struct CurrentCertificate(RwLock<LoadedCertificate>);

struct LoadedCertificate {
    /// Content of both files.
    pem: [Vec<u8>; 2],
    key: Arc<CertifiedKey>,
}

// === impl TlsFiles ===

impl TlsFiles {
    /// Reads both files.
    ///
    /// # Errors
    /// Fails if a file cannot be read or its content is invalid.
    pub(super) fn load(certificate_path: &str, key_path: &str) -> anyhow::Result<Self> {
        let loaded = LoadedCertificate::read(certificate_path, key_path)?;
        Ok(Self {
            certificate_path: certificate_path.to_owned(),
            key_path: key_path.to_owned(),
            current: Arc::new(CurrentCertificate(RwLock::new(loaded))),
        })
    }

    /// Returns an acceptor that presents the current certificate.
    pub(super) fn acceptor(&self) -> anyhow::Result<TlsAcceptor> {
        let resolver: Arc<dyn ResolvesServerCert> = Arc::<CurrentCertificate>::clone(&self.current);
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .context("cannot set up TLS")?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// Reads the files again whenever they change; keeps the certificate while they are invalid.
    pub(super) async fn reload_on_change(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(RELOAD_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_invalid = false;
        loop {
            ticks.tick().await;
            // Two small files on a volume in memory.
            match LoadedCertificate::read(&self.certificate_path, &self.key_path) {
                Ok(loaded) => {
                    is_invalid = false;
                    if self.current.replace(loaded) {
                        tracing::info!("certificate reloaded");
                    }
                }
                // One file may be replaced before the other; the error is logged once.
                Err(error) if !is_invalid => {
                    is_invalid = true;
                    tracing::warn!("certificate not reloaded, keeping the current one: {error:#}");
                }
                Err(_) => {}
            }
        }
    }
}

// === impl LoadedCertificate ===

impl LoadedCertificate {
    fn read(certificate_path: &str, key_path: &str) -> anyhow::Result<Self> {
        let read = |option: &str, path: &str| {
            std::fs::read(path).map_err(|error| anyhow::anyhow!("{option} {path}: {error}"))
        };
        let certificates = read("--tls-cert", certificate_path)?;
        let private_key = read("--tls-key", key_path)?;
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&certificates)
            .collect::<Result<_, _>>()
            .map_err(|error| anyhow::anyhow!("--tls-cert {certificate_path}: {error}"))?;
        anyhow::ensure!(
            !chain.is_empty(),
            "--tls-cert {certificate_path} has no certificate in PEM"
        );
        let key = PrivateKeyDer::from_pem_slice(&private_key)
            .map_err(|error| anyhow::anyhow!("--tls-key {key_path}: {error}"))?;
        let key = CertifiedKey::from_der(chain, key, &ring::default_provider())
            .map_err(|error| anyhow::anyhow!("--tls-cert and --tls-key do not match: {error}"))?;
        Ok(Self {
            pem: [certificates, private_key],
            key: Arc::new(key),
        })
    }
}

// === impl CurrentCertificate ===

impl CurrentCertificate {
    /// Takes another certificate; returns whether it differs.
    fn replace(&self, loaded: LoadedCertificate) -> bool {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let differs = current.pem != loaded.pem;
        if differs {
            *current = loaded;
        }
        differs
    }
}

impl ResolvesServerCert for CurrentCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&current.key))
    }
}

impl fmt::Debug for CurrentCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The key is a secret.
        f.debug_struct("CurrentCertificate").finish_non_exhaustive()
    }
}
