//! The APIs of Kafka's protocol: their keys, names and versions, as of Kafka 4.4.
//!
//! The table `APIS` is the only place that states which versions of an API this crate parses; the
//! sidecar limits ApiVersions to the same table. To add a version:
//!
//! 1. Raise the upper bound in the row of the API.
//! 2. Regenerate `tests/goldens` with the Kafka release that introduces the version. Until then the
//!    test `all_supported_versions_have_goldens` fails.
//!
//! If the layout has changed, the comparison with the goldens fails, and the view in
//! [`crate::message`] needs a branch on the version. Otherwise nothing else changes.

use std::fmt;
use std::ops::RangeInclusive;

/// The key of an API. Unknown keys are ordinary values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiKey(pub i16);

/// A row of [`APIS`].
struct ApiSpec {
    key: ApiKey,
    /// The name in the specification.
    name: &'static str,
    first_flexible: i16,
    /// The versions that [`crate::message`] parses, if any.
    supported: Option<RangeInclusive<i16>>,
}

/// In place of a first flexible version, for an API that has none.
const NEVER_FLEXIBLE: i16 = i16::MAX;

/// The APIs that a client can call: key, name, first flexible version (KIP-482) and, for those
/// whose messages are parsed, the supported versions.
const APIS: [ApiSpec; 72] = [
    parsed(ApiKey::PRODUCE, "Produce", 9, 3..=13),
    parsed(ApiKey::FETCH, "Fetch", 12, 4..=18),
    parsed(ApiKey::METADATA, "Metadata", 9, 0..=13),
    parsed(ApiKey::OFFSET_COMMIT, "OffsetCommit", 8, 2..=10),
    parsed(ApiKey::FIND_COORDINATOR, "FindCoordinator", 3, 0..=6),
    parsed(ApiKey::JOIN_GROUP, "JoinGroup", 6, 0..=9),
    parsed(ApiKey::HEARTBEAT, "Heartbeat", 4, 0..=4),
    parsed(ApiKey::LEAVE_GROUP, "LeaveGroup", 4, 0..=5),
    parsed(ApiKey::SYNC_GROUP, "SyncGroup", 4, 0..=5),
    parsed(
        ApiKey::SASL_HANDSHAKE,
        "SaslHandshake",
        NEVER_FLEXIBLE,
        0..=1,
    ),
    parsed(ApiKey::API_VERSIONS, "ApiVersions", 3, 0..=5),
    parsed(ApiKey::TXN_OFFSET_COMMIT, "TxnOffsetCommit", 3, 0..=6),
    parsed(ApiKey::DESCRIBE_CLUSTER, "DescribeCluster", 0, 0..=2),
    parsed(
        ApiKey::CONSUMER_GROUP_HEARTBEAT,
        "ConsumerGroupHeartbeat",
        0,
        0..=1,
    ),
    parsed(
        ApiKey::STREAMS_GROUP_HEARTBEAT,
        "StreamsGroupHeartbeat",
        0,
        0..=1,
    ),
    parsed(ApiKey::SHARE_FETCH, "ShareFetch", 0, 1..=2),
    parsed(ApiKey::SHARE_ACKNOWLEDGE, "ShareAcknowledge", 0, 1..=2),
    parsed(ApiKey::CREATE_TOPICS, "CreateTopics", 5, 2..=7),
    parsed(ApiKey::DESCRIBE_CONFIGS, "DescribeConfigs", 4, 1..=4),
    parsed(ApiKey::ALTER_CONFIGS, "AlterConfigs", 2, 0..=2),
    parsed(
        ApiKey::INCREMENTAL_ALTER_CONFIGS,
        "IncrementalAlterConfigs",
        1,
        0..=1,
    ),
    named(ApiKey(2), "ListOffsets", 6),
    named(ApiKey::OFFSET_FETCH, "OffsetFetch", 6),
    named(ApiKey(15), "DescribeGroups", 5),
    named(ApiKey(16), "ListGroups", 3),
    named(ApiKey(20), "DeleteTopics", 4),
    named(ApiKey(21), "DeleteRecords", 2),
    named(ApiKey(22), "InitProducerId", 2),
    named(ApiKey(23), "OffsetForLeaderEpoch", 4),
    named(ApiKey(24), "AddPartitionsToTxn", 3),
    named(ApiKey(25), "AddOffsetsToTxn", 3),
    named(ApiKey(26), "EndTxn", 3),
    named(ApiKey(27), "WriteTxnMarkers", 1),
    named(ApiKey(29), "DescribeAcls", 2),
    named(ApiKey(30), "CreateAcls", 2),
    named(ApiKey(31), "DeleteAcls", 2),
    named(ApiKey(34), "AlterReplicaLogDirs", 2),
    named(ApiKey(35), "DescribeLogDirs", 2),
    named(ApiKey::SASL_AUTHENTICATE, "SaslAuthenticate", 2),
    named(ApiKey(37), "CreatePartitions", 2),
    named(ApiKey(38), "CreateDelegationToken", 2),
    named(ApiKey(39), "RenewDelegationToken", 2),
    named(ApiKey(40), "ExpireDelegationToken", 2),
    named(ApiKey(41), "DescribeDelegationToken", 2),
    named(ApiKey(42), "DeleteGroups", 2),
    named(ApiKey(43), "ElectLeaders", 2),
    named(ApiKey(45), "AlterPartitionReassignments", 0),
    named(ApiKey(46), "ListPartitionReassignments", 0),
    named(ApiKey(47), "OffsetDelete", NEVER_FLEXIBLE),
    named(ApiKey(48), "DescribeClientQuotas", 1),
    named(ApiKey(49), "AlterClientQuotas", 1),
    named(ApiKey(50), "DescribeUserScramCredentials", 0),
    named(ApiKey(51), "AlterUserScramCredentials", 0),
    named(ApiKey(55), "DescribeQuorum", 0),
    named(ApiKey(57), "UpdateFeatures", 0),
    named(ApiKey(61), "DescribeProducers", 0),
    named(ApiKey(64), "UnregisterBroker", 0),
    named(ApiKey(65), "DescribeTransactions", 0),
    named(ApiKey(66), "ListTransactions", 0),
    named(ApiKey(69), "ConsumerGroupDescribe", 0),
    named(ApiKey(71), "GetTelemetrySubscriptions", 0),
    named(ApiKey(72), "PushTelemetry", 0),
    named(ApiKey(74), "ListConfigResources", 0),
    named(ApiKey(75), "DescribeTopicPartitions", 0),
    named(ApiKey(76), "ShareGroupHeartbeat", 0),
    named(ApiKey(77), "ShareGroupDescribe", 0),
    named(ApiKey(80), "AddRaftVoter", 0),
    named(ApiKey(81), "RemoveRaftVoter", 0),
    named(ApiKey(89), "StreamsGroupDescribe", 0),
    named(ApiKey(90), "DescribeShareGroupOffsets", 0),
    named(ApiKey(91), "AlterShareGroupOffsets", 0),
    named(ApiKey(92), "DeleteShareGroupOffsets", 0),
];

// === impl ApiKey ===

impl ApiKey {
    pub const PRODUCE: Self = Self(0);
    pub const FETCH: Self = Self(1);
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
    pub const CREATE_TOPICS: Self = Self(19);
    pub const TXN_OFFSET_COMMIT: Self = Self(28);
    pub const DESCRIBE_CONFIGS: Self = Self(32);
    pub const ALTER_CONFIGS: Self = Self(33);
    pub const SASL_AUTHENTICATE: Self = Self(36);
    pub const INCREMENTAL_ALTER_CONFIGS: Self = Self(44);
    pub const DESCRIBE_CLUSTER: Self = Self(60);
    pub const CONSUMER_GROUP_HEARTBEAT: Self = Self(68);
    pub const SHARE_FETCH: Self = Self(78);
    pub const SHARE_ACKNOWLEDGE: Self = Self(79);
    pub const STREAMS_GROUP_HEARTBEAT: Self = Self(88);

    /// Returns the name in the specification; [`None`] for an unknown key.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        self.spec().map(|api| api.name)
    }

    /// Returns whether this version has compact and tagged fields; [`None`] for an unknown key.
    #[must_use]
    pub fn is_flexible(self, version: i16) -> Option<bool> {
        self.spec().map(|api| version >= api.first_flexible)
    }

    /// Returns the versions whose messages this crate parses; [`None`] when it parses none of them.
    #[must_use]
    pub fn supported_versions(self) -> Option<RangeInclusive<i16>> {
        self.spec()?.supported.clone()
    }

    /// Returns whether messages of this version can be parsed.
    #[must_use]
    pub fn supports(self, version: i16) -> bool {
        self.spec()
            .and_then(|api| api.supported.as_ref())
            .is_some_and(|versions| versions.contains(&version))
    }

    fn spec(self) -> Option<&'static ApiSpec> {
        // The parsed APIs, which are nearly all requests, come first, so the scan is short.
        APIS.iter().find(|api| api.key == self)
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

// === impl ApiSpec ===

const fn parsed(
    key: ApiKey,
    name: &'static str,
    first_flexible: i16,
    supported: RangeInclusive<i16>,
) -> ApiSpec {
    ApiSpec {
        key,
        name,
        first_flexible,
        supported: Some(supported),
    }
}

const fn named(key: ApiKey, name: &'static str, first_flexible: i16) -> ApiSpec {
    ApiSpec {
        key,
        name,
        first_flexible,
        supported: None,
    }
}
