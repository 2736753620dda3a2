//! Configurations that pass: the limits that topics and brokers have for the size of a batch.

use std::sync::Arc;

use bytes::Bytes;
use throughline_kafka::api::ApiKey;
use throughline_kafka::message::config::{
    AlterConfigsRequest, AlterConfigsResponse, CreateTopicsResponse, DescribeConfigsResponse,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};
use throughline_kafka::message::{ApiMessage, ParseOutcome};
use throughline_kafka::wire::{Error, WireField};

use super::context::HandlerContext;
use super::message::{ApiFrame, Handler, RequestDecision};
use crate::kafka::{ClusterHandle, SkipReason, error_code};

/// Handler of AlterConfigs and IncrementalAlterConfigs.
#[derive(Debug, Default)]
pub(super) struct ConfigHandler;

/// Change of limits that waits for its response.
#[derive(Debug)]
pub(in crate::kafka) struct PendingConfigs {
    /// New limits of topics; [`None`] for one that is unknown.
    limits: Vec<(Arc<str>, Option<usize>)>,
}

/// `ConfigResource.Type`.
const TOPIC: i8 = 2;
const BROKER: i8 = 4;

/// Operation of IncrementalAlterConfigs that sets a value.
const SET: i8 = 0;

const TOPIC_LIMIT: &[u8] = b"max.message.bytes";
const BROKER_LIMIT: &[u8] = b"message.max.bytes";

/// Returns a value that is a size.
fn size(value: Option<WireField<'_>>) -> Option<usize> {
    value?.text()?.parse().ok()
}

/// Learns the limits of topics that were created.
pub(super) fn learn_created<C: ClusterHandle>(
    context: &HandlerContext<C>,
    response: &ApiFrame<'_>,
) -> Result<(), Error> {
    let outcome = CreateTopicsResponse::parse(response.body(), response.version)?;
    let topics = outcome.parsed().map(|it| it.topics);
    for topic in topics.iter().flatten() {
        let configs = topic.configs.iter().flatten();
        let limit = configs
            .filter(|it| it.name.bytes() == TOPIC_LIMIT)
            .find_map(|it| size(it.value));
        if topic.error_code == error_code::NONE
            && let (Some(name), Some(_)) = (topic.name.text(), limit)
        {
            learn_topic(context, name, limit);
        }
    }
    Ok(())
}

/// Learns the limits in configurations that a client asked for.
pub(super) fn learn_described<C: ClusterHandle>(
    context: &HandlerContext<C>,
    response: &ApiFrame<'_>,
) -> Result<(), Error> {
    let outcome = DescribeConfigsResponse::parse(response.body(), response.version)?;
    let results = outcome.parsed().map(|it| it.results);
    for result in results.iter().flatten() {
        let name = match result.resource_type {
            TOPIC => TOPIC_LIMIT,
            BROKER => BROKER_LIMIT,
            _ => continue,
        };
        let mut configs = result.configs.iter().filter(|it| it.name.bytes() == name);
        let Some(limit) = configs.find_map(|it| size(it.value)) else {
            continue;
        };
        if result.error_code != error_code::NONE {
            continue;
        }
        if result.resource_type == BROKER {
            context
                .cluster
                .with_state(|state| state.learn_default_limit(limit));
        } else if let Some(topic) = result.resource_name.text() {
            learn_topic(context, topic, Some(limit));
        }
    }
    Ok(())
}

fn learn_topic<C: ClusterHandle>(context: &HandlerContext<C>, topic: &str, limit: Option<usize>) {
    context.cluster.with_state(|state| {
        state.learn_batch_limits(topic, |limits| limits.configure(limit));
    });
}

// === impl PendingConfigs ===

impl PendingConfigs {
    fn of(
        limits: impl Iterator<Item = (Option<Arc<str>>, Option<usize>)>,
        is_applied: bool,
        max_topics: usize,
    ) -> Self {
        let limits = limits.filter(|_| is_applied).take(max_topics);
        Self {
            limits: limits
                .filter_map(|(topic, limit)| Some((topic?, limit)))
                .collect(),
        }
    }
}

// === impl ConfigHandler ===

impl<C: ClusterHandle> Handler<C> for ConfigHandler {
    type Pending = Box<PendingConfigs>;

    fn on_request(
        &mut self,
        context: &mut HandlerContext<C>,
        request: &ApiFrame<'_>,
    ) -> Result<ParseOutcome<RequestDecision<Self::Pending>>, Error> {
        let (body, version) = (request.body(), request.version);
        let max_topics = context.settings.limits.max_partitions;
        let topic = |kind: i8, name: WireField<'_>| {
            let name = name.text().filter(|_| kind == TOPIC);
            name.map(Arc::from)
        };
        let pending = if request.api == ApiKey::ALTER_CONFIGS {
            // It replaces the whole configuration: a value that is left out is the default.
            AlterConfigsRequest::parse(body, version)?.map(|it| {
                let limits = it.resources.iter().map(|resource| {
                    let mut configs = resource.configs.iter();
                    let limit = configs.find(|it| it.name.bytes() == TOPIC_LIMIT);
                    let name = topic(resource.resource_type, resource.resource_name);
                    (name, limit.and_then(|it| size(it.value)))
                });
                PendingConfigs::of(limits, !it.validate_only, max_topics)
            })
        } else {
            IncrementalAlterConfigsRequest::parse(body, version)?.map(|it| {
                let limits = it.resources.iter().filter_map(|resource| {
                    let mut configs = resource.configs.iter();
                    let change = configs.find(|it| it.name.bytes() == TOPIC_LIMIT)?;
                    let limit = size(change.value).filter(|_| change.config_operation == SET);
                    let name = topic(resource.resource_type, resource.resource_name);
                    Some((name, limit))
                });
                PendingConfigs::of(limits, !it.validate_only, max_topics)
            })
        };
        Ok(pending.map(|pending| RequestDecision::forward(Box::new(pending))))
    }

    fn on_response(
        &mut self,
        context: &mut HandlerContext<C>,
        pending: Self::Pending,
        response: &ApiFrame<'_>,
    ) -> Option<Bytes> {
        let (body, version) = (response.body(), response.version);
        let responses = if response.api == ApiKey::ALTER_CONFIGS {
            let outcome = AlterConfigsResponse::parse(body, version);
            outcome.map(|it| it.parsed().map(|it| it.responses))
        } else {
            let outcome = IncrementalAlterConfigsResponse::parse(body, version);
            outcome.map(|it| it.parsed().map(|it| it.responses))
        };
        let Ok(Some(responses)) = responses else {
            context.out.skip(SkipReason::Malformed, 0);
            return None;
        };
        for (topic, limit) in &pending.limits {
            let is_accepted = responses.iter().any(|it| {
                let is_topic = it.resource_type == TOPIC;
                is_topic
                    && it.error_code == error_code::NONE
                    && it.resource_name.text() == Some(&**topic)
            });
            if is_accepted {
                learn_topic(context, topic, *limit);
            }
        }
        None
    }
}
