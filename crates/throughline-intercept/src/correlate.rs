//! Attribution of outbound messages to the inbound message that caused them, in a process that does
//! not propagate contexts.
//!
//! Between processes, a context in the message headers names the parent. Inside a process that
//! copies no headers nothing does, and the parent is found by the best [`Evidence`] available.
//! The span records it as `throughline.parent.evidence`:
//!
//! | evidence | meaning | certainty |
//! |---|---|---|
//! | `header` | the outbound message carries a context: the application propagates | exact |
//! | `request-id` | it carries a token of an inbound message, such as `x-request-id` | exact |
//! | `sole` | exactly one inbound request or record is in flight | with a confidence |
//! | `order` | only records of one partition are in flight, and one is next | with a confidence |
//! | `tokens` | it shares a value with one of the requests in flight | with a confidence |
//! | `structure` | only one of the requests in flight had come to this step | with a confidence |
//! | `timing` | one had most likely come to this step by now | with a confidence |
//! | `open` | none of these: the span begins a trace of its own | |
//!
//! The confidence is the attribute `throughline.parent.confidence`. Other tokens than
//! `x-request-id` are configured as a [`CorrelationKey`].
//!
//! A wrong parent is worse than none, because it puts the work of one customer into the trace of
//! another, and nobody notices. All rules therefore prefer `open`. The figures of
//! `docs/correlation.md` come from `tests/correlation/`, where a simulated process knows the truth.
//!
//! # The lock
//!
//! All connections of a process share one [`Correlator`] behind a lock. Parsing and hashing happen
//! before the lock is taken: a [`TokenExtractor`] is cloned out of it, and [`OutboundCall`],
//! [`RecordDelivery`], [`CallSignature`] and [`RecordQueueId`] are plain values. The module knows
//! no protocol: HTTP and Kafka decide which parts of a message make these values.
//!
//! # When `sole` is inferred
//!
//! The candidates are the activities (requests and records) that were *in flight* at some time
//! since the outbound message was created. For a request that is now; for a record it is its own
//! timestamp, because producers hold records back for some milliseconds to fill a batch.
//! A producer whose topic has no leader yet holds its first records back for seconds. Beyond
//! [`CorrelationLimits::linger_ns`] the candidate must also have been in flight at the timestamp,
//! because the timestamp may be that of another record, and beyond
//! [`CorrelationLimits::max_hold_ns`] nothing is inferred.
//!
//! A single candidate is the parent, unless the process makes calls that no candidate causes. It
//! may have timers. It may receive requests that are not seen here. It may respond first and work
//! afterwards. All of these also call while nothing is in flight, which is how they are detected.
//! For every [`CallSignature`] the correlator counts the calls made while no activity could have
//! caused them (*unattributed*) and those made while exactly one could (*single*). Calls without a
//! cause are as frequent in an idle second as in a second with one activity in flight, so
//!
//! ```text
//!   doubt = (unattributed + prior) / idle seconds * seconds with one in flight / (single + 1)
//! ```
//!
//! is the expected share of single calls of this signature that their activity did not cause.
//! `sole` is inferred if the doubt is at most [`SingleInFlightPolicy::Measured`] allows, and 1 -
//! doubt is its confidence. In a process that is never idle the doubt is unbounded and `sole` is
//! never inferred, rightly: there is nothing to measure by. Counts and seconds decay with a
//! half-life of five minutes.
//!
//! * The prior accounts for calls that have not been seen yet: 0.1 calls, and half a call (the
//!   Jeffreys prior of a rate) once the process has made an unattributed call of any signature. The
//!   first call of a process that has been idle for a while thus has its parent, and a process
//!   known to act on its own has to show more.
//! * Within [`CorrelationLimits::linger_ns`] after the end of an activity the same ratio is also
//!   computed from the unattributed calls and the seconds of such times alone, and the greater
//!   doubt counts: a night without load says nothing about the day, and work after a response
//!   follows it soon. A single call in a quiescent time, with no recent end, has fourfold weight
//!   there.
//!
//! `sole` is never inferred, whatever the doubt,
//! * after a request was aborted (the client went away, a deadline passed), for a few times the
//!   duration of requests: its handler may still be running. Unattributed calls in that time are
//!   not counted either;
//! * for a signature that usually carries tokens, if the call has none or an unknown one.
//!
//! Requests older than [`CorrelationLimits::ambient_after_ns`] (streams, long polls) and upgraded
//! connections (WebSocket) do not count as in flight. Calls that they cause are unattributed, and
//! measured as such.
//!
//! # Tokens
//!
//! A token names an inbound message for as long as that is remembered
//! ([`CorrelationLimits::retention_ns`]). If several messages have it (a caller that uses one id
//! twice, a request that is sent again), it names the one whose handler can still be running, if
//! there is only one: a handler whose response was sent longer than the linger time ago is done, a
//! handler whose client went away may not be.
//!
//! # Records
//!
//! A consumer receives more records than it handles at a time, so it is known when a record may be
//! handled, not when it is:
//!
//! ```text
//!   delivered --> buffered in the client --> handled --> settled:
//!                 (not seen)                 (not seen)  an offset commit covers it, or
//!                                                        a later record's token is in a call, or
//!                                                        its client has polled again, or
//!                                                        it has made all calls of its profile, or
//!                                                        five minutes have passed
//! ```
//!
//! * A record is in flight from its delivery until it is settled. Two records in flight are two
//!   candidates, even in one partition.
//! * A commit of offset *n* settles all records before *n*. Some clients commit records that they
//!   have handed over but not handled (librdkafka without `enable.auto.offset.store=false`). The
//!   calls of such a record come after its commit: they are unattributed, and measured.
//! * A client that fetches only when its application asks for records shows by its fetches what was
//!   handled, long before a commit on a timer does. Java's consumer is one.
//! * Records of a partition are handled in order, so a token that names a record settles those
//!   before it. If it names a record that was already settled, records of that topic are handled
//!   concurrently, and order is not used for them again.
//! * Records of one topic tend to cause the same calls. Calls of records that are alone in the
//!   process form the topic's profile. After 16 equal records, a record that has made all
//!   successful calls of one signature is *exhausted*: it is not a candidate for more of them, and
//!   it is settled when it has made all calls. A consumer that commits every five seconds is
//!   therefore not in flight all the time.
//! * After 64 equal records, the first record of several waiting in one partition that is not
//!   exhausted is the parent: `order`. It is not used if a call has failed, if two records called
//!   concurrently, or if a record deviated from the profile, which is then learned again.
//!
//! A handler that makes one call for many records has no single parent: its call is `open`.
//!
//! # Steps
//!
//! Where these rules leave a call open, the steps of the requests in flight may decide
//! (`structure`, `timing`): the engine of `throughline-weave` learns in which order, and after what
//! time, requests of an operation make their calls, and follows each request through its steps. It
//! sees all events of the correlator, decides at the moment of the call, and its answer counts from
//! a posterior of [`Settings::inference_threshold`] on. See `docs/weaving.md`.
//!
//! # Propagation of the process
//!
//! A call with a context shows in which formats the process propagates, and whether it continues
//! the traces that it is called in. It does not if the call's trace is none of an activity, and
//! the call was made for a sampled one: for the only activity in flight, by the doubt above, or
//! for one of several in a process that has continued none before. An id of 64 bits that is the
//! low half of an activity's is that trace: some tracers keep no more of it.

mod activity;
mod activity_map;
mod activity_table;
mod activity_traces;
mod call;
mod call_signature;
mod call_stats;
mod correlator;
mod decaying_counter;
mod doubt;
mod evidence;
mod inference;
mod live_inference;
mod occupancy;
mod process_model;
mod propagation;
mod record_queue;
mod settings;
mod shared_tokens;
mod token;
mod topic_profile;

#[cfg(test)]
mod tests;

pub use activity::ActivityId;
pub use call::{Attribution, CallHandle, CallOutcome, OutboundCall};
pub use call_signature::CallSignature;
pub use correlator::{Correlator, CorrelatorAccess, RequestOutcome};
pub use evidence::{Evidence, ParentDecision};
pub use process_model::{RecordDelivery, RecordSettlement};
pub use propagation::{CarriedContext, PropagationObservation};
pub use record_queue::RecordQueueId;
pub use settings::{CorrelationLimits, Settings, SingleInFlightPolicy};
pub use token::{CorrelationKey, REQUEST_ID, TokenExtractor, TokenLocation, TokenSet, TokenSource};
