use super::*;

const SECOND: u64 = 1_000_000_000;

/// Connections to one coordinator and to one leader, under one client id.
struct Host {
    table: GroupTable,
    client: ClientKey,
    broker: (Arc<str>, u16),
    topic: Arc<str>,
}

// === impl Host ===

impl Host {
    fn new() -> Self {
        Self {
            table: GroupTable::new(16),
            client: ClientKey {
                address: None,
                client_id: Some("rdkafka".into()),
            },
            broker: ("broker".into(), 9092),
            topic: "orders".into(),
        }
    }

    /// Has a member of a group join on a connection and be assigned partition 0.
    fn assign(&mut self, connection: u64, group: &str, now: Timestamp) {
        let (client, broker) = (self.client.clone(), self.broker.clone());
        let connection = ClientConnection {
            client: &client,
            id: ConnectionId(connection),
            broker: Some(&broker),
        };
        let member = MemberSign {
            member: "m",
            stage: MemberStage::Joining,
        };
        self.table.learn(connection, group, member, now);
        let member = GroupMemberId { group, member: "m" };
        let assignment = vec![(Arc::clone(&self.topic), PartitionIndex(0))];
        self.table.assign(connection, member, assignment, now);
    }

    /// Gives a member the offset of its partition.
    fn fetch_offsets(&mut self, connection: u64, now: Timestamp) {
        let client = self.client.clone();
        let connection = ClientConnection {
            client: &client,
            id: ConnectionId(connection),
            broker: None,
        };
        self.table.offsets_fetched(connection, now);
    }

    /// Has the only member of a group leave it.
    fn leave(&mut self, group: &str) {
        let (client, member) = (self.client.clone(), GroupMemberId { group, member: "m" });
        self.table.leave(&client, member);
    }

    /// Records a heartbeat of a member.
    fn heartbeat(&mut self, connection: u64, group: &str, now: Timestamp) {
        let client = self.client.clone();
        let connection = ClientConnection {
            client: &client,
            id: ConnectionId(connection),
            broker: None,
        };
        let sign = MemberSign {
            member: "m",
            stage: MemberStage::Joined,
        };
        self.table.learn(connection, group, sign, now);
    }

    /// Commits partition 0 for a group.
    fn commit(&mut self, group: &str, now: Timestamp) {
        let (client, topic) = (self.client.clone(), Arc::clone(&self.topic));
        self.table
            .commit(&client, group, &topic, PartitionIndex(0), now);
    }

    /// Returns the group of a connection that has fetched partition 0 since a time.
    fn reader(&mut self, connection: u64, since: Timestamp, now: Timestamp) -> Option<Arc<str>> {
        let (client, broker) = (self.client.clone(), self.broker.clone());
        let connection = ClientConnection {
            client: &client,
            id: ConnectionId(connection),
            broker: Some(&broker),
        };
        let topic = Arc::clone(&self.topic);
        let partition = FetchedPartition {
            topic: &topic,
            index: PartitionIndex(0),
            since,
            requested_at: now,
        };
        self.table.reader_group(connection, partition, now)
    }
}

#[test]
fn two_groups_under_one_client_id_are_distinguished_on_one_partition() {
    let mut host = Host::new();
    host.assign(1, "a", 10);
    assert_eq!(host.reader(2, 11, 12).as_deref(), Some("a"));
    host.assign(3, "b", 20);
    // The partition of the first group has a reader already.
    assert_eq!(host.reader(4, 21, 22).as_deref(), Some("b"));
    assert_eq!(host.reader(2, 11, 23).as_deref(), Some("a"));
    assert_eq!(host.reader(4, 21, 24).as_deref(), Some("b"));
}

#[test]
fn groups_that_were_assigned_a_partition_at_once_are_ambiguous() {
    let mut host = Host::new();
    host.assign(1, "a", 10);
    host.assign(2, "b", 10);
    assert_eq!(host.reader(3, 11, 12), None);
    assert_eq!(host.reader(4, 11, 12), None);
    let (client, topic) = (host.client.clone(), Arc::clone(&host.topic));
    assert!(
        host.table
            .may_be_read_by_others(&client, "a", &topic, PartitionIndex(0), 30)
    );
    // The departure of one ends the ambiguity.
    let member = GroupMemberId {
        group: "b",
        member: "m",
    };
    host.table.leave(&client, member);
    assert!(
        !host
            .table
            .may_be_read_by_others(&client, "a", &topic, PartitionIndex(0), 30)
    );
    host.table.close(&client, ConnectionId(4), 13);
    assert_eq!(host.reader(3, 11, 14).as_deref(), Some("a"));
}

#[test]
fn groups_that_were_assigned_a_partition_at_once_differ_by_their_offsets() {
    let mut host = Host::new();
    host.assign(1, "a", 10);
    host.assign(2, "b", 11);
    host.fetch_offsets(1, 12);
    host.fetch_offsets(2, 14);
    // The first reader began before the other group had its offset.
    assert_eq!(host.reader(4, 15, 16), None);
    assert_eq!(host.reader(3, 13, 17).as_deref(), Some("a"));
    assert_eq!(host.reader(4, 15, 18).as_deref(), Some("b"));
}

#[test]
fn later_offset_fetches_say_nothing() {
    let mut host = Host::new();
    host.assign(1, "a", 10);
    host.fetch_offsets(1, 11);
    host.assign(2, "b", 20);
    // The application of the first group looks at its offset; its partition is read since long.
    host.fetch_offsets(1, 30);
    host.fetch_offsets(2, 11 * SECOND);
    assert_eq!(host.reader(3, 25, 31), None);
    assert_eq!(host.reader(4, 12, 32).as_deref(), Some("a"));
}

#[test]
fn other_reader_of_a_partition_is_found_first() {
    let mut host = Host::new();
    host.assign(1, "a", 10);
    host.assign(2, "b", 10);
    host.fetch_offsets(1, 12);
    assert_eq!(host.reader(3, 13, 13), None);
    host.fetch_offsets(2, 14);
    // The next response of the first reader comes after the first one of the second reader.
    assert_eq!(host.reader(5, 15, 16).as_deref(), Some("b"));
    assert_eq!(host.reader(3, 13, 17).as_deref(), Some("a"));
}

#[test]
fn last_records_of_a_group_that_left_are_none_of_another_group() {
    let mut host = Host::new();
    host.assign(1, "b", 5);
    host.assign(2, "a", 10);
    assert_eq!(host.reader(3, 7, 12).as_deref(), Some("b"));
    assert_eq!(host.reader(4, 11, 12).as_deref(), Some("a"));
    host.leave("a");
    assert_eq!(host.reader(4, 11, 19).as_deref(), Some("a"));
    assert_eq!(host.reader(3, 7, 21).as_deref(), Some("b"));
}

#[test]
fn only_group_of_a_client_is_known_while_a_partition_moves() {
    let mut host = Host::new();
    host.assign(1, "a", 10);
    assert_eq!(host.reader(2, 11, 12).as_deref(), Some("a"));
    let (client, topic) = (host.client.clone(), Arc::clone(&host.topic));
    // The member is assigned nothing any more, and another connection reads the partition.
    let connection = ClientConnection {
        client: &client,
        id: ConnectionId(1),
        broker: None,
    };
    let member = GroupMemberId {
        group: "a",
        member: "m",
    };
    host.table.assign(connection, member, Assignment::new(), 20);
    assert_eq!(host.reader(3, 21, 22).as_deref(), Some("a"));
    assert!(
        !host
            .table
            .may_be_read_by_others(&client, "a", &topic, PartitionIndex(0), 30)
    );
}

#[test]
fn reader_without_a_group_is_not_taken_for_a_member_that_came_later() {
    let mut host = Host::new();
    assert_eq!(host.reader(1, 5, 6), None);
    host.assign(2, "a", 10);
    assert_eq!(host.reader(1, 5, 11), None);
    assert_eq!(host.reader(3, 11, 12).as_deref(), Some("a"));
}

#[test]
fn members_age_when_they_are_silent_or_their_connection_is_closed() {
    let mut host = Host::new();
    host.assign(1, "a", SECOND);
    assert_eq!(host.reader(2, SECOND, 2 * SECOND).as_deref(), Some("a"));
    host.heartbeat(1, "a", 50 * SECOND);
    assert_eq!(host.reader(2, SECOND, 100 * SECOND).as_deref(), Some("a"));
    assert_eq!(host.reader(2, SECOND, 111 * SECOND), None);
    host.assign(1, "b", 120 * SECOND);
    let client = host.client.clone();
    host.table.close(&client, ConnectionId(1), 121 * SECOND);
    assert_eq!(
        host.reader(3, 121 * SECOND, 122 * SECOND).as_deref(),
        Some("b")
    );
    assert_eq!(host.reader(4, 140 * SECOND, 140 * SECOND), None);
}

#[test]
fn groups_beyond_the_limit_are_not_guessed() {
    let mut host = Host::new();
    for number in 0..=MAX_GROUPS {
        host.heartbeat(1, &format!("g{number}"), 1);
    }
    assert_eq!(host.reader(2, 2, 3), None);
}

#[test]
fn only_reader_of_a_committed_partition_is_that_of_the_only_group() {
    let mut host = Host::new();
    host.heartbeat(1, "a", 1);
    let later = 1 + RESUMPTION_TIMEOUT;
    assert_eq!(host.reader(3, 0, later), None);
    host.commit("a", later);
    assert_eq!(host.reader(3, 0, later).as_deref(), Some("a"));
}

#[test]
fn commit_says_nothing_while_another_group_may_be_the_reader() {
    let mut host = Host::new();
    host.assign(1, "a", 10);
    host.assign(2, "b", 10);
    assert_eq!(host.reader(3, 11, 12), None);
    // It commits what it has read on another connection, and does not fetch now.
    host.commit("b", 13);
    assert_eq!(host.reader(3, 11, 14), None);
    // A group without connections is about to expire.
    let client = host.client.clone();
    host.table.close(&client, ConnectionId(2), 15);
    host.commit("a", 16);
    assert_eq!(host.reader(3, 11, 17).as_deref(), Some("a"));
    // Of a connection that has a group, a commit changes nothing.
    host.leave("a");
    host.commit("b", 18);
    assert_eq!(host.reader(3, 11, 19).as_deref(), Some("a"));
}

// After a restart of the proxy all connections are new, and groups are known by their heartbeats.

#[test]
fn readers_are_not_those_of_the_group_that_is_known_first() {
    let mut host = Host::new();
    assert_eq!(host.reader(3, 1, 2), None);
    host.heartbeat(2, "b", 3);
    assert_eq!(host.reader(3, 1, 4), None);
    // Nor is one that began after it, as more heartbeats may follow.
    assert_eq!(host.reader(4, 5, 6), None);
    host.commit("b", 7);
    assert_eq!(host.reader(4, 5, 8), None);
    host.heartbeat(1, "a", 9);
    let later = 9 + RESUMPTION_TIMEOUT;
    for reader in [3, 4] {
        assert_eq!(host.reader(reader, 5, later), None);
    }
    host.commit("a", later);
    host.commit("b", later);
    for reader in [3, 4] {
        assert_eq!(host.reader(reader, 5, later), None);
    }
}

#[test]
fn only_group_that_was_there_before_is_that_of_later_readers() {
    let mut host = Host::new();
    host.heartbeat(1, "a", 3);
    let later = 3 + RESUMPTION_TIMEOUT;
    assert_eq!(host.reader(2, 4, later - 1), None);
    assert_eq!(host.reader(2, 4, later).as_deref(), Some("a"));
    // A connection that began before may be that of a consumer without a group.
    assert_eq!(host.reader(3, 2, later), None);
}

#[test]
fn group_that_joins_again_is_not_that_of_readers_of_a_group_that_is_not_known_yet() {
    let mut host = Host::new();
    host.assign(1, "a", 10);
    // It is the reader of the other group, of which nothing else is known yet.
    assert_eq!(host.reader(4, 11, 12).as_deref(), Some("a"));
    host.heartbeat(2, "b", 13);
    assert_eq!(host.reader(4, 11, 14), None);
    assert_eq!(host.reader(3, 12, 15), None);
    let later = 13 + RESUMPTION_TIMEOUT;
    assert_eq!(host.reader(4, 11, later), None);
}

#[test]
fn group_that_comes_back_after_a_long_silence_changes_no_group_that_was_found_long_ago() {
    let mut host = Host::new();
    host.assign(1, "a", 10);
    assert_eq!(host.reader(3, 11, 12).as_deref(), Some("a"));
    host.heartbeat(2, "b", 12 + RESUMPTION_TIMEOUT);
    let later = 13 + RESUMPTION_TIMEOUT;
    assert_eq!(host.reader(3, 11, later).as_deref(), Some("a"));
}

#[test]
fn members_that_are_assigned_tasks_have_their_group_from_the_start() {
    let mut host = Host::new();
    let client = host.client.clone();
    let connection = ClientConnection {
        client: &client,
        id: ConnectionId(1),
        broker: None,
    };
    let sign = MemberSign {
        member: "m",
        stage: MemberStage::JoiningTasks,
    };
    host.table.learn(connection, "a", sign, 1);
    assert_eq!(host.reader(2, 2, 3).as_deref(), Some("a"));
}

#[test]
fn nothing_is_settled_by_elimination_while_groups_may_be_unknown() {
    let mut host = Host::new();
    host.heartbeat(1, "a", 3);
    let (client, topic) = (host.client.clone(), Arc::clone(&host.topic));
    let others = |now| {
        let partition = PartitionIndex(0);
        host.table
            .may_be_read_by_others(&client, "a", &topic, partition, now)
    };
    assert!(others(4));
    assert!(!others(3 + RESUMPTION_TIMEOUT));
}
