//! Brokers that accept TLS with a login only: the sidecar speaks TLS for the collector, which logs
//! in through it.

use tempfile::NamedTempFile;
use throughline_testkit::collector::{CollectorInstance, CollectorPorts};
use throughline_testkit::kafka::{ApacheBroker, PASSWORD, SecurityProtocol, TopicSpec, USER};
use throughline_testkit::sidecar::SidecarInstance;
use throughline_testkit::wait;

use crate::fixture::{TIMEOUT, binary, committed, metric, traces};
use crate::span_load::{SPANS, send};

#[test]
fn brokers_with_tls_and_sasl_are_reached_through_a_sidecar() {
    let topics = [
        TopicSpec::new("otlp_spans", 2),
        TopicSpec::new("decisions", 1).config("cleanup.policy", "compact,delete"),
    ];
    let builder = ApacheBroker::builder().listener(SecurityProtocol::SaslSsl);
    let builder = topics
        .into_iter()
        .fold(builder, |it, topic| it.topic(topic));
    let kafka = builder.start(&mut |step| eprintln!("{step}")).unwrap();
    let brokers = kafka.bootstrap_for(SecurityProtocol::SaslSsl).unwrap();
    let ca = kafka.certificates().unwrap().ca.display().to_string();
    let untraced = ["--sample", "0", "--inject", "never"];
    let tls = ["--broker-tls", "--broker-tls-ca", &ca];
    // It has no spans to send.
    let nowhere = "127.0.0.1:1".parse().unwrap();
    let options = [&tls[..], &untraced].concat();
    let sidecar = SidecarInstance::start(binary(), &brokers, nowhere, "kafka-tls", &options);
    let sidecar = sidecar.unwrap();
    let config = NamedTempFile::new().unwrap();
    let properties = format!(
        "security.protocol=sasl_plaintext\nsasl.mechanism=PLAIN\nsasl.username={USER}\n\
         sasl.password={PASSWORD}\n"
    );
    std::fs::write(&config, properties).unwrap();
    let start = |args: &[&str]| {
        let config = ["--kafka-config", config.path().to_str().unwrap()];
        let args = [args, &config].concat();
        CollectorInstance::start_on(binary(), CollectorPorts::default(), &args).unwrap()
    };
    let edge = start(&["--to-kafka", sidecar.bootstrap()]);
    let member = start(&[
        "--from-kafka",
        sidecar.bootstrap(),
        "--decisions-topic",
        "decisions",
    ]);
    let url = format!("http://{}/v1/traces", edge.addresses().otlp_http);
    for number in 0..10 {
        assert_eq!(send(&url, number), 200);
    }
    let whole = || {
        let traces = traces(&member).into_values();
        traces.filter(|spans| spans.len() == SPANS).count()
    };
    wait::until(TIMEOUT, || (whole() == 10).then_some(())).expect("ten traces");
    let is_committed = || {
        let (committed, ends) = committed(kafka.bootstrap(), "otlp_spans", "throughline");
        (committed == ends).then_some(())
    };
    wait::until(TIMEOUT, is_committed).expect("committed offsets");
    let commits = || metric(&member, "throughline_kafka_commits_total{outcome=\"ok\"}");
    wait::until(TIMEOUT, || (commits() > 0).then_some(())).expect("a counted commit");
    sidecar.stop().unwrap();
}
