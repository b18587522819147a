//! An instance in Consul: a service of its agent, with a check that the instance itself passes.

use std::convert::Infallible;

use hyper::StatusCode;
use serde_json::{Value, json};
use staunch_scope::Scope;

use super::{ConsulRegistry, Instance, Member};
use crate::{ask::AskError, consul::Consul};

pub(super) struct ConsulMember {
    consul: Consul,
    /// Whether it may be there: only then there is something to take out.
    is_in: bool,
}

impl ConsulMember {
    pub(super) fn new(scope: &Scope<Infallible>, registry: &ConsulRegistry) -> ConsulMember {
        let (ca, token) = (registry.ca.as_ref(), registry.token_file.as_ref());
        ConsulMember { consul: Consul::new(scope, &registry.agent, ca, token), is_in: false }
    }
}

impl Member for ConsulMember {
    async fn enter(&mut self, instance: &Instance) -> Result<(), AskError> {
        self.is_in = true;
        let (host, port) = instance.host_and_port().unwrap_or_default(); // which was checked
        let ttl = instance.ttl_seconds();
        let service = json!({
            "ID": instance.id,
            "Name": instance.service,
            "Address": host,
            "Port": port,
            "Weights": { "Passing": instance.weight, "Warning": 1 },
            "Check": {
                "CheckID": check(instance),
                "TTL": format!("{ttl}s"),
                "Status": "passing",
                // Consul's least is a minute.
                "DeregisterCriticalServiceAfter": format!("{}s", ttl.max(60)),
            },
        });
        self.consul.put("/v1/agent/service/register", Some(&service)).await
    }

    async fn keep(&mut self, instance: &Instance) -> Result<bool, AskError> {
        let path = format!("/v1/agent/check/pass/{}", check(instance));
        match self.consul.put(&path, None::<&Value>).await {
            Ok(()) => Ok(true),
            // An agent that has no such check says 404, older ones 500.
            Err(AskError::Status { status, .. })
                if [StatusCode::NOT_FOUND, StatusCode::INTERNAL_SERVER_ERROR].contains(&status) =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    async fn leave(&mut self, instance: &Instance) -> Result<(), AskError> {
        if !std::mem::take(&mut self.is_in) {
            return Ok(());
        }
        let path = format!("/v1/agent/service/deregister/{}", instance.id);
        self.consul.put(&path, None::<&Value>).await
    }
}

/// What Consul itself calls the check of a service.
fn check(instance: &Instance) -> String {
    format!("service:{}", instance.id)
}
