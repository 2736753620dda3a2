//! Shared by the sidecar's Kafka tests: generated records, clients that carry them, and checks of
//! records and spans.

pub(crate) mod case;
pub(crate) mod check;
pub(crate) mod fixture;
pub(crate) mod record;
pub(crate) mod run;
pub(crate) mod scram;
pub(crate) mod spans;
