//! Which inbound message caused an outbound one, in a process that does not tell.
//!
//! Between processes a context in the message tells. Inside a process that copies no headers nothing does, and the parent is
//! found by the best [`Evidence`] there is, which stands on the span as `throughline.parent.evidence`:
//!
//! | evidence | what it is | how sure |
//! |---|---|---|
//! | `header` | the outbound message carries a context: the application propagates | exact |
//! | `request-id` | it carries a token that an inbound one carried: `x-request-id`, or a configured [`Key`] | exact |
//! | `sole` | exactly one inbound exchange or record is in flight | `throughline.parent.confidence` |
//! | `order` | only records of one partition are, and it is this one's turn | `throughline.parent.confidence` |
//! | `open` | none of these: the span begins a trace of its own, for the weaver to join | |
//!
//! A wrong parent is worse than none: it puts the work of one customer into the trace of another, and nobody can see that. So
//! everything here leans towards `open`. The figures of `docs/correlation.md` are those of `tests/correlation.rs`, where
//! a simulated process knows the truth.
//!
//! # When `sole` is believed
//!
//! What is *present* is what was in flight in some moment since the outbound message was made: since now for a request, since
//! its own timestamp for a record, which producers keep back for some milliseconds to fill a batch. If exactly one thing is
//! present, it is the parent, unless the process does things that nobody asked for. It may have timers. It may be asked on
//! ways that are not seen here. It may answer first and work then. Each of these calls out while nothing is in flight, too, and
//! that is how it is found out: for every [`Kind`] of call there is a count of those that came when nobody could have asked for
//! them (*stray*) and of those that came when one alone could (*lone*). What comes by itself comes as often in a second of
//! idleness as in a second with one in flight, so that
//!
//! ```text
//!   doubt = (stray + unseen) / idle seconds * seconds with one in flight / (lone + 1)
//! ```
//!
//! is the share of lone calls of this kind that were nobody's doing. `sole` is given where the doubt is no more than
//! [`Sole::Measured`] allows, and 1 - doubt is its confidence. In a process that is never idle the doubt is without bound, and
//! nothing is `sole`, rightly: there is nothing to tell by. Counts and seconds fade with a half-life of five minutes.
//!
//! * `unseen` stands for what has not strayed yet: 0.1 calls, and half a call (Jeffreys' prior for a rate) as soon as a call of any
//!   kind has. So the first call of a process that has been idle for a while has its parent, and one that is known to do things
//!   of its own has to show more.
//! * Not long after something has ended ([`Limits::linger`]) the same is reckoned once more with the strays and the seconds of
//!   such times alone, and the greater doubt holds: a night without load says nothing about the day, and what is done after an
//!   answer is done soon after. A lone call counts for four there if nothing had ended not long before it.
//!
//! Some things stay in the way of `sole`, whatever the doubt:
//! * an exchange that was broken off (the client went away, a deadline passed) not long ago, as exchanges go here: its handler may
//!   be at work still, and what strays meanwhile is not counted;
//! * for a kind that otherwise carries tokens, a call without one, or with one that nobody knows.
//!
//! Exchanges that last longer than [`Limits::ambient`] (streams, long polls) and upgraded connections (WebSocket) count as not
//! there. What they cause strays, and is measured as such.
//!
//! # Tokens
//!
//! A token names an inbound message for as long as that is remembered ([`Limits::keep`]). One that several have (a caller that
//! asks twice under one id, a request sent again) names the one that can still be at work, if it is only one: who ended well
//! [`Limits::linger`] ago cannot, who was broken off can.
//!
//! # Records
//!
//! A consumer is given more records than it handles at once, so of a record it is known when it may be handled, not when it is:
//!
//! ```text
//!   delivered --> waits in the client for its turn --> is handled --> settled
//!                 (unseen)                             (unseen)       a commit covers it
//!                                                                     a poll asks for what is behind those behind it (OnPoll)
//!                                                                     a record behind it calls out with a token
//!                                                                     it has made the calls that records of its topic make
//!                                                                     nothing else came for five minutes
//! ```
//!
//! * From delivery to settling a record is in flight. Two records in flight are two, also of one partition.
//! * A commit of offset *n* settles all before *n*. Some clients commit what they have handed over but not handled
//!   (librdkafka with `enable.auto.offset.store`). The calls of such a record come after its commit: they stray, and are measured.
//! * A fetch tells of progress only for clients that fetch on poll ([`Fetching::OnPoll`]).
//! * Records of a partition are handled in order. So a token that names a record settles those before it; not where a record is
//!   named after it had been settled: then records of its topic are handled at the same time, and are not taken in order again.
//! * Records of one topic tend to do the same. What a record does while it is alone in the process is learned; after 16 alike
//!   a record that has done that much, and had good answers, is *spent*: it is no candidate for more of the kind, and is settled
//!   when it has done it all. So a consumer that commits every five seconds is not in flight all the time.
//! * After 64 alike, of several waiting records of one partition the first that is not spent is the parent: `order`. Not where a
//!   call has failed, where two records have been seen to call at the same time, or where one did something else before: then
//!   it is learned anew.
//!
//! A handler that takes many records and makes one call of them has no one parent, and is `open`.

mod correlator;
mod kind;
mod load;
mod queue;
mod routine;
mod token;
mod work;

#[cfg(test)]
mod tests;

pub use correlator::{Call, Correlator, End, Inbound, Outbound};
pub use kind::Kind;
pub use queue::{Fetching, Partition};
pub use token::{Key, Message, Place, REQUEST_ID, Tokens};

use throughline_model::context::SpanContext;

/// How the parent of a span was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Evidence {
    /// The message carries a context.
    Header,
    /// The message carries a token that an inbound one carried.
    RequestId,
    /// Exactly one inbound exchange or record was in flight.
    Sole,
    /// It was the record's turn.
    Order,
    /// It was not found: the span is a root, with a parent to be woven.
    Open,
}

/// The parent of a span.
#[derive(Debug, Clone, PartialEq)]
pub struct Parent {
    pub evidence: Evidence,
    /// The span that is the parent; [`None`] when it is open.
    pub context: Option<SpanContext>,
    /// From 0 to 1, where the evidence is not exact.
    pub confidence: Option<f64>,
}

/// What a correlator goes by.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// What is taken for a token.
    pub keys: Vec<Key>,
    pub sole: Sole,
    pub limits: Limits,
}

/// Whether the only one in flight is the parent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sole {
    /// Nothing but exact evidence.
    Never,
    /// Where at most this share of such calls is expected to be of somebody else's doing.
    Measured { doubt: f64 },
    /// Always: the user knows that the process does nothing but answer.
    Assumed,
}

/// What bounds a correlator. Times are in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Inbound exchanges and records that are remembered, in flight or over. With more in flight nothing is guessed.
    pub max_inbound: usize,
    /// With more in flight nothing is guessed.
    pub max_candidates: usize,
    /// Kinds of calls that are told apart.
    pub max_kinds: usize,
    /// Longer bodies are not searched for tokens.
    pub max_body_bytes: usize,
    /// How long what is over is known by its tokens.
    pub keep: u64,
    /// How long after its answer an exchange may still call out, and how long a producer may keep a record back.
    pub linger: u64,
    /// How far apart two connections can be read that were written to at once.
    pub skew: u64,
    /// An exchange that lasts longer says nothing about what is called meanwhile.
    pub ambient: u64,
    /// A record that nobody settled for so long is over.
    pub handling: u64,
}

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MILLISECOND;

// === impl Evidence ===

impl Evidence {
    /// All of them, the best first.
    pub const ALL: [Self; 5] = [
        Self::Header,
        Self::RequestId,
        Self::Sole,
        Self::Order,
        Self::Open,
    ];

    /// As it stands on spans.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::RequestId => "request-id",
            Self::Sole => "sole",
            Self::Order => "order",
            Self::Open => "open",
        }
    }

    /// Whether the parent is known and not only likely.
    #[must_use]
    pub const fn is_exact(self) -> bool {
        matches!(self, Self::Header | Self::RequestId)
    }
}

// === impl Parent ===

impl Parent {
    /// It is not known.
    #[must_use]
    pub const fn open() -> Self {
        Self {
            evidence: Evidence::Open,
            context: None,
            confidence: None,
        }
    }

    fn of(evidence: Evidence, context: Option<&SpanContext>, confidence: Option<f64>) -> Self {
        Self {
            evidence,
            context: context.cloned(),
            confidence,
        }
    }
}

// === impl Settings ===

impl Settings {
    fn reads_bodies(&self) -> bool {
        self.keys
            .iter()
            .flat_map(|key| &key.places)
            .any(|place| matches!(place, Place::Body(_)))
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            keys: vec![Key::request_id()],
            sole: Sole::default(),
            limits: Limits::default(),
        }
    }
}

// === impl Sole ===

impl Default for Sole {
    fn default() -> Self {
        Self::Measured { doubt: 0.01 }
    }
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_inbound: 16 * 1024,
            max_candidates: 64,
            max_kinds: 1024,
            max_body_bytes: 64 * 1024,
            keep: 60 * SECOND,
            linger: SECOND,
            skew: MILLISECOND,
            ambient: 60 * SECOND,
            // As the Java client's `max.poll.interval.ms`: a slower consumer has lost its partitions.
            handling: 300 * SECOND,
        }
    }
}
