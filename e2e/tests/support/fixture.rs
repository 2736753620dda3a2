//! Shared by all running tests of a program: Apache Kafka with every security protocol, a
//! collector, the clients.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde_json::json;
use throughline_testkit::build::{ProjectBinaries, envoy_module};
use throughline_testkit::clients::{ClientLibrary, ClientPrograms};
use throughline_testkit::collector::CollectorInstance;
use throughline_testkit::envoy::{EnvoyBootstrap, EnvoyInstance};
use throughline_testkit::kafka::{
    ApacheBroker, ApacheBuilder, PASSWORD, SecurityProtocol, TopicSpec, USER, create_topic,
};
use throughline_testkit::process::ProcessSpec;
use throughline_testkit::sidecar::SidecarInstance;

use super::case::BrokerPath;

/// The running parts; they end with the last test that holds them.
pub(crate) struct KafkaFixture {
    pub(crate) clients: ClientPrograms,
    pub(crate) collector: CollectorInstance,
    pub(crate) kafka: ApacheBroker,
}

/// Returns whether the full test run is requested.
pub(crate) fn full() -> bool {
    std::env::var_os("THROUGHLINE_FULL").is_some_and(|full| full == "1")
}

static SHARED: Mutex<Weak<KafkaFixture>> = Mutex::new(Weak::new());

// === impl KafkaFixture ===

impl KafkaFixture {
    /// Returns the running parts, or starts them.
    pub(crate) fn shared() -> Arc<Self> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let fixture = Arc::new(Self::start(ApacheBroker::builder()));
            *shared = Arc::downgrade(&fixture);
            fixture
        })
    }

    /// Starts separate parts, with a listener of every security protocol.
    pub(crate) fn start(kafka: ApacheBuilder) -> Self {
        let kafka = SecurityProtocol::ALL
            .into_iter()
            .fold(kafka, ApacheBuilder::listener);
        // Clients of the TLS listener without SASL must present a certificate.
        let kafka = kafka.property("listener.name.ssl.ssl.client.auth", "required");
        // With auto-creation, the metadata request of a client could recreate a deleted topic, with
        // one partition, before the test does.
        let kafka = kafka.property("auto.create.topics.enable", "false");
        #[expect(
            clippy::print_stderr,
            reason = "the first run fetches and builds for minutes and shows its progress"
        )]
        let mut progress = |step: &str| eprintln!("{step}");
        Self {
            clients: ClientPrograms::install(
                Path::new(env!("CARGO_BIN_EXE_rdkafka-client")),
                &mut progress,
            )
            .unwrap(),
            collector: CollectorInstance::start(&ProjectBinaries::build().unwrap().throughline)
                .unwrap(),
            kafka: kafka.start(&mut progress).unwrap(),
        }
    }

    /// Starts a sidecar with these further arguments. `THROUGHLINE_SIDECAR_TESTS=direct` leaves the
    /// sidecar out, to see whether a failure is the client's own.
    pub(crate) fn sidecar(&self, service: &str, args: &[&str]) -> BrokerPath {
        self.sidecar_to(SecurityProtocol::Plaintext, service, args)
    }

    /// Starts a sidecar in front of the listener with this protocol.
    pub(crate) fn sidecar_to(
        &self,
        listener: SecurityProtocol,
        service: &str,
        args: &[&str],
    ) -> BrokerPath {
        let kafka = self.kafka.bootstrap_for(listener).unwrap();
        if std::env::var_os("THROUGHLINE_SIDECAR_TESTS").is_some_and(|how| how == "direct") {
            return BrokerPath {
                bootstrap: kafka,
                security: self.security(listener),
                sidecar: None,
                envoy: None,
            };
        }
        let binary = &ProjectBinaries::build().unwrap().throughline;
        let collector = self.collector.addresses().otlp_http;
        let sidecar = SidecarInstance::start(binary, &kafka, collector, service, args).unwrap();
        // TLS ends in the sidecar; SASL passes through it.
        let inside = if listener.uses_sasl() {
            SecurityProtocol::SaslPlaintext
        } else {
            SecurityProtocol::Plaintext
        };
        BrokerPath {
            bootstrap: sidecar.bootstrap().to_owned(),
            security: self.security(inside),
            sidecar: Some(sidecar),
            envoy: None,
        }
    }

    /// Returns the path without a proxy.
    pub(crate) fn direct(&self) -> BrokerPath {
        let listener = SecurityProtocol::Plaintext;
        BrokerPath {
            bootstrap: self.kafka.bootstrap_for(listener).unwrap(),
            security: self.security(listener),
            sidecar: None,
            envoy: None,
        }
    }

    /// Starts an Envoy with our module in front of the broker. Its spans belong to `service`.
    pub(crate) fn envoy(&self, service: &'static str) -> BrokerPath {
        let direct = self.direct();
        let collector = self.collector.addresses().otlp_http;
        let mut bootstrap = EnvoyBootstrap::new(service, collector, &json!({}));
        let address = bootstrap.kafka(&direct.bootstrap).unwrap();
        let envoy = EnvoyInstance::start(service, &envoy_module().unwrap(), &bootstrap).unwrap();
        BrokerPath {
            bootstrap: address.to_string(),
            envoy: Some((service, envoy)),
            ..direct
        }
    }

    /// Returns the client options for such a listener; the SASL mechanism is the client's choice.
    pub(crate) fn security(&self, listener: SecurityProtocol) -> Vec<(String, String)> {
        let mut options = vec![("security", listener.to_string().to_lowercase())];
        if listener.uses_sasl() {
            options.extend([
                ("username", USER.to_owned()),
                ("password", PASSWORD.to_owned()),
            ]);
        }
        if listener.uses_tls() {
            let certificates = self.kafka.certificates().unwrap();
            options.push(("ca", certificates.ca.display().to_string()));
            if !listener.uses_sasl() {
                options.push(("cert", certificates.client.display().to_string()));
                options.push(("key", certificates.client_key.display().to_string()));
            }
        }
        options
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }

    /// Creates a topic.
    #[expect(
        clippy::print_stderr,
        reason = "the output of a failed test shows the case"
    )]
    pub(crate) fn topic(&self, name: &str, partitions: u16) {
        eprintln!("topic {name}");
        create_topic(self.kafka.bootstrap(), &TopicSpec::new(name, partitions)).unwrap();
    }

    /// Returns the process spec of a client.
    pub(crate) fn client(&self, client: ClientLibrary) -> ProcessSpec {
        self.clients.spec(client).unwrap()
    }
}
