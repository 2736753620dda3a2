//! TLS: files are read and parsed here, so that an invalid one is reported with the other errors.

use throughline_intercept::options::OptionReader as _;
use throughline_proxy::{DownstreamTls, TlsError, TlsIdentity, TlsRoots, UpstreamTls};

use super::parser::ConfigParser;

/// The options of a certificate and its key, with their values.
struct IdentityOptions<'a> {
    certificate_key: &'static str,
    certificate_path: Option<&'a str>,
    private_key_key: &'static str,
    private_key_path: Option<&'a str>,
}

/// A certificate chain and its private key, in PEM.
struct PemIdentity {
    certificates: Vec<u8>,
    private_key: Vec<u8>,
}

// === impl ConfigParser ===

impl ConfigParser<'_> {
    /// Returns TLS to brokers; any option for it turns it on.
    pub(super) fn broker_tls(&mut self) -> Option<UpstreamTls> {
        let options = &self.raw.options;
        let implied_by = [
            "broker_tls_ca",
            "broker_tls_cert",
            "broker_tls_key",
            "broker_tls_name",
        ];
        if !options.broker_tls && !implied_by.iter().any(|key| self.raw.is_set(key)) {
            return None;
        }
        let identity = self.identity(&IdentityOptions {
            certificate_key: "broker_tls_cert",
            certificate_path: options.broker_tls_cert.as_deref(),
            private_key_key: "broker_tls_key",
            private_key_path: options.broker_tls_key.as_deref(),
        });
        // Files are read even after an error, so that every unreadable one is reported.
        let ca = self.file("broker_tls_ca", options.broker_tls_ca.as_deref());
        let roots = ca.as_deref().map_or(TlsRoots::System, TlsRoots::Pem);
        let identity = identity.as_ref().map(PemIdentity::identity);
        let name = options.broker_tls_name.as_deref();
        // One step at a time, so that each error is reported under the option that causes it.
        self.tls("broker_tls_ca", UpstreamTls::new(roots, None, None));
        self.tls("broker_tls_cert", UpstreamTls::new(roots, identity, None));
        self.tls("broker_tls_name", UpstreamTls::new(roots, None, name));
        UpstreamTls::new(roots, identity, name).ok()
    }

    /// Returns TLS for Kafka clients, if there is a certificate for it.
    pub(super) fn client_tls(&mut self) -> Option<DownstreamTls> {
        let options = &self.raw.options;
        let identity = self.identity(&IdentityOptions {
            certificate_key: "client_tls_cert",
            certificate_path: options.client_tls_cert.as_deref(),
            private_key_key: "client_tls_key",
            private_key_path: options.client_tls_key.as_deref(),
        })?;
        self.tls("client_tls_cert", DownstreamTls::new(identity.identity()))
    }

    /// Returns TLS for the HTTP clients of the service, if there is a certificate for it.
    pub(super) fn inbound_tls(&mut self) -> Option<DownstreamTls> {
        let options = &self.raw.options;
        let identity = self.identity(&IdentityOptions {
            certificate_key: "inbound_tls_cert",
            certificate_path: options.inbound_tls_cert.as_deref(),
            private_key_key: "inbound_tls_key",
            private_key_path: options.inbound_tls_key.as_deref(),
        })?;
        self.tls("inbound_tls_cert", DownstreamTls::new(identity.identity()))
    }

    /// Returns TLS for outbound requests, with a given certificate authority or this machine's.
    pub(super) fn outbound_tls(&mut self) -> Option<UpstreamTls> {
        let key = "outbound_tls_ca";
        match self.file(key, self.raw.options.outbound_tls_ca.as_deref()) {
            Some(pem) => self.tls(key, UpstreamTls::new(TlsRoots::Pem(&pem), None, None)),
            // Without certificate authorities the sidecar starts anyway: https:// may never be
            // used, and requests that use it get 502.
            None => UpstreamTls::new(TlsRoots::System, None, None).ok(),
        }
    }

    fn tls<T>(&mut self, key: &str, built: Result<T, TlsError>) -> Option<T> {
        built
            .map_err(|error| self.error(key, &error.to_string()))
            .ok()
    }

    fn identity(&mut self, options: &IdentityOptions<'_>) -> Option<PemIdentity> {
        let text = "is missing: a certificate and its key go together";
        match (options.certificate_path, options.private_key_path) {
            (None, None) => return None,
            (Some(_), None) => self.error(options.private_key_key, text),
            (None, Some(_)) => self.error(options.certificate_key, text),
            (Some(_), Some(_)) => {}
        }
        let certificates = self.file(options.certificate_key, options.certificate_path);
        let private_key = self.file(options.private_key_key, options.private_key_path);
        // Both are read before either is missing, for the same reason.
        Some(PemIdentity {
            certificates: certificates?,
            private_key: private_key?,
        })
    }
}

// === impl PemIdentity ===

impl PemIdentity {
    fn identity(&self) -> TlsIdentity<'_> {
        TlsIdentity {
            certificates: &self.certificates,
            key: &self.private_key,
        }
    }
}
