//! Streams of bytes: dialing, TLS, buffers, tunnels and the two phases of a shutdown.

pub(crate) mod dial;
pub(crate) mod drain;
pub(crate) mod own_connections;
pub(crate) mod own_listeners;
pub(crate) mod read_buffer;
pub(crate) mod stream;
pub(crate) mod tls;
pub(crate) mod tunnel;
pub(crate) mod write_queue;
