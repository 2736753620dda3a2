//! What the tests of the sidecar share: hostile records, clients that carry them, and what must hold of both records and spans.

pub mod case;
pub mod check;
pub mod kit;
pub mod record;
pub mod run;
pub mod spans;
