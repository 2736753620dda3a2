//! The attributes that all spans of one Kafka client share.

use std::sync::Arc;

/// The identity of a client, for attributes of its spans.
#[derive(Debug, Clone, Default)]
pub(crate) struct ClientAttributes {
    pub(crate) group: Option<Arc<str>>,
    pub(crate) client_id: Option<Arc<str>>,
    pub(crate) cluster_id: Option<Arc<str>>,
    pub(crate) server: Option<(Arc<str>, Option<u16>)>,
    /// Whether record keys become attributes.
    pub(crate) has_message_key: bool,
}
