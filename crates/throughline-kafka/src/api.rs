//! The keys of Kafka's APIs, and which versions of them are flexible (KIP-482), as of Kafka 4.4.

use std::fmt;

/// A key of the protocol. Unknown ones are values like any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiKey(pub i16);

/// What is known of an API: its key, its name in the specification, its first flexible version.
type Known = (ApiKey, &'static str, i16);

// === impl ApiKey ===

impl ApiKey {
    pub const PRODUCE: Self = Self(0);
    pub const FETCH: Self = Self(1);
    pub const LIST_OFFSETS: Self = Self(2);
    pub const METADATA: Self = Self(3);
    pub const OFFSET_COMMIT: Self = Self(8);
    pub const OFFSET_FETCH: Self = Self(9);
    pub const FIND_COORDINATOR: Self = Self(10);
    pub const JOIN_GROUP: Self = Self(11);
    pub const HEARTBEAT: Self = Self(12);
    pub const LEAVE_GROUP: Self = Self(13);
    pub const SYNC_GROUP: Self = Self(14);
    pub const SASL_HANDSHAKE: Self = Self(17);
    pub const API_VERSIONS: Self = Self(18);
    pub const INIT_PRODUCER_ID: Self = Self(22);
    pub const ADD_PARTITIONS_TO_TXN: Self = Self(24);
    pub const ADD_OFFSETS_TO_TXN: Self = Self(25);
    pub const END_TXN: Self = Self(26);
    pub const TXN_OFFSET_COMMIT: Self = Self(28);
    pub const SASL_AUTHENTICATE: Self = Self(36);
    pub const DESCRIBE_CLUSTER: Self = Self(60);
    pub const CONSUMER_GROUP_HEARTBEAT: Self = Self(68);
    pub const SHARE_GROUP_HEARTBEAT: Self = Self(76);
    pub const SHARE_FETCH: Self = Self(78);
    pub const SHARE_ACKNOWLEDGE: Self = Self(79);

    /// The name in the specification; [`None`] for a key that is not in the table.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        self.known().map(|(_, name, _)| *name)
    }

    /// Whether this version has compact fields and tags; [`None`] for a key that is not in the table.
    #[must_use]
    pub fn is_flexible(self, version: i16) -> Option<bool> {
        self.known().map(|(_, _, first)| version >= *first)
    }

    fn known(self) -> Option<&'static Known> {
        KNOWN.iter().find(|(key, _, _)| *key == self)
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "api key {}", self.0),
        }
    }
}

/// For an API that has no flexible version.
const NEVER: i16 = i16::MAX;

/// The APIs that clients use and that this crate opens or names.
const KNOWN: [Known; 24] = [
    (ApiKey::PRODUCE, "Produce", 9),
    (ApiKey::FETCH, "Fetch", 12),
    (ApiKey::LIST_OFFSETS, "ListOffsets", 6),
    (ApiKey::METADATA, "Metadata", 9),
    (ApiKey::OFFSET_COMMIT, "OffsetCommit", 8),
    (ApiKey::OFFSET_FETCH, "OffsetFetch", 6),
    (ApiKey::FIND_COORDINATOR, "FindCoordinator", 3),
    (ApiKey::JOIN_GROUP, "JoinGroup", 6),
    (ApiKey::HEARTBEAT, "Heartbeat", 4),
    (ApiKey::LEAVE_GROUP, "LeaveGroup", 4),
    (ApiKey::SYNC_GROUP, "SyncGroup", 4),
    (ApiKey::SASL_HANDSHAKE, "SaslHandshake", NEVER),
    (ApiKey::API_VERSIONS, "ApiVersions", 3),
    (ApiKey::INIT_PRODUCER_ID, "InitProducerId", 2),
    (ApiKey::ADD_PARTITIONS_TO_TXN, "AddPartitionsToTxn", 3),
    (ApiKey::ADD_OFFSETS_TO_TXN, "AddOffsetsToTxn", 3),
    (ApiKey::END_TXN, "EndTxn", 3),
    (ApiKey::TXN_OFFSET_COMMIT, "TxnOffsetCommit", 3),
    (ApiKey::SASL_AUTHENTICATE, "SaslAuthenticate", 2),
    (ApiKey::DESCRIBE_CLUSTER, "DescribeCluster", 0),
    (
        ApiKey::CONSUMER_GROUP_HEARTBEAT,
        "ConsumerGroupHeartbeat",
        0,
    ),
    (ApiKey::SHARE_GROUP_HEARTBEAT, "ShareGroupHeartbeat", 0),
    (ApiKey::SHARE_FETCH, "ShareFetch", 0),
    (ApiKey::SHARE_ACKNOWLEDGE, "ShareAcknowledge", 0),
];
