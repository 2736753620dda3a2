//! Error codes of Kafka's protocol, and their names for `error.type`.

/// Success.
pub(super) const NONE: i16 = 0;
/// The broker found a wrong checksum.
pub(super) const CORRUPT_MESSAGE: i16 = 2;
/// No response arrived in time.
pub(super) const REQUEST_TIMED_OUT: i16 = 7;
/// A batch is larger than `max.message.bytes`.
pub(super) const MESSAGE_TOO_LARGE: i16 = 10;
/// The connection ended before the response.
pub(super) const NETWORK_EXCEPTION: i16 = 13;
/// A batch is larger than a segment of the log.
pub(super) const RECORD_LIST_TOO_LARGE: i16 = 18;
/// A batch of the producer is missing before this one.
pub(super) const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
/// The broker knows no batch of the producer, and this one is not the first (until Kafka 2.4).
pub(super) const UNKNOWN_PRODUCER_ID: i16 = 59;
/// The topic's message format has no headers.
pub(super) const UNSUPPORTED_FOR_MESSAGE_FORMAT: i16 = 43;
/// The broker rejected a record.
pub(super) const INVALID_RECORD: i16 = 87;

/// Names in the order of their codes, from 0, as of Kafka 4.4.
const NAMES: [&str; 137] = [
    "NONE",
    "OFFSET_OUT_OF_RANGE",
    "CORRUPT_MESSAGE",
    "UNKNOWN_TOPIC_OR_PARTITION",
    "INVALID_FETCH_SIZE",
    "LEADER_NOT_AVAILABLE",
    "NOT_LEADER_OR_FOLLOWER",
    "REQUEST_TIMED_OUT",
    "BROKER_NOT_AVAILABLE",
    "REPLICA_NOT_AVAILABLE",
    "MESSAGE_TOO_LARGE",
    "STALE_CONTROLLER_EPOCH",
    "OFFSET_METADATA_TOO_LARGE",
    "NETWORK_EXCEPTION",
    "COORDINATOR_LOAD_IN_PROGRESS",
    "COORDINATOR_NOT_AVAILABLE",
    "NOT_COORDINATOR",
    "INVALID_TOPIC_EXCEPTION",
    "RECORD_LIST_TOO_LARGE",
    "NOT_ENOUGH_REPLICAS",
    "NOT_ENOUGH_REPLICAS_AFTER_APPEND",
    "INVALID_REQUIRED_ACKS",
    "ILLEGAL_GENERATION",
    "INCONSISTENT_GROUP_PROTOCOL",
    "INVALID_GROUP_ID",
    "UNKNOWN_MEMBER_ID",
    "INVALID_SESSION_TIMEOUT",
    "REBALANCE_IN_PROGRESS",
    "INVALID_COMMIT_OFFSET_SIZE",
    "TOPIC_AUTHORIZATION_FAILED",
    "GROUP_AUTHORIZATION_FAILED",
    "CLUSTER_AUTHORIZATION_FAILED",
    "INVALID_TIMESTAMP",
    "UNSUPPORTED_SASL_MECHANISM",
    "ILLEGAL_SASL_STATE",
    "UNSUPPORTED_VERSION",
    "TOPIC_ALREADY_EXISTS",
    "INVALID_PARTITIONS",
    "INVALID_REPLICATION_FACTOR",
    "INVALID_REPLICA_ASSIGNMENT",
    "INVALID_CONFIG",
    "NOT_CONTROLLER",
    "INVALID_REQUEST",
    "UNSUPPORTED_FOR_MESSAGE_FORMAT",
    "POLICY_VIOLATION",
    "OUT_OF_ORDER_SEQUENCE_NUMBER",
    "DUPLICATE_SEQUENCE_NUMBER",
    "INVALID_PRODUCER_EPOCH",
    "INVALID_TXN_STATE",
    "INVALID_PRODUCER_ID_MAPPING",
    "INVALID_TRANSACTION_TIMEOUT",
    "CONCURRENT_TRANSACTIONS",
    "TRANSACTION_COORDINATOR_FENCED",
    "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
    "SECURITY_DISABLED",
    "OPERATION_NOT_ATTEMPTED",
    "KAFKA_STORAGE_ERROR",
    "LOG_DIR_NOT_FOUND",
    "SASL_AUTHENTICATION_FAILED",
    "UNKNOWN_PRODUCER_ID",
    "REASSIGNMENT_IN_PROGRESS",
    "DELEGATION_TOKEN_AUTH_DISABLED",
    "DELEGATION_TOKEN_NOT_FOUND",
    "DELEGATION_TOKEN_OWNER_MISMATCH",
    "DELEGATION_TOKEN_REQUEST_NOT_ALLOWED",
    "DELEGATION_TOKEN_AUTHORIZATION_FAILED",
    "DELEGATION_TOKEN_EXPIRED",
    "INVALID_PRINCIPAL_TYPE",
    "NON_EMPTY_GROUP",
    "GROUP_ID_NOT_FOUND",
    "FETCH_SESSION_ID_NOT_FOUND",
    "INVALID_FETCH_SESSION_EPOCH",
    "LISTENER_NOT_FOUND",
    "TOPIC_DELETION_DISABLED",
    "FENCED_LEADER_EPOCH",
    "UNKNOWN_LEADER_EPOCH",
    "UNSUPPORTED_COMPRESSION_TYPE",
    "STALE_BROKER_EPOCH",
    "OFFSET_NOT_AVAILABLE",
    "MEMBER_ID_REQUIRED",
    "PREFERRED_LEADER_NOT_AVAILABLE",
    "GROUP_MAX_SIZE_REACHED",
    "FENCED_INSTANCE_ID",
    "ELIGIBLE_LEADERS_NOT_AVAILABLE",
    "ELECTION_NOT_NEEDED",
    "NO_REASSIGNMENT_IN_PROGRESS",
    "GROUP_SUBSCRIBED_TO_TOPIC",
    "INVALID_RECORD",
    "UNSTABLE_OFFSET_COMMIT",
    "THROTTLING_QUOTA_EXCEEDED",
    "PRODUCER_FENCED",
    "RESOURCE_NOT_FOUND",
    "DUPLICATE_RESOURCE",
    "UNACCEPTABLE_CREDENTIAL",
    "INCONSISTENT_VOTER_SET",
    "INVALID_UPDATE_VERSION",
    "FEATURE_UPDATE_FAILED",
    "PRINCIPAL_DESERIALIZATION_FAILURE",
    "SNAPSHOT_NOT_FOUND",
    "POSITION_OUT_OF_RANGE",
    "UNKNOWN_TOPIC_ID",
    "DUPLICATE_BROKER_REGISTRATION",
    "BROKER_ID_NOT_REGISTERED",
    "INCONSISTENT_TOPIC_ID",
    "INCONSISTENT_CLUSTER_ID",
    "TRANSACTIONAL_ID_NOT_FOUND",
    "FETCH_SESSION_TOPIC_ID_ERROR",
    "INELIGIBLE_REPLICA",
    "NEW_LEADER_ELECTED",
    "OFFSET_MOVED_TO_TIERED_STORAGE",
    "FENCED_MEMBER_EPOCH",
    "UNRELEASED_INSTANCE_ID",
    "UNSUPPORTED_ASSIGNOR",
    "STALE_MEMBER_EPOCH",
    "MISMATCHED_ENDPOINT_TYPE",
    "UNSUPPORTED_ENDPOINT_TYPE",
    "UNKNOWN_CONTROLLER_ID",
    "UNKNOWN_SUBSCRIPTION_ID",
    "TELEMETRY_TOO_LARGE",
    "INVALID_REGISTRATION",
    "TRANSACTION_ABORTABLE",
    "INVALID_RECORD_STATE",
    "SHARE_SESSION_NOT_FOUND",
    "INVALID_SHARE_SESSION_EPOCH",
    "FENCED_STATE_EPOCH",
    "INVALID_VOTER_KEY",
    "DUPLICATE_VOTER",
    "VOTER_NOT_FOUND",
    "INVALID_REGULAR_EXPRESSION",
    "REBOOTSTRAP_REQUIRED",
    "STREAMS_INVALID_TOPOLOGY",
    "STREAMS_INVALID_TOPOLOGY_EPOCH",
    "STREAMS_TOPOLOGY_FENCED",
    "SHARE_SESSION_LIMIT_REACHED",
    "GROUP_DELETION_FAILED",
    "STREAMS_TOPOLOGY_DESCRIPTION_UPDATE_FAILED",
    "CONTROLLER_ID_NOT_REGISTERED",
];

/// Returns whether the broker rejected a batch for its size.
pub(super) const fn is_size_rejected(code: i16) -> bool {
    matches!(code, MESSAGE_TOO_LARGE | RECORD_LIST_TOO_LARGE)
}

/// Returns whether the broker rejected a batch for what injection may have caused. Nothing of the
/// batch was appended then.
pub(super) const fn is_change_rejected(code: i16) -> bool {
    is_size_rejected(code)
        || matches!(
            code,
            CORRUPT_MESSAGE | UNSUPPORTED_FOR_MESSAGE_FORMAT | INVALID_RECORD
        )
}

/// Returns whether the broker rejected a batch because an earlier one of its producer is missing.
pub(super) const fn is_sequence_rejected(code: i16) -> bool {
    matches!(code, OUT_OF_ORDER_SEQUENCE_NUMBER | UNKNOWN_PRODUCER_ID)
}

/// Returns whether producers send a batch again after this error, as those of Java's
/// `RetriableException` and errors of the sequence.
pub(super) const fn is_produce_retriable(code: i16) -> bool {
    matches!(
        code,
        CORRUPT_MESSAGE
            | 3 // UNKNOWN_TOPIC_OR_PARTITION
            | 5 // LEADER_NOT_AVAILABLE
            | 6 // NOT_LEADER_OR_FOLLOWER
            | REQUEST_TIMED_OUT
            | 8 // BROKER_NOT_AVAILABLE
            | 9 // REPLICA_NOT_AVAILABLE
            | NETWORK_EXCEPTION
            | 14 // COORDINATOR_LOAD_IN_PROGRESS
            | 15 // COORDINATOR_NOT_AVAILABLE
            | 16 // NOT_COORDINATOR
            | 19 // NOT_ENOUGH_REPLICAS
            | 20 // NOT_ENOUGH_REPLICAS_AFTER_APPEND
            | 41 // NOT_CONTROLLER
            | 51 // CONCURRENT_TRANSACTIONS
            | 56 // KAFKA_STORAGE_ERROR
            | 74 // FENCED_LEADER_EPOCH
            | 75 // UNKNOWN_LEADER_EPOCH
            | 89 // THROTTLING_QUOTA_EXCEEDED
            | 100 // UNKNOWN_TOPIC_ID
            | 103 // INCONSISTENT_TOPIC_ID
    ) || is_sequence_rejected(code)
}

/// Returns the name of a code; `UNKNOWN_SERVER_ERROR` for -1 and for codes of later versions.
pub(super) fn name(code: i16) -> &'static str {
    usize::try_from(code)
        .ok()
        .and_then(|code| NAMES.get(code))
        .copied()
        // A fixed set of names keeps the number of `error.type` values small.
        .unwrap_or("UNKNOWN_SERVER_ERROR")
}

#[cfg(test)]
mod tests {
    use kafka_protocol::ResponseError;

    use super::*;

    #[test]
    fn names_match_those_of_kafka_protocol() {
        for (code, ours) in (1..).zip(&NAMES[1..]) {
            let Some(theirs) = ResponseError::try_from_code(code) else {
                continue;
            };
            let theirs: String = format!("{theirs:?}")
                .chars()
                .filter(char::is_ascii_alphanumeric)
                .collect();
            let ours = ours.replace('_', "");
            assert!(
                theirs.eq_ignore_ascii_case(&ours) || theirs == format!("Unknown{code}"),
                "{code}: {theirs}, {ours}"
            );
        }
        assert_eq!(
            (name(7), name(-1), name(999)),
            (
                "REQUEST_TIMED_OUT",
                "UNKNOWN_SERVER_ERROR",
                "UNKNOWN_SERVER_ERROR"
            )
        );
    }
}
