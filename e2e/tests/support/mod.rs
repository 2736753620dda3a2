//! What the tests of the sidecar share: hostile records, clients that carry them, and what must hold of both records and spans.

pub(crate) mod case;
pub(crate) mod check;
pub(crate) mod fixture;
pub(crate) mod record;
pub(crate) mod run;
pub(crate) mod spans;
