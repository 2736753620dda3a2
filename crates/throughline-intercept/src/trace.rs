//! Trace decisions and span parts that HTTP and Kafka share.
//!
//! | module | answers |
//! |---|---|
//! | [`sampler`] | is this trace recorded? |
//! | [`id`] | which random ids does a new span get? |
//! | [`identity`] | which trace is a span part of, who is its parent, which flags does it carry? |
//! | [`parent`] | how was the parent found, and how certain is it? |
//! | [`token_bucket`] | is the rate of spans within its limit? |
//! | [`attribute`] | how are attributes added and durations converted? |
//! | [`defaults`] | which formats and which scope apply without configuration? |
//!
//! Pure functions and values: randomness comes from a seed, time is an argument.

mod attribute;
mod defaults;
mod id;
mod identity;
mod parent;
mod sampler;
mod token_bucket;

pub(crate) use attribute::{push, push_some, seconds};
pub(crate) use defaults::{default_read_formats, default_scope, default_write_formats};
pub(crate) use id::IdGenerator;
pub(crate) use identity::SpanIdentity;
pub(crate) use parent::ParentEvidence;
pub(crate) use sampler::Sampler;
pub use token_bucket::TokenBucket;
