//! Group membership: requests in which a client names its group, and the partitions that it is
//! assigned.

use std::sync::Arc;

use bytes::Bytes;
use throughline_kafka::api::ApiKey;
use throughline_kafka::message::group::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, ConsumerProtocolAssignment,
    HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, StreamsGroupHeartbeatRequest,
    SyncGroupRequest, SyncGroupResponse,
};
use throughline_kafka::message::{ApiMessage, ParseOutcome};
use throughline_kafka::types::PartitionIndex;
use throughline_kafka::wire::{Error, WireArray, WireField};

use super::context::HandlerContext;
use super::message::{ApiFrame, Handler, RequestDecision};
use crate::kafka::cluster::{Assignment, GroupMemberId, MemberSign, MemberStage};
use crate::kafka::topic::TopicKey;
use crate::kafka::{ClusterHandle, SkipReason, error_code};

/// Handler of the requests of group members.
#[derive(Debug, Default)]
pub(super) struct GroupHandler {
    /// Group on this connection whose members are not consumers.
    foreign_group: Option<Arc<str>>,
}

/// Request whose response may assign partitions.
#[derive(Debug)]
pub(in crate::kafka) struct PendingMembership {
    group: Arc<str>,
    member: Arc<str>,
}

/// Request of a member.
struct MemberRequest<'a> {
    group_id: WireField<'a>,
    member_id: Option<WireField<'a>>,
    kind: MemberRequestKind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum MemberRequestKind {
    /// The member has no partitions until it is assigned some.
    Join,
    /// As [`Self::Join`], of a group that has other members than consumers.
    JoinForeign,
    /// As [`Self::Join`]; the partitions will not be known.
    JoinTasks,
    /// The response has an assignment.
    Assigned,
    Alive,
    Leave,
}

/// `protocol_type` of consumers, those of Kafka Streams included.
const CONSUMER_PROTOCOL: &[u8] = b"consumer";

/// Reads a request.
fn parse_request<'a>(request: &ApiFrame<'a>) -> Result<ParseOutcome<MemberRequest<'a>>, Error> {
    use MemberRequestKind::{Alive, Assigned, Join, JoinForeign, JoinTasks, Leave};
    let (body, version) = (request.body(), request.version);
    let member = |group_id, member_id, kind| MemberRequest {
        group_id,
        member_id: Some(member_id),
        kind,
    };
    Ok(match request.api {
        ApiKey::JOIN_GROUP => JoinGroupRequest::parse(body, version)?.map(|it| {
            let is_consumer = it.protocol_type.bytes() == CONSUMER_PROTOCOL;
            let kind = if is_consumer { Join } else { JoinForeign };
            member(it.group_id, it.member_id, kind)
        }),
        ApiKey::SYNC_GROUP => SyncGroupRequest::parse(body, version)?
            .map(|it| member(it.group_id, it.member_id, Assigned)),
        ApiKey::LEAVE_GROUP => {
            LeaveGroupRequest::parse(body, version)?.map(|it| MemberRequest {
                group_id: it.group_id,
                // Several members leave at once by an administrator's request only.
                member_id: it
                    .member_id
                    .or_else(|| it.members.iter().next().map(|member| member.member_id)),
                kind: Leave,
            })
        }
        ApiKey::CONSUMER_GROUP_HEARTBEAT => ConsumerGroupHeartbeatRequest::parse(body, version)?
            .map(|it| {
                // The first heartbeat joins, and negative epochs leave.
                let kind = match it.member_epoch {
                    0 => Join,
                    ..0 => Leave,
                    _ => Assigned,
                };
                member(it.group_id, it.member_id, kind)
            }),
        // Its assignment names tasks, not partitions: a member may read anything.
        ApiKey::STREAMS_GROUP_HEARTBEAT => {
            StreamsGroupHeartbeatRequest::parse(body, version)?.map(|it| {
                let kind = match it.member_epoch {
                    0 => JoinTasks,
                    ..0 => Leave,
                    _ => Alive,
                };
                member(it.group_id, it.member_id, kind)
            })
        }
        _ => HeartbeatRequest::parse(body, version)?
            .map(|it| member(it.group_id, it.member_id, Alive)),
    })
}

/// Reads the assignment of a response; [`None`] when it has none.
fn parse_assignment<C: ClusterHandle>(
    context: &mut HandlerContext<C>,
    response: &ApiFrame<'_>,
) -> Result<Option<(Option<Arc<str>>, Assignment)>, Error> {
    let (body, version) = (response.body(), response.version);
    let mut assignment = Assignment::new();
    if response.api == ApiKey::SYNC_GROUP {
        let outcome = SyncGroupResponse::parse(body, version)?.parsed();
        let sync = outcome.filter(|it| it.error_code == error_code::NONE);
        let Some(bytes) = sync.and_then(|it| it.assignment) else {
            return Ok(None);
        };
        // Some leaders assign nothing by an empty field.
        if !bytes.bytes().is_empty() {
            let parsed = ConsumerProtocolAssignment::parse(bytes.bytes())?;
            for topic in &parsed.assigned_partitions {
                if let Some(name) = topic.topic.text() {
                    let name = context.topics.intern(name);
                    extend(&mut assignment, &name, &topic.partitions);
                }
            }
        }
        return Ok(Some((None, assignment)));
    }
    let outcome = ConsumerGroupHeartbeatResponse::parse(body, version)?.parsed();
    let Some(heartbeat) = outcome.filter(|it| it.error_code == error_code::NONE) else {
        return Ok(None);
    };
    let Some(assigned) = heartbeat.assignment else {
        return Ok(None);
    };
    for topic in &assigned.topic_partitions {
        let name = context.topic_name(&TopicKey::Id(topic.topic_id));
        extend(&mut assignment, &name, &topic.partitions);
    }
    let member = heartbeat.member_id.and_then(|member| member.text());
    Ok(Some((member.map(Arc::from), assignment)))
}

fn extend(
    assignment: &mut Assignment,
    topic: &Arc<str>,
    partitions: &WireArray<'_, PartitionIndex>,
) {
    assignment.extend(partitions.iter().map(|index| (Arc::clone(topic), index)));
}

// === impl MemberRequestKind ===

impl MemberRequestKind {
    const fn stage(self) -> MemberStage {
        match self {
            Self::Join => MemberStage::Joining,
            Self::JoinTasks => MemberStage::JoiningTasks,
            Self::JoinForeign | Self::Assigned | Self::Alive | Self::Leave => MemberStage::Joined,
        }
    }
}

// === impl GroupHandler ===

impl GroupHandler {
    /// Returns whether the members of a group are not consumers.
    fn is_foreign(&mut self, group: &str, kind: MemberRequestKind) -> bool {
        if kind == MemberRequestKind::JoinForeign {
            self.foreign_group = Some(group.into());
        }
        self.foreign_group.as_deref() == Some(group)
    }
}

impl<C: ClusterHandle> Handler<C> for GroupHandler {
    type Pending = Option<Box<PendingMembership>>;

    fn on_request(
        &mut self,
        context: &mut HandlerContext<C>,
        request: &ApiFrame<'_>,
    ) -> Result<ParseOutcome<RequestDecision<Self::Pending>>, Error> {
        let Some(member) = parse_request(request)?.parsed() else {
            return Ok(ParseOutcome::UnsupportedVersion);
        };
        let plain = Ok(ParseOutcome::Parsed(RequestDecision::forward(None)));
        let Some(group) = member.group_id.text() else {
            return plain;
        };
        if group.is_empty() || self.is_foreign(group, member.kind) {
            return plain;
        }
        let id = member
            .member_id
            .and_then(|id| id.text())
            .unwrap_or_default();
        let kind = member.kind;
        if kind == MemberRequestKind::Leave {
            let member = GroupMemberId { group, member: id };
            let client = &context.client.key;
            context
                .cluster
                .with_state(|state| state.leave_group(client, member));
            return plain;
        }
        let is_joining = kind == MemberRequestKind::Join;
        let sign = MemberSign {
            member: id,
            stage: kind.stage(),
        };
        context.learn_group(group, sign, request.last_byte);
        if request.api == ApiKey::CONSUMER_GROUP_HEARTBEAT && is_joining {
            // Its consumer fetches in a thread of its own.
            context
                .cluster
                .with_state(|state| state.learn_background_fetches(group));
        }
        let is_assigned = kind == MemberRequestKind::Assigned
            || (is_joining && request.api == ApiKey::CONSUMER_GROUP_HEARTBEAT);
        let pending = is_assigned.then(|| {
            Box::new(PendingMembership {
                group: group.into(),
                member: id.into(),
            })
        });
        Ok(ParseOutcome::Parsed(RequestDecision::forward(pending)))
    }

    fn on_response(
        &mut self,
        context: &mut HandlerContext<C>,
        pending: Self::Pending,
        response: &ApiFrame<'_>,
    ) -> Option<Bytes> {
        let pending = pending?;
        let Ok(parsed) = parse_assignment(context, response) else {
            context.out.skip(SkipReason::Malformed, 0);
            return None;
        };
        let (member, assignment) = parsed?;
        // Before version 1 of ConsumerGroupHeartbeat the broker chooses the member's id.
        let member = member.unwrap_or(pending.member);
        let id = GroupMemberId {
            group: &pending.group,
            member: &member,
        };
        let connection = context.client_connection();
        context.cluster.with_state(|state| {
            state.assign_partitions(connection, id, assignment, response.last_byte);
        });
        None
    }
}
