//! Group membership: requests in which a client names its group.

use bytes::Bytes;
use throughline_kafka::api::ApiKey;
use throughline_kafka::message::group::{
    ConsumerGroupHeartbeatRequest, JoinGroupRequest, SyncGroupRequest,
};
use throughline_kafka::message::{ApiMessage, ParseOutcome};
use throughline_kafka::wire::{Error, WireField};

use super::context::HandlerContext;
use super::message::{ApiFrame, Handler, RequestDecision};
use crate::kafka::ClusterHandle;

/// Handler of JoinGroup, SyncGroup and ConsumerGroupHeartbeat.
#[derive(Debug, Default)]
pub(super) struct GroupHandler;

/// Returns the group that a request names.
fn group_id<'a>(request: &ApiFrame<'a>) -> Result<ParseOutcome<Option<WireField<'a>>>, Error> {
    let (body, version) = (request.body(), request.version);
    Ok(match request.api {
        ApiKey::JOIN_GROUP => JoinGroupRequest::parse(body, version)?.map(|it| Some(it.group_id)),
        ApiKey::SYNC_GROUP => SyncGroupRequest::parse(body, version)?.map(|it| Some(it.group_id)),
        ApiKey::CONSUMER_GROUP_HEARTBEAT => {
            ConsumerGroupHeartbeatRequest::parse(body, version)?.map(|it| Some(it.group_id))
        }
        _ => ParseOutcome::Parsed(None),
    })
}

// === impl GroupHandler ===

impl<C: ClusterHandle> Handler<C> for GroupHandler {
    type Pending = ();

    fn on_request(
        &mut self,
        context: &mut HandlerContext<C>,
        request: &ApiFrame<'_>,
    ) -> Result<ParseOutcome<RequestDecision<()>>, Error> {
        let group = group_id(request)?;
        if let Some(group) = group.parsed().flatten().and_then(|group| group.text()) {
            context.learn_group(group);
        }
        Ok(ParseOutcome::Parsed(RequestDecision::forward(())))
    }

    fn on_response(
        &mut self,
        _: &mut HandlerContext<C>,
        _pending: (),
        _: &ApiFrame<'_>,
    ) -> Option<Bytes> {
        None
    }
}
