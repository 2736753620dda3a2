//! Clients that log in by SCRAM without TLS of their own, to brokers that accept only TLS.

use std::time::Duration;

use serde_json::Value;
use throughline_testkit::collector::CollectorInstance;
use throughline_testkit::kafka::{PASSWORD, USER};
use throughline_testkit::process::ProcessSpec;
use throughline_testkit::wait;

use super::record::TestRecord;
use super::run;

/// Records of each exchange.
pub(crate) const RECORDS: usize = 20;

const LIMIT: Duration = Duration::from_secs(30);

/// Sends records to a topic and reads them again, with the application's own settings.
pub(crate) fn exchange(spec: &dyn Fn() -> ProcessSpec, bootstrap: &str, topic: &str) {
    let login = [
        ("security", "sasl_plaintext"),
        ("mechanism", "SCRAM-SHA-512"),
        ("username", USER),
        ("password", PASSWORD),
    ];
    let records: Vec<TestRecord> = (0..RECORDS).map(record).collect();
    let acknowledged = run::produce(spec(), bootstrap, topic, &records, &login).acknowledged();
    assert_eq!(acknowledged.len(), RECORDS, "{topic}");
    let consume = [&login[..], &[("group", topic)]].concat();
    let consumed = run::consume(spec(), bootstrap, topic, RECORDS, &consume).consumed();
    for (record, sent) in consumed.iter().zip(&records) {
        assert_eq!(record.value, sent.value, "{topic}");
        let has_context = record
            .headers
            .iter()
            .any(|(name, _)| name == b"traceparent");
        assert!(has_context, "{topic}: {:?}", record.headers);
    }
}

fn record(index: usize) -> TestRecord {
    TestRecord {
        partition: 0,
        timestamp: None,
        key: Some(format!("key {index}").into_bytes()),
        value: Some(format!("value {index}").into_bytes()),
        headers: Vec::new(),
    }
}

/// Waits for a trace of each record, with the spans of its producer and its consumer. Returns
/// whether they arrived.
pub(crate) fn are_traced(collector: &CollectorInstance, service: &str, exchanges: usize) -> bool {
    let is_whole = |trace: &Value| trace["spans"].as_array().unwrap().len() >= 2;
    let traces = wait::until(LIMIT, || {
        let traces = collector.traces(service).unwrap();
        let whole = traces.iter().filter(|trace| is_whole(trace)).count();
        (whole == exchanges * RECORDS).then_some(())
    });
    traces.is_some()
}
