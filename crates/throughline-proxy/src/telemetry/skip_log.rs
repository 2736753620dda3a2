//! Log lines for what passes untraced: one for each reason, and one for each version of an API. The
//! metric `passed_total` counts the repetitions.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use throughline_intercept::kafka::{ApiKey, SkipReason};

/// The most versions that are logged. They come off the wire.
const MAX_VERSIONS: usize = 100;

/// Logs each kind of untraced traffic when it occurs first.
#[derive(Debug, Default)]
pub(crate) struct SkipLog {
    /// In the order of [`SkipReason::ALL`].
    reasons: [AtomicBool; SkipReason::ALL.len()],
    versions: Mutex<HashSet<(ApiKey, i16)>>,
}

// === impl SkipLog ===

impl SkipLog {
    /// Logs a reason, once, if a user can act on it.
    pub(crate) fn report(&self, reason: SkipReason) {
        if let Some(remedy) = remedy(reason)
            && self.is_first(reason)
        {
            tracing::info!(
                reason = reason.name(),
                "records or requests pass without a context or a span, and \
                 throughline_kafka_passed_total counts them: {remedy}"
            );
        }
    }

    /// Logs the version of an API that is not read, once.
    pub(crate) fn report_version(&self, api: ApiKey, version: i16) {
        let Some(supported) = api.supported_versions() else {
            return;
        };
        if self.is_first_version(api, version) {
            tracing::info!(
                api = api.name(),
                version,
                first = supported.start(),
                last = supported.end(),
                "requests of this version pass without being traced, and \
                 throughline_kafka_passed_total{{reason=\"version\"}} counts them: use a client \
                 with a supported version (Kafka 0.11 or later)"
            );
        }
    }

    fn is_first(&self, reason: SkipReason) -> bool {
        let mut flags = SkipReason::ALL.iter().zip(&self.reasons);
        let flag = flags.find(|(known, _)| **known == reason);
        // Loaded first: a reason may occur with every batch, and a swap takes the cache line.
        flag.is_some_and(|(_, flag)| {
            !flag.load(Ordering::Relaxed) && !flag.swap(true, Ordering::Relaxed)
        })
    }

    fn is_first_version(&self, api: ApiKey, version: i16) -> bool {
        let mut versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        versions.len() < MAX_VERSIONS && versions.insert((api, version))
    }
}

/// Returns the explanation of a reason, with its remedy; [`None`] where there is none, or where
/// another line is written.
const fn remedy(reason: SkipReason) -> Option<&'static str> {
    Some(match reason {
        SkipReason::FrameTooLarge => "a frame is longer than --max-frame; raise it",
        SkipReason::Budget => "frames in transit take more than --memory; raise it",
        SkipReason::Malformed => "a frame does not follow the Kafka protocol; please report it",
        SkipReason::BatchTooLarge => {
            "a batch with contexts would exceed the limit of its topic; if the topic accepts more, \
             set max_message_bytes in --topics"
        }
        SkipReason::Inflated => "a compressed batch is larger than 64 MiB; send smaller batches",
        SkipReason::Codec => "a batch does not decompress, or its codec is unknown",
        SkipReason::Checksum => {
            "the checksum of a batch is wrong; check the client and the network"
        }
        SkipReason::OldFormat => {
            "a batch has a message format of before Kafka 0.11, which has no headers; \
             upgrade the client"
        }
        SkipReason::UnknownTopic => {
            "--topics excludes some topics, and the name of this one is not known yet"
        }
        SkipReason::OutOfOrder => "a response matches no request in flight; please report it",
        SkipReason::Capacity => {
            "a connection has reached a limit of requests, partitions or open spans"
        }
        SkipReason::SpanRate => {
            "more spans than --max-spans-per-second; raise it, or lower --sample"
        }
        // A version, a panic, a refused batch and links have lines of their own. SASL tokens hold
        // nothing to trace, a connection may end at any time, and compressed batches pass because
        // the settings say so.
        SkipReason::Version
        | SkipReason::SaslTokens
        | SkipReason::RefusedBefore
        | SkipReason::Compressed
        | SkipReason::Disconnected
        | SkipReason::Panic
        | SkipReason::LinksOnly
        | _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_and_version_is_new_once() {
        let log = SkipLog::default();
        for reason in SkipReason::ALL {
            assert!(log.is_first(reason) && !log.is_first(reason), "{reason:?}");
        }
        assert!(log.is_first_version(ApiKey::PRODUCE, 0));
        assert!(log.is_first_version(ApiKey::PRODUCE, 1));
        assert!(!log.is_first_version(ApiKey::PRODUCE, 0));
    }

    #[test]
    fn versions_off_the_wire_do_not_flood_the_log() {
        let log = SkipLog::default();
        let count = (100..)
            .take(1000)
            .filter(|version| log.is_first_version(ApiKey::FETCH, *version));
        assert_eq!(count.count(), MAX_VERSIONS);
    }
}
