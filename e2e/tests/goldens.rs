//! The golden files of `throughline-kafka` equal the output of Apache Kafka's own classes.

use std::fs;
use std::process::Command;

use throughline_testkit::build::repository_root;
use throughline_testkit::kafka::fetch_apache;

#[test]
fn goldens_match_the_output_of_apache_kafka() {
    let jars = fetch_apache(&mut |what| eprintln!("{what}")).unwrap();
    let goldens = repository_root().join("crates/throughline-kafka/tests/goldens");
    let fresh = tempfile::tempdir().unwrap();
    let mut java = Command::new("java");
    java.arg("-cp")
        .arg(jars.join("*"))
        .arg(goldens.join("Goldens.java"))
        .arg(fresh.path());
    let output = java.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for name in ["messages.jsonl", "batches.jsonl"] {
        let (kept, fresh) = (goldens.join(name), fresh.path().join(name));
        let (kept, fresh) = (
            fs::read_to_string(kept).unwrap(),
            fs::read_to_string(fresh).unwrap(),
        );
        assert_eq!(kept.lines().count(), fresh.lines().count(), "{name}");
        for (number, (kept, fresh)) in kept.lines().zip(fresh.lines()).enumerate() {
            assert!(
                kept == fresh,
                "line {} of {name} differs from the output of Kafka:\n{kept}\n{fresh}",
                number + 1
            );
        }
    }
}
