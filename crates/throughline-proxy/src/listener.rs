//! Accepts connections, detects their protocol and reads where the system redirected them from.

pub(crate) mod accept;
pub(crate) mod detect;
pub(crate) mod detect_server;
pub(crate) mod original_destination;
pub(crate) mod protocol;
