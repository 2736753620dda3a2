//! Functions of the application that name spans and add attributes.

use std::fmt;
use std::sync::Arc;

use opentelemetry::KeyValue;

use super::operation::{KafkaOperation, RecordMetadata};

type NameFunction = dyn Fn(KafkaOperation, &RecordMetadata<'_>) -> Option<String> + Send + Sync;
type AttributeFunction =
    dyn Fn(KafkaOperation, &RecordMetadata<'_>, &mut Vec<KeyValue>) + Send + Sync;

/// The functions of one client.
#[derive(Clone, Default)]
pub(crate) struct SpanHooks {
    name: Option<Arc<NameFunction>>,
    attributes: Vec<Arc<AttributeFunction>>,
}

// === impl SpanHooks ===

impl SpanHooks {
    pub(crate) fn set_name<F>(&mut self, name: F)
    where
        F: Fn(KafkaOperation, &RecordMetadata<'_>) -> Option<String> + Send + Sync + 'static,
    {
        self.name = Some(Arc::new(name));
    }

    pub(crate) fn add_attributes(
        &mut self,
        attributes: impl Fn(KafkaOperation, &RecordMetadata<'_>, &mut Vec<KeyValue>)
        + Send
        + Sync
        + 'static,
    ) {
        self.attributes.push(Arc::new(attributes));
    }

    pub(crate) fn name(
        &self,
        operation: KafkaOperation,
        record: &RecordMetadata<'_>,
    ) -> Option<String> {
        self.name.as_ref()?(operation, record)
    }

    pub(crate) fn push_attributes(
        &self,
        operation: KafkaOperation,
        record: &RecordMetadata<'_>,
        attributes: &mut Vec<KeyValue>,
    ) {
        for function in &self.attributes {
            function(operation, record, attributes);
        }
    }
}

impl fmt::Debug for SpanHooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpanHooks")
            .field("has_name", &self.name.is_some())
            .field("attributes", &self.attributes.len())
            .finish()
    }
}
