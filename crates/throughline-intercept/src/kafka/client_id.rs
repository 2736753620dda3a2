//! The application in a client id: what remains of it without the parts that Kafka's own clients
//! generate, and that change with each start, thread or task.
//!
//! | client id | set by (class in Apache Kafka) | application |
//! |---|---|---|
//! | `APP-UUID-StreamThread-1-consumer`, `-producer` and others | `StreamThread` | `APP` |
//! | `APP-UUID-GlobalStreamThread…`, `-StateUpdater…` | `KafkaStreams` | `APP` |
//! | `APP-UUID-admin`, `APP-UUID-global-consumer` | `ClientUtils` | `APP` |
//! | `connector-consumer-NAME-0`, `-producer-` and others | `Worker` | `NAME` |
//! | `consumer-GROUP-1` | `ConsumerConfig` | `GROUP` |
//! | the groups `console-consumer-4711`, `perf-consumer-4711` | `ConsoleConsumer` | no number |
//! | `consumer-1`, `producer-1`, `adminclient-1`, `connect-1` | `ProducerConfig` | no number |
//! | `A->B\|CONNECTOR-0\|replication-consumer` | `MirrorSourceTask` | `A->B\|CONNECTOR` |
//! | `kafka-python-producer-1`, `aiokafka-producer-1` | those libraries | no number |
//!
//! Anything else is the application's own, and stays whole.

/// Texts behind the client id of a Streams instance in those of its clients.
const STREAMS_PARTS: [&str; 3] = ["-StreamThread-", "-GlobalStreamThread", "-StateUpdater-"];

/// Endings behind the client id of a Streams instance that ends with a UUID.
const STREAMS_ENDINGS: [&str; 4] = ["-admin", "-global-consumer", "-CleanupThread", ""];

const CONNECT_PREFIXES: [&str; 4] = [
    "connector-consumer-",
    "connector-producer-",
    "connector-adminclient-",
    "connector-dlq-producer-",
];

/// Names that libraries number.
const NUMBERED: [&str; 6] = [
    "consumer",
    "producer",
    "adminclient",
    "connect",
    "kafka-python-producer",
    "aiokafka-producer",
];

/// Groups that Kafka's tools number at random.
const NUMBERED_GROUPS: [&str; 3] = [
    "console-consumer",
    "console-share-consumer",
    "perf-consumer",
];

/// Returns the part of a client id that names its application. Never empty, unless the id is.
pub(super) fn application(client_id: &str) -> &str {
    let found = streams_application(client_id)
        .or_else(|| connector_name(client_id))
        .or_else(|| mirror_connector(client_id))
        .or_else(|| numbered(client_id));
    found.filter(|it| !it.is_empty()).unwrap_or(client_id)
}

fn streams_application(id: &str) -> Option<&str> {
    let instance = STREAMS_PARTS
        .iter()
        .find_map(|part| id.split_once(part).map(|(instance, _)| instance));
    if let Some(instance) = instance {
        // A configured client.id has no UUID behind it.
        return Some(without_uuid(instance).unwrap_or(instance));
    }
    // These endings are ordinary words, so that they count behind a UUID only.
    STREAMS_ENDINGS
        .iter()
        .find_map(|ending| without_uuid(id.strip_suffix(ending)?))
}

/// Returns the text in front of `-UUID`.
fn without_uuid(text: &str) -> Option<&str> {
    const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];
    const LENGTH: usize = 36;
    let (front, uuid) = text.split_at_checked(text.len().checked_sub(LENGTH)?)?;
    let is_group = |part: &str, length| {
        part.len() == length && part.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    let mut lengths = GROUPS.into_iter();
    let mut parts = uuid.split('-');
    let is_uuid = parts.all(|part| lengths.next().is_some_and(|length| is_group(part, length)));
    front.strip_suffix('-').filter(|_| is_uuid)
}

fn connector_name(id: &str) -> Option<&str> {
    let name = CONNECT_PREFIXES
        .iter()
        .find_map(|prefix| id.strip_prefix(prefix))?;
    // The number of the task; there is none where the connector itself is the client.
    Some(without_number(name).unwrap_or(name))
}

/// MirrorMaker separates its parts by a character that names of connectors hardly have.
fn mirror_connector(id: &str) -> Option<&str> {
    let (task, role) = id.rsplit_once('|')?;
    let is_role = ["-consumer", "-producer", "-admin"]
        .iter()
        .any(|ending| role.ends_with(ending));
    let is_mirror = task.contains("->") && is_role;
    is_mirror.then(|| without_number(task).unwrap_or(task))
}

fn numbered(id: &str) -> Option<&str> {
    let name = without_number(id)?;
    if NUMBERED.contains(&name) {
        return Some(name);
    }
    let group = name.strip_prefix("consumer-")?;
    // Java prints an absent group.id as null.
    if group == "null" {
        return Some("consumer");
    }
    let tool = without_number(group).filter(|tool| NUMBERED_GROUPS.contains(tool));
    Some(tool.unwrap_or(group))
}

/// Returns the text in front of `-NUMBER`.
fn without_number(text: &str) -> Option<&str> {
    let (front, number) = text.rsplit_once('-')?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then_some(front)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_parts_are_removed() {
        const UUID: &str = "f534264a-cbae-4077-9341-974e4baecc53";
        for (id, expected) in [
            ("orders-app-{}-StreamThread-1-consumer", "orders-app"),
            ("orders-app-{}-StreamThread-12-producer", "orders-app"),
            (
                "orders-app-{}-StreamThread-1-restore-consumer",
                "orders-app",
            ),
            ("orders-app-{}-StreamThread-1-0_3-producer", "orders-app"),
            (
                "orders-app-{}-GlobalStreamThread-global-consumer",
                "orders-app",
            ),
            (
                "orders-app-{}-StateUpdater-1-restore-consumer",
                "orders-app",
            ),
            ("orders-app-{}-admin", "orders-app"),
            ("orders-app-{}", "orders-app"),
            ("my-id-StreamThread-1-consumer", "my-id"),
            ("connector-consumer-jdbc-sink-0", "jdbc-sink"),
            ("connector-producer-jdbc-source-12", "jdbc-source"),
            ("connector-adminclient-jdbc-sink", "jdbc-sink"),
            ("connector-dlq-producer-jdbc-sink-0", "jdbc-sink"),
            ("consumer-billing-1", "billing"),
            ("consumer-billing-eu-2", "billing-eu"),
            ("consumer-console-consumer-4711-1", "console-consumer"),
            ("consumer-null-1", "consumer"),
            ("consumer-1", "consumer"),
            ("producer-3", "producer"),
            ("adminclient-1", "adminclient"),
            (
                "A->B|MirrorSourceConnector-0|replication-consumer",
                "A->B|MirrorSourceConnector",
            ),
            ("aiokafka-producer-1", "aiokafka-producer"),
        ] {
            assert_eq!(application(&id.replace("{}", UUID)), expected, "{id}");
        }
    }

    #[test]
    fn ids_of_applications_stay_whole() {
        for id in [
            "",
            "billing",
            "billing-1",
            "orders-admin",
            "orders-consumer",
            "producer-orders",
            "consumer-orders",
            "console-producer",
            "rdkafka",
            "kafka-python-2.0.2",
            "f534264a-cbae-4077-9341-974e4baecc53",
            "orders-f534264a-cbae-4077-9341-974e4baecc5x-admin",
            "a|b-consumer",
            "-StreamThread-1-consumer",
            "connector-consumer-",
            // A byte index into this one need not be a character's border.
            &"\u{fc}".repeat(19),
        ] {
            assert_eq!(application(id), id);
        }
    }
}
