//! Java's consumer with its default settings: it commits on a timer, seconds after the work, and
//! its fetches show what it has handled. Records a second apart, in a system that has just started.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and shows what it measured"
)]

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use e2e::{TraceSet, TraceSpan};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde_json::json;
use throughline_testkit::build::{ProjectBinaries, repository_root};
use throughline_testkit::collector::CollectorInstance;
use throughline_testkit::kafka::{ApacheBroker, TopicSpec, create_topic, fetch_apache};
use throughline_testkit::process::{ChildProcess, ProcessSpec};
use throughline_testkit::sidecar::SidecarInstance;
use throughline_testkit::wait;

const CONSUMER: &str = "kafka-consumer";
const PRODUCER: &str = "eshop";
const TIMEOUT: Duration = Duration::from_secs(60);

/// Time between two records, in which a record is handled. Commits come every five seconds.
const PAUSE: Duration = Duration::from_secs(1);

/// Longest time that the work on a record can take on a busy machine.
const LONGEST_WORK: f64 = 1.0;

fn print_progress(step: &str) {
    eprintln!("{step}");
}

/// Starts a service that answers every request.
fn notification() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // The threads end with the test program.
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || answer(stream));
        }
    });
    address
}

fn answer(mut stream: TcpStream) {
    let mut buffer = [0; 8192];
    // A GET has no body, and its head fits one read.
    while matches!(stream.read(&mut buffer), Ok(1..))
        && stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            .is_ok()
    {}
}

/// Starts the consumer, whose calls go through a proxy if it is given.
fn consumer(
    bootstrap: &str,
    topic: &str,
    url: &str,
    output: &Path,
    proxy: Option<SocketAddr>,
    count: usize,
) -> ChildProcess {
    let jars = fetch_apache(&mut print_progress).unwrap();
    let proxy = proxy.map_or_else(Vec::new, |proxy| {
        vec![
            format!("-Dhttp.proxyHost={}", proxy.ip()),
            format!("-Dhttp.proxyPort={}", proxy.port()),
            "-Dhttp.nonProxyHosts=".to_owned(),
        ]
    });
    ProcessSpec::new("consumer", "java")
        .args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
        .args(proxy)
        .args(["-cp".to_owned(), format!("{}/*", jars.display())])
        .arg(repository_root().join("e2e/clients/java-poll/PollLoop.java"))
        .args([bootstrap, topic, topic, url])
        .arg(output)
        .arg(count.to_string())
        .spawn()
        .unwrap()
}

/// Sends records, each a second after the one before it, and not before that was handled.
fn send(bootstrap: &str, topic: &str, output: &Path, count: usize) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    let producer: BaseProducer = config.create().unwrap();
    let mut due = Instant::now();
    for number in 0..count {
        let is_due = || {
            let is_handled = lines(output).len() >= number;
            (is_handled && Instant::now() >= due).then_some(())
        };
        wait::until(TIMEOUT, is_due).unwrap();
        due = Instant::now() + PAUSE;
        let value = format!("order-{number}");
        let record = BaseRecord::<(), _>::to(topic).payload(&value);
        producer.send(record).map_err(|(error, _)| error).unwrap();
        producer.flush(TIMEOUT).unwrap();
    }
}

fn lines(output: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(output).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn spans(collector: &CollectorInstance, service: &str) -> Vec<TraceSpan> {
    let parameters = [("service", service), ("limit", "1500")];
    let traces = collector.search(&parameters).unwrap();
    let mut spans = TraceSet::from_json(&json!({ "data": traces })).spans;
    spans.retain(|span| span.service == service);
    spans
}

/// Waits until a consumer has joined its group, by its first Fetch.
fn wait_for_fetch(sidecar: &SidecarInstance) {
    let name = "throughline_kafka_requests_total{api=\"Fetch\"}";
    let fetches = || sidecar.metric(name).filter(|fetches| *fetches >= 1.0);
    wait::until(TIMEOUT, fetches).unwrap();
}

#[test]
fn records_of_a_java_consumer_that_commits_on_a_timer_are_whole_from_the_first_one_on() {
    let full = std::env::var_os("THROUGHLINE_FULL").is_some();
    let count = if full { 20 } else { 8 };
    let binary = &ProjectBinaries::build().unwrap().throughline;
    let kafka = ApacheBroker::builder().start(&mut print_progress).unwrap();
    let collector = CollectorInstance::start(binary).unwrap();
    let otlp = collector.addresses().otlp_http;
    let url = format!("http://{}", notification());
    let folder = tempfile::tempdir().unwrap();
    let sender = SidecarInstance::start(binary, kafka.bootstrap(), otlp, PRODUCER, &[]).unwrap();
    let outbound = ["--outbound", "127.0.0.1:0"];
    let sidecar =
        SidecarInstance::start(binary, kafka.bootstrap(), otlp, CONSUMER, &outbound).unwrap();
    for topic in ["direct", "through"] {
        create_topic(kafka.bootstrap(), &TopicSpec::new(topic, 1)).unwrap();
    }
    let (direct, through) = (folder.path().join("direct"), folder.path().join("through"));
    let _direct = consumer(kafka.bootstrap(), "direct", &url, &direct, None, count);
    let proxy = sidecar.http().first().copied();
    let running = consumer(sidecar.bootstrap(), "through", &url, &through, proxy, count);
    wait_for_fetch(&sidecar);
    let (to_kafka, to_sidecar) = (kafka.bootstrap(), sender.bootstrap());
    thread::scope(|scope| {
        scope.spawn(|| send(to_kafka, "direct", &direct, count));
        scope.spawn(|| send(to_sidecar, "through", &through, count));
    });
    assert!(running.wait(TIMEOUT).unwrap().success());
    let complete = || (lines(&direct).len() == count).then_some(());
    wait::until(TIMEOUT, complete).unwrap();
    assert_eq!(lines(&direct), lines(&through));

    // The last commit comes when the consumer closes.
    let committed = || {
        let spans = spans(&collector, CONSUMER);
        let commits = spans.iter().filter(|it| it.name == "commit through");
        (commits.count() == count).then_some(spans)
    };
    let spans = wait::until(TIMEOUT, committed).unwrap_or_else(|| spans(&collector, CONSUMER));
    let named = |name: &str| {
        let matching = spans.iter().filter(|it| it.name.starts_with(name));
        matching.collect::<Vec<_>>()
    };
    let (processed, calls) = (named("process through"), named("GET"));
    assert_eq!((processed.len(), calls.len()), (count, count));
    let ids: BTreeSet<_> = processed.iter().map(|it| (&it.trace, &it.id)).collect();
    let is_whole = |call: &&&TraceSpan| {
        let parent = call.references.first();
        parent.is_some_and(|(_, trace, id)| ids.contains(&(trace, id)))
    };
    let whole: Vec<_> = calls.iter().filter(is_whole).collect();
    eprintln!("{} of {count} records have their call", whole.len());
    // On a slow machine one of the first calls may be too doubtful. None has a wrong parent.
    assert!(whole.len() + 1 >= count, "{} of {count}", whole.len());
    let parents: BTreeSet<_> = whole.iter().map(|it| &it.references).collect();
    assert_eq!(parents.len(), whole.len(), "two calls have one parent");
    for call in &whole {
        let process = processed.iter().find(|it| it.trace == call.trace).unwrap();
        let elapsed = call.start.saturating_sub(process.start);
        assert!(elapsed < 900_000, "{elapsed} us after the delivery");
    }
    let handled = named("commit through")
        .into_iter()
        .filter_map(|it| it.tags.get("throughline.kafka.handled")?.as_f64())
        .fold(0.0, f64::max);
    assert!(
        handled < LONGEST_WORK,
        "80 ms of work are said to take {handled} s"
    );
}
