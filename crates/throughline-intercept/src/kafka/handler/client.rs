//! Identity of the client of a connection, and the service that its spans belong to.

use std::sync::Arc;

use throughline_kafka::message::api_versions::ApiVersionsRequest;
use throughline_kafka::message::{ApiMessage, ParseOutcome};
use throughline_kafka::wire::Error;
use throughline_model::convention::SERVICE_NAME;
use throughline_model::{KeyValue, Resource};

use super::api_frame::ApiFrame;
use crate::kafka::client_id::application;
use crate::kafka::{ClientKey, ConnectionEndpoints, ServiceNaming, Settings};

/// Client of a connection, as its requests introduce it.
#[derive(Debug)]
pub(in crate::kafka) struct ClientIdentity {
    pub(in crate::kafka) key: ClientKey,
    pub(in crate::kafka) endpoints: ConnectionEndpoints,
    /// Client address as text, for `client.address`.
    pub(in crate::kafka) address: Option<Arc<str>>,
    /// Group that the client named last on this connection.
    pub(in crate::kafka) group: Option<Arc<str>>,
    pub(in crate::kafka) resource: Arc<Resource>,
    /// Whether the client is Java's, which fetches only when its application polls.
    is_java: bool,
}

/// Name by which Java's client introduces itself.
const JAVA_CLIENT: &str = "apache-kafka-java";

/// Part of the client ids of Kafka Streams, which has records when it polls for more.
const STREAM_THREAD: &str = "-StreamThread-";

// === impl ClientIdentity ===

impl ClientIdentity {
    pub(super) fn new(endpoints: ConnectionEndpoints, settings: &Settings) -> Self {
        Self {
            key: ClientKey {
                address: endpoints.client,
                client_id: None,
            },
            address: endpoints.client.map(|address| address.to_string().into()),
            endpoints,
            group: None,
            resource: Arc::clone(&settings.resource),
            is_java: false,
        }
    }

    /// Replaces the client id.
    pub(super) fn set_client_id(&mut self, client_id: Option<&str>, settings: &Settings) {
        self.key.client_id = client_id.map(Arc::from);
        self.group = None;
        self.update_resource(settings);
    }

    /// Reads an ApiVersions request, in which a client introduces itself.
    pub(super) fn introduce(&mut self, request: &ApiFrame<'_>) -> Result<ParseOutcome<()>, Error> {
        let outcome = ApiVersionsRequest::parse(request.body(), request.version)?;
        Ok(outcome.map(|it| {
            let name = it.client_software_name.and_then(|name| name.text());
            self.is_java = name == Some(JAVA_CLIENT);
        }))
    }

    /// Returns whether the client fetches only when its application has handled what it has.
    pub(super) fn fetches_on_poll(&self) -> bool {
        let client_id = self.key.client_id.as_deref();
        self.is_java && !client_id.is_some_and(|id| id.contains(STREAM_THREAD))
    }

    /// Derives the resource from the settings and the client id.
    pub(super) fn update_resource(&mut self, settings: &Settings) {
        let base = &settings.resource;
        let client_id = self.key.client_id.as_deref();
        let service = match settings.service {
            ServiceNaming::Fixed => None,
            ServiceNaming::ByClientId => client_id,
            ServiceNaming::ByApplication => client_id.map(application),
        };
        self.resource = match service {
            Some(service) => {
                let others = base.attributes.iter();
                // Attribute keys of a resource are unique (OpenTelemetry, "Attribute Collections").
                let others = others.filter(|it| it.key != SERVICE_NAME).cloned();
                let service = KeyValue::new(SERVICE_NAME, service.to_owned());
                let attributes = std::iter::once(service).chain(others).collect();
                Arc::new(Resource {
                    attributes,
                    ..Resource::default()
                })
            }
            None => Arc::clone(base),
        };
    }
}
