//! Identity of the client of a connection, and the service that its spans belong to.

use std::sync::Arc;

use throughline_model::convention::SERVICE_NAME;
use throughline_model::{KeyValue, Resource};

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
}

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
        }
    }

    /// Replaces the client id.
    pub(super) fn set_client_id(&mut self, client_id: Option<&str>, settings: &Settings) {
        self.key.client_id = client_id.map(Arc::from);
        self.group = None;
        self.update_resource(settings);
    }

    /// Derives the resource from the settings and the client id.
    pub(super) fn update_resource(&mut self, settings: &Settings) {
        let base = &settings.resource;
        self.resource = match (settings.service, &self.key.client_id) {
            (ServiceNaming::ByClientId, Some(id)) => {
                let others = base.attributes.iter();
                // Attribute keys of a resource are unique (OpenTelemetry, "Attribute Collections").
                let others = others.filter(|it| it.key != SERVICE_NAME).cloned();
                let service = KeyValue::new(SERVICE_NAME, id);
                let attributes = std::iter::once(service).chain(others).collect();
                Arc::new(Resource {
                    attributes,
                    ..Resource::default()
                })
            }
            (ServiceNaming::ByClientId | ServiceNaming::Fixed, _) => Arc::clone(base),
        };
    }
}
