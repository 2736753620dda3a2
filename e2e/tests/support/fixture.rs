//! What all tests of one program share while any of them runs: a Kafka with every way in, a collector, the clients.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use throughline_testkit::build::ProjectBinaries;
use throughline_testkit::clients::{ClientLibrary, ClientPrograms};
use throughline_testkit::collector::CollectorInstance;
use throughline_testkit::kafka::{
    ApacheBroker, ApacheBuilder, PASSWORD, SecurityProtocol, TopicSpec, USER, create_topic,
};
use throughline_testkit::process::ProcessSpec;
use throughline_testkit::sidecar::SidecarInstance;

use super::case::BrokerPath;

/// The parts; they end when the last test lets go of them.
pub(crate) struct KafkaFixture {
    pub(crate) clients: ClientPrograms,
    pub(crate) collector: CollectorInstance,
    pub(crate) kafka: ApacheBroker,
}

/// Whether the long proofs are asked for.
pub(crate) fn full() -> bool {
    std::env::var_os("THROUGHLINE_FULL").is_some_and(|full| full == "1")
}

static SHARED: Mutex<Weak<KafkaFixture>> = Mutex::new(Weak::new());

// === impl Kit ===

impl KafkaFixture {
    /// The parts that run already, or new ones.
    pub(crate) fn shared() -> Arc<Self> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let kit = Arc::new(Self::start(ApacheBroker::builder()));
            *shared = Arc::downgrade(&kit);
            kit
        })
    }

    /// Parts of its own, with every way into this Kafka.
    pub(crate) fn start(kafka: ApacheBuilder) -> Self {
        let kafka = SecurityProtocol::ALL
            .into_iter()
            .fold(kafka, ApacheBuilder::listener);
        // Who comes by TLS without a login must show a certificate.
        let kafka = kafka.property("listener.name.ssl.ssl.client.auth", "required");
        // Or a client that looks a deleted topic up makes it anew before the test does, with one partition.
        let kafka = kafka.property("auto.create.topics.enable", "false");
        #[expect(
            clippy::print_stderr,
            reason = "the first run fetches and builds for minutes, and says so"
        )]
        let mut progress = |step: &str| eprintln!("{step}");
        Self {
            clients: ClientPrograms::provide(
                Path::new(env!("CARGO_BIN_EXE_rdkafka-client")),
                &mut progress,
            )
            .unwrap(),
            collector: CollectorInstance::start(&ProjectBinaries::build().unwrap().throughline)
                .unwrap(),
            kafka: kafka.start(&mut progress).unwrap(),
        }
    }

    /// The way through a sidecar with these further arguments. Set `THROUGHLINE_SIDECAR_TESTS=direct` to leave the sidecar out, and
    /// see whether it is the client that cannot do it.
    pub(crate) fn sidecar(&self, service: &str, args: &[&str]) -> BrokerPath {
        self.sidecar_to(SecurityProtocol::Plaintext, service, args)
    }

    /// The same before the brokers' listener of this kind.
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
            };
        }
        let binary = &ProjectBinaries::build().unwrap().throughline;
        let collector = self.collector.addresses().otlp_http;
        let sidecar = SidecarInstance::start(binary, &kafka, collector, service, args).unwrap();
        // TLS ends in the sidecar; a login passes through it.
        let inside = if listener.has_login() {
            SecurityProtocol::SaslPlaintext
        } else {
            SecurityProtocol::Plaintext
        };
        BrokerPath {
            bootstrap: sidecar.bootstrap().to_owned(),
            security: self.security(inside),
            sidecar: Some(sidecar),
        }
    }

    /// What clients of such a listener are told; the mechanism of a login is theirs to choose.
    pub(crate) fn security(&self, listener: SecurityProtocol) -> Vec<(String, String)> {
        let mut options = vec![("security", listener.to_string().to_lowercase())];
        if listener.has_login() {
            options.extend([
                ("username", USER.to_owned()),
                ("password", PASSWORD.to_owned()),
            ]);
        }
        if listener.is_encrypted() {
            let certificates = self.kafka.certificates().unwrap();
            options.push(("ca", certificates.ca.display().to_string()));
            if !listener.has_login() {
                options.push(("cert", certificates.client.display().to_string()));
                options.push(("key", certificates.client_key.display().to_string()));
            }
        }
        options
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }

    /// A new topic.
    #[expect(
        clippy::print_stderr,
        reason = "when a test fails, it says at which case"
    )]
    pub(crate) fn topic(&self, name: &str, partitions: u16) {
        eprintln!("topic {name}");
        create_topic(self.kafka.bootstrap(), &TopicSpec::new(name, partitions)).unwrap();
    }

    /// A client, to be given its work.
    pub(crate) fn client(&self, client: ClientLibrary) -> ProcessSpec {
        self.clients.spec(client).unwrap()
    }
}
