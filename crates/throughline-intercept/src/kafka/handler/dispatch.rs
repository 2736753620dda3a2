//! Dispatch: from an API to its handler, and from a response to the state of its request.

use bytes::Bytes;
use throughline_kafka::api::ApiKey;
use throughline_kafka::message::ParseOutcome;
use throughline_kafka::wire::Error;

use super::addresses::AddressHandler;
use super::commit::{CommitHandler, PendingCommit};
use super::configs::{ConfigHandler, PendingConfigs};
use super::context::HandlerContext;
use super::fetch::{FetchHandler, FetchState};
use super::group::{GroupHandler, PendingMembership};
use super::message::{ApiFrame, Handler, RequestDecision};
use super::produce::{PendingProduce, ProduceHandler};
use super::share::{PendingShareAck, ShareHandler};
use crate::Timestamp;
use crate::kafka::topic::PartitionKey;
use crate::kafka::{ClusterHandle, SkipReason};

/// Handlers of a connection.
#[derive(Debug, Default)]
pub(in crate::kafka) struct Handlers {
    produce: ProduceHandler,
    fetch: FetchHandler,
    share: ShareHandler,
    commit: CommitHandler,
    configs: ConfigHandler,
    group: GroupHandler,
    addresses: AddressHandler,
}

/// State between a request and its response.
#[derive(Debug)]
pub(in crate::kafka) enum PendingRequest {
    /// The response concludes nothing.
    Plain,
    Produce(Box<PendingProduce>),
    Fetch(Box<FetchState>),
    ShareFetch(Box<PendingShareAck>),
    ShareAcknowledge(Box<PendingShareAck>),
    Commit(Box<PendingCommit>),
    Configs(Box<PendingConfigs>),
    Membership(Box<PendingMembership>),
}

// === impl Handlers ===

impl Handlers {
    /// Has a request read by its handler.
    pub(in crate::kafka) fn on_request<C: ClusterHandle>(
        &mut self,
        context: &mut HandlerContext<C>,
        request: &ApiFrame<'_>,
    ) -> Result<ParseOutcome<RequestDecision<PendingRequest>>, Error> {
        let decision = self.read_request(context, request);
        // Also after an error: unused permits belong to the whole process.
        context.flush_budget();
        decision
    }

    fn read_request<C: ClusterHandle>(
        &mut self,
        context: &mut HandlerContext<C>,
        request: &ApiFrame<'_>,
    ) -> Result<ParseOutcome<RequestDecision<PendingRequest>>, Error> {
        Ok(match request.api {
            ApiKey::PRODUCE => self
                .produce
                .on_request(context, request)?
                .map(|it| it.map(PendingRequest::Produce)),
            ApiKey::FETCH => self
                .fetch
                .on_request(context, request)?
                .map(|it| it.map(PendingRequest::Fetch)),
            ApiKey::SHARE_FETCH => self
                .share
                .on_request(context, request)?
                .map(|it| it.map(PendingRequest::ShareFetch)),
            ApiKey::SHARE_ACKNOWLEDGE => self
                .share
                .on_request(context, request)?
                .map(|it| it.map(PendingRequest::ShareAcknowledge)),
            ApiKey::OFFSET_COMMIT | ApiKey::TXN_OFFSET_COMMIT => self
                .commit
                .on_request(context, request)?
                .map(|it| it.map(PendingRequest::Commit)),
            ApiKey::JOIN_GROUP
            | ApiKey::SYNC_GROUP
            | ApiKey::HEARTBEAT
            | ApiKey::LEAVE_GROUP
            | ApiKey::CONSUMER_GROUP_HEARTBEAT
            | ApiKey::STREAMS_GROUP_HEARTBEAT => {
                let outcome = self.group.on_request(context, request)?;
                outcome.map(|it| {
                    it.map(|pending| {
                        pending.map_or(PendingRequest::Plain, PendingRequest::Membership)
                    })
                })
            }
            ApiKey::ALTER_CONFIGS | ApiKey::INCREMENTAL_ALTER_CONFIGS => self
                .configs
                .on_request(context, request)?
                .map(|it| it.map(PendingRequest::Configs)),
            ApiKey::API_VERSIONS => context
                .client
                .introduce(request)?
                .map(|()| RequestDecision::forward(PendingRequest::Plain)),
            _ => self
                .addresses
                .on_request(context, request)?
                .map(|it| it.map(|()| PendingRequest::Plain)),
        })
    }

    /// Has a response read by the handler of its request. Returns the frame to forward in its
    /// place, if it changes.
    pub(in crate::kafka) fn on_response<C: ClusterHandle>(
        &mut self,
        context: &mut HandlerContext<C>,
        pending: PendingRequest,
        response: &ApiFrame<'_>,
    ) -> Option<Bytes> {
        let changed = match pending {
            PendingRequest::Produce(it) => self.produce.on_response(context, it, response),
            PendingRequest::Fetch(it) => self.fetch.on_response(context, it, response),
            PendingRequest::ShareFetch(it) | PendingRequest::ShareAcknowledge(it) => {
                self.share.on_response(context, it, response)
            }
            PendingRequest::Commit(it) => self.commit.on_response(context, it, response),
            PendingRequest::Configs(it) => self.configs.on_response(context, it, response),
            PendingRequest::Membership(it) => self.group.on_response(context, Some(it), response),
            PendingRequest::Plain => None,
        };
        // Addresses may be in any response, one that was patched included.
        let bytes = changed.as_ref().unwrap_or(response.bytes);
        let response = ApiFrame { bytes, ..*response };
        context.flush_budget();
        let rewritten = self.addresses.on_response(context, (), &response);
        rewritten.or(changed)
    }

    /// Records the end of the connection.
    pub(in crate::kafka) fn close<C: ClusterHandle>(
        &mut self,
        context: &HandlerContext<C>,
        now: Timestamp,
    ) {
        self.produce.close(context, now);
        self.fetch.close(context);
        context.close(now);
    }
}

// === impl PendingRequest ===

impl PendingRequest {
    /// Returns the state of a Fetch that passed unread.
    pub(in crate::kafka) fn unread_fetch() -> Self {
        Self::Fetch(Box::new(FetchState::unread()))
    }

    /// Returns whether spans wait for the response.
    pub(in crate::kafka) const fn has_spans(&self) -> bool {
        matches!(self, Self::Produce(_))
    }

    /// Records that the client is gone: it may send the request again before there is a response.
    pub(in crate::kafka) fn record_unanswered<C: ClusterHandle>(
        &mut self,
        context: &HandlerContext<C>,
        now: Timestamp,
    ) {
        if let Self::Produce(produce) = self {
            produce.record_unanswered(context, now);
        }
    }

    /// Records that the batch of a partition was sent again without the contexts.
    pub(in crate::kafka) fn cancel_injection(&mut self, key: &PartitionKey, reason: SkipReason) {
        if let Self::Produce(produce) = self {
            produce.cancel_partition(key, reason);
        }
    }

    /// Ends the request without a response.
    pub(in crate::kafka) fn fail<C: ClusterHandle>(
        self,
        context: &mut HandlerContext<C>,
        now: Timestamp,
        error_code: i16,
    ) {
        if let Self::Produce(produce) = self {
            produce.fail(context, now, error_code);
        }
    }

    /// Ends the request with an unknown result.
    pub(in crate::kafka) fn discard<C: ClusterHandle>(
        self,
        context: &mut HandlerContext<C>,
        reason: SkipReason,
    ) {
        if let Self::Produce(produce) = self {
            produce.discard(context, reason);
        }
    }
}
