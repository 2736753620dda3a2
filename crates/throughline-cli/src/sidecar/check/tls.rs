//! TLS: files are read and understood here, so that a wrong one is told with the other mistakes.

use throughline_proxy::{DownstreamTls, TlsIdentity, TlsRoots, UpstreamTls};

use super::Check;

/// A certificate and its key, as they stand in their files.
struct Pair {
    certificates: Vec<u8>,
    key: Vec<u8>,
}

// === impl Check ===

impl Check<'_> {
    /// TLS to brokers; any option for it turns it on.
    pub(super) fn broker_tls(&mut self) -> Option<UpstreamTls> {
        let options = &self.told.options;
        let is_on = options.broker_tls
            || [
                "broker_tls_ca",
                "broker_tls_cert",
                "broker_tls_key",
                "broker_tls_name",
            ]
            .iter()
            .any(|key| self.told.is_given(key));
        if !is_on {
            return None;
        }
        let pair = self.pair(
            "broker_tls_cert",
            options.broker_tls_cert.as_deref(),
            "broker_tls_key",
            options.broker_tls_key.as_deref(),
        );
        let ca = self.file("broker_tls_ca", options.broker_tls_ca.as_deref());
        // One after the other, so that each mistake is told with the option that it is in.
        let roots = ca.as_deref().map_or(TlsRoots::System, TlsRoots::Pem);
        self.built("broker_tls_ca", UpstreamTls::new(roots, None, None));
        self.built(
            "broker_tls_cert",
            UpstreamTls::new(roots, pair.as_ref().map(Pair::identity), None),
        );
        self.built(
            "broker_tls_name",
            UpstreamTls::new(roots, None, options.broker_tls_name.as_deref()),
        );
        UpstreamTls::new(
            roots,
            pair.as_ref().map(Pair::identity),
            options.broker_tls_name.as_deref(),
        )
        .ok()
    }

    /// TLS from clients, when there is a certificate for it.
    pub(super) fn client_tls(&mut self) -> Option<DownstreamTls> {
        let options = &self.told.options;
        let pair = self.pair(
            "client_tls_cert",
            options.client_tls_cert.as_deref(),
            "client_tls_key",
            options.client_tls_key.as_deref(),
        )?;
        self.built("client_tls_cert", DownstreamTls::new(pair.identity()))
    }

    /// TLS from those who ask the service, when there is a certificate for it.
    pub(super) fn inbound_tls(&mut self) -> Option<DownstreamTls> {
        let options = &self.told.options;
        let pair = self.pair(
            "inbound_tls_cert",
            options.inbound_tls_cert.as_deref(),
            "inbound_tls_key",
            options.inbound_tls_key.as_deref(),
        )?;
        self.built("inbound_tls_cert", DownstreamTls::new(pair.identity()))
    }

    pub(super) fn built<T>(
        &mut self,
        key: &str,
        built: Result<T, throughline_proxy::TlsError>,
    ) -> Option<T> {
        built
            .map_err(|error| self.mistake(key, &error.to_string()))
            .ok()
    }

    fn pair(
        &mut self,
        certificate: &str,
        path: Option<&str>,
        key: &str,
        key_path: Option<&str>,
    ) -> Option<Pair> {
        match (path, key_path) {
            (None, None) => return None,
            (Some(_), None) => {
                self.mistake(key, "is missing: a certificate and its key go together")
            }
            (None, Some(_)) => self.mistake(
                certificate,
                "is missing: a certificate and its key go together",
            ),
            (Some(_), Some(_)) => {}
        }
        let (certificates, key) = (self.file(certificate, path), self.file(key, key_path));
        Some(Pair {
            certificates: certificates?,
            key: key?,
        })
    }

    pub(super) fn file(&mut self, key: &str, path: Option<&str>) -> Option<Vec<u8>> {
        let path = path?;
        std::fs::read(path)
            .map_err(|error| self.mistake(key, &format!("{path}: cannot be read: {error}")))
            .ok()
    }
}

// === impl Pair ===

impl Pair {
    fn identity(&self) -> TlsIdentity<'_> {
        TlsIdentity {
            certificates: &self.certificates,
            key: &self.key,
        }
    }
}
