//! Members that write to one bucket, and nodes that answer queries about it.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use throughline_testkit::collector::{CollectorInstance, CollectorPorts};
use throughline_testkit::kafka::TopicSpec;
use throughline_testkit::s3::S3Server;
use throughline_testkit::wait;

use crate::fixture::{
    GroupMember, TIMEOUT, binary, edge, metric, start_kafka, traces, wait_for_whole_pairs,
};
use crate::span_load::{SPANS, SpanLoad, send};

const URL: &str = "s3://traces/shop";

/// A server with a bucket, and a folder of which collectors have parts.
struct BucketFixture {
    server: S3Server,
    folder: TempDir,
}

// === impl BucketFixture ===

impl BucketFixture {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = S3Server::start(&folder.path().join("s3"), "traces").unwrap();
        Self { server, folder }
    }

    fn member(&self, bootstrap: &str, name: &str) -> GroupMember {
        let local = self.local(name);
        let args = ["--seal-interval", "1s", "--local-folder", &local];
        GroupMember::start_with(bootstrap, URL, &args, &self.server.variables())
    }

    fn collector(&self, name: &str, args: &[&str]) -> CollectorInstance {
        let local = self.local(name);
        let base = ["--store", "disk", "--min-free", "0"];
        let base = [&base[..], &["--data", URL, "--local-folder", &local]].concat();
        let args = [&base[..], args].concat();
        let (ports, variables) = (CollectorPorts::default(), self.server.variables());
        CollectorInstance::start_with(binary(), ports, &args, &variables).unwrap()
    }

    fn node(&self, name: &str, local_bytes: &str) -> CollectorInstance {
        self.collector(name, &["--query-only", "--local-bytes", local_bytes])
    }

    fn local(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }
}

fn objects(collector: &CollectorInstance, name: &str) -> u64 {
    metric(collector, &format!("throughline_objects_{name} "))
}

#[test]
fn a_bucket_has_whole_traces_of_all_members_through_the_death_of_each_part() {
    let kafka = start_kafka(&[TopicSpec::new("otlp_spans", 8)]);
    let bootstrap = kafka.bootstrap();
    let mut fixture = BucketFixture::start();
    let (mut first, second) = (
        fixture.member(bootstrap, "member-1"),
        fixture.member(bootstrap, "member-2"),
    );
    wait::until(TIMEOUT, || {
        (first.partitions() > 0 && second.partitions() > 0).then_some(())
    })
    .expect("a shared topic");
    // One of them has room for a few small segments.
    let (node, stopped) = (
        fixture.node("node-1", "4GiB"),
        fixture.node("node-2", "8KiB"),
    );
    let edge = edge(bootstrap, &[]);
    let load = SpanLoad::start_pairs(edge.addresses().otlp_http);
    load.wait_for(30);
    first.kill();
    load.wait_for(30);
    first.restart();
    stopped.process().kill();
    // Segments wait in the local folders while the object store is away.
    fixture.server.stop();
    load.wait_for(30);
    for member in [&first, &second] {
        wait::until(TIMEOUT, || {
            (objects(member.collector(), "waiting_bytes") > 0).then_some(())
        })
        .expect("a segment that waits");
    }
    second.kill();
    assert_eq!(node.get("/api/services").unwrap().status, 200);
    fixture.server.restart().unwrap();
    let mut second = second;
    second.restart();
    load.wait_for(30);
    let acknowledged = load.stop();
    let small = fixture.node("node-2", "8KiB");
    for node in [&node, &small] {
        wait_for_whole_pairs(node, &acknowledged);
        assert!(node.addresses().otlp_http.port() == 0, "it receives spans");
    }
    for member in [&first, &second] {
        wait::until(TIMEOUT, || {
            (objects(member.collector(), "waiting_bytes") == 0).then_some(())
        })
        .expect("uploaded segments");
        assert!(objects(member.collector(), "uploaded_bytes_total") > 0);
    }
    assert!(objects(&small, "evictions_total") > 0);
    assert!(objects(&node, "hits_total") > 0 && objects(&node, "misses_total") > 0);
    assert!(objects(&node, "evictions_total") == 0);
    let bytes = objects(&small, "local_bytes");
    assert!(bytes < 64 << 10, "{bytes} bytes");
    // A node without copies has everything as well.
    wait_for_whole_pairs(&fixture.node("node-3", "4GiB"), &acknowledged);
}

#[test]
fn spans_are_refused_while_the_bucket_is_away_and_the_local_folder_is_full() {
    let mut fixture = BucketFixture::start();
    let args = ["--seal-interval", "1s", "--local-bytes", "1KiB"];
    let collector = fixture.collector("own", &args);
    let url = format!("http://{}/v1/traces", collector.addresses().otlp_http);
    let mut acknowledged = BTreeSet::new();
    let mut numbers = 0..;
    let mut send_next = || {
        let number = numbers.next().unwrap();
        let status = send(&url, number);
        if status == 200 {
            acknowledged.insert(format!("{:032x}", number + 1));
        }
        status
    };
    assert_eq!(send_next(), 200);
    fixture.server.stop();
    wait::until(TIMEOUT, || (send_next() == 503).then_some(())).expect("refused spans");
    let lines = |text: &str| {
        let log = collector.process().log();
        log.iter().filter(|line| line.contains(text)).count()
    };
    assert_eq!(lines("segments cannot be uploaded; they wait"), 1);
    assert_eq!(lines("spans are refused until segments are uploaded"), 1);
    // A crash loses nothing that was acknowledged.
    collector.process().kill();
    collector.process().wait(TIMEOUT).unwrap();
    fixture.server.restart().unwrap();
    let collector = fixture.collector("own", &args);
    let url = format!("http://{}/v1/traces", collector.addresses().otlp_http);
    let last = 1_000_000;
    wait::until(TIMEOUT, || (send(&url, last) == 200).then_some(()))
        .unwrap_or_else(|| panic!("spans are refused: {:?}", collector.process().log()));
    acknowledged.insert(format!("{:032x}", last + 1));
    let node = fixture.node("node", "4GiB");
    wait::until(TIMEOUT, || {
        let shown: BTreeSet<String> = traces(&node).into_keys().collect();
        (shown == acknowledged).then_some(())
    })
    .unwrap_or_else(|| panic!("{} of {}", traces(&node).len(), acknowledged.len()));
    assert!(traces(&node).values().all(|spans| spans.len() == SPANS));
}

#[test]
fn mistakes_about_a_bucket_are_one_message_with_its_remedy() {
    let fixture = BucketFixture::start();
    let run = |data: &str, key: &str, more: &[&str]| {
        let local = tempfile::tempdir().unwrap();
        let mut command = Command::new(binary());
        command.args(["up", "--data", data]).args(more);
        if data.starts_with("s3://") {
            command.arg("--local-folder").arg(local.path());
        }
        let ports = [
            "--otlp-grpc-port",
            "--otlp-http-port",
            "--zipkin-port",
            "--query-port",
        ];
        command.args(ports.iter().flat_map(|port| [*port, "0"]));
        command
            .envs(fixture.server.variables())
            .env("AWS_ACCESS_KEY_ID", key);
        let output = command.output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), stderr)
    };
    let key = fixture.server.variables()[3].1.clone();
    for (data, key, more, code, expected) in [
        (
            "s3://traces",
            "nobody",
            &[][..],
            1,
            "check AWS_ACCESS_KEY_ID",
        ),
        ("s3://absent/a", &key, &[], 1, "create the bucket"),
        (
            "s3://absent/a",
            &key,
            &["--query-only"],
            1,
            "create the bucket",
        ),
        ("s3:///a", &key, &[], 64, "write it as s3://bucket/prefix"),
        ("gs://a", &key, &[], 64, "write it as s3://bucket/prefix"),
        (
            "/d",
            &key,
            &["--local-bytes", "1GiB"],
            64,
            "no effect without a bucket",
        ),
    ] {
        let (status, stderr) = run(data, key, more);
        assert_eq!(status, Some(code), "{data}: {stderr}");
        let lines: Vec<&str> = stderr.lines().filter(|it| it.contains(expected)).collect();
        assert_eq!(lines.len(), 1, "{data}: {stderr}");
    }
    let listed = Command::new(binary())
        .args(["store", "check", "--data", URL])
        .output()
        .unwrap();
    let stderr = String::from_utf8(listed.stderr).unwrap();
    assert!(stderr.contains("is not a folder"), "{stderr}");
    assert!(!Path::new("s3:").exists());
}
