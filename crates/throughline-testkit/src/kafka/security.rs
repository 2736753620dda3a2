//! Listeners with and without TLS and SASL, with the properties and certificates of both sides.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Result;

/// Kafka's `security.protocol` of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SecurityProtocol {
    /// No TLS, no SASL.
    Plaintext,
    /// SASL without TLS.
    SaslPlaintext,
    /// TLS; client certificates are optional.
    Ssl,
    /// SASL over TLS.
    SaslSsl,
}

/// Name of the brokers in `deploy/istio/kafka-tls.yaml`.
pub const BROKER_NAME: &str = "bootstrap.kafka.example";

/// The only user, for PLAIN and SCRAM.
pub const USER: &str = "alice";
/// Password of [`USER`].
pub const PASSWORD: &str = "wonderland";

/// SASL mechanisms of the brokers.
pub const MECHANISMS: [&str; 3] = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"];

/// Paths of PEM files: certificates for `127.0.0.1`, `localhost` and [`BROKER_NAME`], and their
/// authority. They live as long as their folder.
#[derive(Debug, Clone)]
pub struct CertificateFiles {
    /// The authority's certificate, trusted by both sides.
    pub ca: PathBuf,
    /// A server's certificate.
    pub server: PathBuf,
    /// Its key.
    pub server_key: PathBuf,
    /// A client's certificate.
    pub client: PathBuf,
    /// Its key.
    pub client_key: PathBuf,
    /// Server key and certificate in one file, the form of a PEM key store (KIP-651).
    server_store: PathBuf,
}

// === impl SecurityProtocol ===

impl SecurityProtocol {
    /// All protocols.
    pub const ALL: [Self; 4] = [
        Self::Plaintext,
        Self::SaslPlaintext,
        Self::Ssl,
        Self::SaslSsl,
    ];

    /// Returns whether the listener uses TLS.
    #[must_use]
    pub const fn uses_tls(self) -> bool {
        matches!(self, Self::Ssl | Self::SaslSsl)
    }

    /// Returns whether clients authenticate by SASL.
    #[must_use]
    pub const fn uses_sasl(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }
}

/// Writes Kafka's spelling, such as `SASL_PLAINTEXT`.
impl fmt::Display for SecurityProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plaintext => "PLAINTEXT",
            Self::SaslPlaintext => "SASL_PLAINTEXT",
            Self::Ssl => "SSL",
            Self::SaslSsl => "SASL_SSL",
        })
    }
}

/// Returns the arguments of the storage tool that create the user's SCRAM credentials.
pub(super) fn scram_credentials() -> impl Iterator<Item = String> {
    let credential = |mechanism: &str| format!("{mechanism}=[name={USER},password={PASSWORD}]");
    let mechanisms = MECHANISMS
        .into_iter()
        .filter(|mechanism| mechanism.starts_with("SCRAM"));
    mechanisms.flat_map(move |mechanism| ["--add-scram".to_owned(), credential(mechanism)])
}

/// Returns the broker properties for these listeners.
pub(super) fn properties(
    listeners: impl Iterator<Item = SecurityProtocol>,
    certificates: Option<&CertificateFiles>,
) -> Vec<(String, String)> {
    let mut properties = Vec::new();
    for listener in listeners.filter(|listener| listener.uses_sasl()) {
        // Properties with a listener prefix apply to this listener only.
        let prefix = format!("listener.name.{}", listener.to_string().to_lowercase());
        properties.push((
            format!("{prefix}.sasl.enabled.mechanisms"),
            MECHANISMS.join(","),
        ));
        for mechanism in MECHANISMS {
            let name = format!("{prefix}.{}.sasl.jaas.config", mechanism.to_lowercase());
            properties.push((name, login_module(mechanism)));
        }
    }
    let Some(certificates) = certificates else {
        return properties;
    };
    let path = |path: &Path| path.display().to_string();
    properties.extend([
        ("ssl.keystore.type".to_owned(), "PEM".to_owned()),
        (
            "ssl.keystore.location".to_owned(),
            path(&certificates.server_store),
        ),
        ("ssl.truststore.type".to_owned(), "PEM".to_owned()),
        ("ssl.truststore.location".to_owned(), path(&certificates.ca)),
        // `requested`: clients with and without a certificate use the same listener.
        ("ssl.client.auth".to_owned(), "requested".to_owned()),
    ]);
    properties
}

fn login_module(mechanism: &str) -> String {
    let package = "org.apache.kafka.common.security";
    if mechanism == "PLAIN" {
        // PLAIN keeps its users in the JAAS configuration; SCRAM credentials are in the cluster
        // metadata.
        format!("{package}.plain.PlainLoginModule required user_{USER}=\"{PASSWORD}\";")
    } else {
        format!("{package}.scram.ScramLoginModule required;")
    }
}

// === impl CertificateFiles ===

impl CertificateFiles {
    /// Creates a new authority and two certificates, and writes them into `folder`.
    ///
    /// # Errors
    /// Fails if the folder cannot be written or the feature `certificates` is off.
    #[cfg(feature = "certificates")]
    pub fn create(folder: &Path) -> Result<Self> {
        use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

        let write = |name: &str, text: &str| -> Result<PathBuf> {
            let path = folder.join(name);
            std::fs::write(&path, text)?;
            Ok(path)
        };
        let authority_key = KeyPair::generate()?;
        let mut authority = CertificateParams::new(Vec::new())?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority
            .distinguished_name
            .push(DnType::CommonName, "throughline testkit");
        let ca = write("ca.pem", &authority.self_signed(&authority_key)?.pem())?;
        let issuer = Issuer::new(authority, authority_key);
        let sign = |common_name: &str| -> Result<(String, String)> {
            let key = KeyPair::generate()?;
            let names = ["127.0.0.1", "localhost", BROKER_NAME].map(str::to_owned);
            let mut params = CertificateParams::new(names)?;
            params
                .distinguished_name
                .push(DnType::CommonName, common_name);
            Ok((params.signed_by(&key, &issuer)?.pem(), key.serialize_pem()))
        };
        let (server, server_key) = sign("server")?;
        let (client, client_key) = sign("client")?;
        Ok(Self {
            ca,
            server_store: write("server-store.pem", &format!("{server_key}{server}"))?,
            server: write("server.pem", &server)?,
            server_key: write("server-key.pem", &server_key)?,
            client: write("client.pem", &client)?,
            client_key: write("client-key.pem", &client_key)?,
        })
    }

    /// Fails with the name of the missing feature.
    ///
    /// # Errors
    /// Always.
    #[cfg(not(feature = "certificates"))]
    pub fn create(_: &Path) -> Result<Self> {
        anyhow::bail!("a TLS listener needs the feature `certificates` of throughline-testkit")
    }
}
