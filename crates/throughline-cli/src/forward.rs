//! Woven traces that are sent on to another back end by OTLP over HTTP.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use http::{HeaderMap, HeaderName, HeaderValue};
use throughline_collector::{TraceSinkCounts, WovenTraceSink};
use throughline_export::{
    BatchSettings, Compression, Config, ExportProtocol, Exporter, OtlpEndpoint, RetrySettings,
};
use throughline_model::{Span, SpanSink as _};
use tokio::runtime::Handle;

use crate::args::forward::ForwardArgs;

/// Time for the last spans when the command stops.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// Spans that wait while the back end is away, and their memory. Traces are settled in bursts.
const MAX_QUEUE_SPANS: usize = 131_072;
const MAX_QUEUE_BYTES: usize = 128 << 20;

/// The queue has room for another trace, as a whole, below these.
const ROOM_SPANS: usize = MAX_QUEUE_SPANS / 4 * 3;
const ROOM_BYTES: usize = MAX_QUEUE_BYTES / 4 * 3;

/// Time after which a batch is dropped: a back end is restarted in less.
const MAX_RETRY_TIME: Duration = Duration::from_secs(300);

/// A back end that gets woven traces.
#[derive(Debug)]
pub(crate) struct ForwardTarget {
    config: Config,
}

/// The exporter to a back end. With room for a trace it takes it whole; whoever must not lose any
/// asks first.
#[derive(Debug)]
pub(crate) struct TraceForwardExporter(Exporter);

/// Time that a flush waits, and between two looks meanwhile.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
const FLUSH_INTERVAL: Duration = Duration::from_millis(20);

// === impl ForwardTarget ===

impl ForwardTarget {
    /// Parses the arguments; adds every error, with its remedy, to `errors`.
    pub(crate) fn parse(args: &ForwardArgs, errors: &mut Vec<String>) -> Option<Self> {
        let url = args.forward.as_deref().filter(|url| !url.is_empty());
        let headers: Vec<&str> = args.forward_header.iter().map(String::as_str).collect();
        let headers: Vec<&str> = headers.into_iter().filter(|it| !it.is_empty()).collect();
        let authorities = args.forward_ca.as_deref();
        let authorities = authorities.filter(|path| !path.as_os_str().is_empty());
        let Some(url) = url else {
            for (option, is_given) in [
                ("--forward-header", !headers.is_empty()),
                ("--forward-ca", authorities.is_some()),
            ] {
                if is_given {
                    errors.push(format!(
                        "{option} has no effect without --forward; add the URL, or leave it out"
                    ));
                }
            }
            return None;
        };
        let headers = parse_headers(&headers, errors);
        let authorities = authorities.and_then(|path| read_authorities(path, errors));
        let endpoint = OtlpEndpoint::collector(url, ExportProtocol::HttpProtobuf);
        let Ok(endpoint) = endpoint else {
            // The URL is not quoted: it may hold a password.
            errors.push(
                "--forward is not a URL of the form http://host:4318 or https://host; credentials \
                 are passed with --forward-header"
                    .to_owned(),
            );
            return None;
        };
        let mut config = Config::to(endpoint);
        config.headers = headers;
        config.compression = Compression::Gzip;
        config.tls.authorities = authorities;
        config.batch = BatchSettings {
            max_queue_spans: MAX_QUEUE_SPANS,
            max_queue_bytes: MAX_QUEUE_BYTES,
            ..BatchSettings::default()
        };
        config.retry = RetrySettings {
            max_elapsed_time: MAX_RETRY_TIME,
            ..RetrySettings::default()
        };
        Some(Self { config })
    }

    /// Sends until the back end accepts or refuses, however long it is away, and drops nothing by
    /// itself: spans are offered only while there is room.
    pub(crate) fn without_loss(mut self) -> Self {
        self.config.batch.max_queue_spans = usize::MAX;
        self.config.batch.max_queue_bytes = usize::MAX;
        self.config.retry.max_elapsed_time = Duration::MAX;
        self
    }

    /// Starts the exporter.
    pub(crate) fn open(&self) -> Result<Arc<TraceForwardExporter>> {
        let exporter = Exporter::start(&self.config).context("--forward")?;
        Ok(Arc::new(TraceForwardExporter(exporter)))
    }

    /// Returns a sentence about where woven traces go.
    pub(crate) fn describe(&self) -> String {
        format!("Woven traces are forwarded to {}.", self.config.endpoint)
    }
}

// === impl TraceForwardExporter ===

impl TraceForwardExporter {
    /// Sends what is queued; gives up after some seconds.
    pub(crate) async fn shutdown(&self) {
        if !self.0.shutdown(SHUTDOWN_TIMEOUT).await {
            let lost = self.0.counts().dropped.shutdown;
            tracing::warn!(lost, "not all woven traces were forwarded before the end");
        }
    }
}

impl WovenTraceSink for TraceForwardExporter {
    fn send(&self, spans: Vec<Span>) {
        // The exporter counts what it drops.
        let _dropped = self.0.try_send_all(&mut spans.into_iter());
    }

    fn has_room(&self) -> bool {
        let counts = self.0.counts();
        counts.queued < ROOM_SPANS as u64 && counts.queued_bytes < ROOM_BYTES as u64
    }

    /// Waits on a thread of a runtime that may block. The exporter itself is not flushed: that
    /// would cut its waits for a back end short.
    fn flush(&self) -> bool {
        Handle::current().block_on(async {
            let begin = Instant::now();
            while self.0.counts().queued > 0 {
                if begin.elapsed() >= FLUSH_TIMEOUT {
                    return false;
                }
                tokio::time::sleep(FLUSH_INTERVAL).await;
            }
            true
        })
    }

    fn counts(&self) -> TraceSinkCounts {
        let counts = self.0.counts();
        TraceSinkCounts {
            queued: counts.queued,
            sent: counts.sent,
            dropped: counts.dropped.by_reason().to_vec(),
            retries: counts.retries,
        }
    }
}

fn parse_headers(headers: &[&str], errors: &mut Vec<String>) -> HeaderMap {
    let mut parsed = HeaderMap::new();
    for (header, number) in headers.iter().zip(1..) {
        let pair = header.split_once('=').and_then(|(name, value)| {
            let name = HeaderName::from_bytes(name.trim().as_bytes()).ok()?;
            let value = HeaderValue::from_str(value.trim()).ok()?;
            Some((name, value))
        });
        let Some((name, mut value)) = pair else {
            // It is not quoted: it may be secret.
            errors.push(format!(
                "--forward-header, number {number}: not a header; write it as NAME=VALUE"
            ));
            continue;
        };
        value.set_sensitive(true);
        parsed.append(name, value);
    }
    parsed
}

fn read_authorities(path: &Path, errors: &mut Vec<String>) -> Option<Vec<u8>> {
    let read = std::fs::read(path);
    read.map_err(|error| {
        let path = path.display();
        errors.push(format!("--forward-ca {path} cannot be read: {error}"));
    })
    .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(
        url: Option<&str>,
        headers: &[&str],
        authorities: Option<&str>,
    ) -> (Option<ForwardTarget>, Vec<String>) {
        let args = ForwardArgs {
            forward: url.map(str::to_owned),
            forward_header: headers.iter().map(|it| (*it).to_owned()).collect(),
            forward_ca: authorities.map(Into::into),
        };
        let mut errors = Vec::new();
        let target = ForwardTarget::parse(&args, &mut errors);
        (target, errors)
    }

    #[test]
    fn url_and_headers_are_those_of_requests() {
        let headers = ["authorization=Bearer a=b", "x-scope-orgid = team"];
        let (target, errors) = parse(Some("https://tempo.example/otlp"), &headers, None);
        assert_eq!(errors, [""; 0]);
        let target = target.unwrap();
        assert_eq!(
            target.describe(),
            "Woven traces are forwarded to https://tempo.example/otlp/v1/traces."
        );
        let headers = target.config.headers;
        assert_eq!(headers.get("authorization").unwrap(), "Bearer a=b");
        assert_eq!(headers.get("x-scope-orgid").unwrap(), "team");
        assert!(headers.values().all(HeaderValue::is_sensitive));
    }

    #[test]
    fn every_mistake_is_listed_and_no_secret_is_quoted() {
        let url = Some("ftp://me:secret@tempo");
        let (target, errors) = parse(url, &["secret", "a b=c"], Some("/absent"));
        assert!(target.is_none());
        for (error, expected) in errors
            .iter()
            .zip(["number 1", "number 2", "/absent", "not a URL"])
        {
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
        assert_eq!(errors.len(), 4);
        let (_, errors) = parse(None, &["a=b"], Some("/absent"));
        assert_eq!(errors.len(), 2, "{errors:?}");
        assert!(errors[0].contains("no effect without --forward"));
    }
}
