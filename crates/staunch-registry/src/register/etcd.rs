//! An instance in etcd: a key under a lease. Without the lease the key goes, and so does the instance.

use std::convert::Infallible;

use serde_json::json;
use staunch_scope::Scope;

use super::{EtcdRegistry, Instance, Member};
use crate::{ask::AskError, etcd::Etcd};

pub(super) struct EtcdMember {
    etcd: Etcd,
    prefix: String,
    lease: Option<i64>,
}

impl EtcdMember {
    pub(super) fn new(scope: &Scope<Infallible>, registry: &EtcdRegistry) -> EtcdMember {
        let login = registry.login.as_ref().map(|(user, password)| (user.as_str(), password));
        let etcd = Etcd::new(scope, &registry.servers, registry.ca.as_ref(), login);
        EtcdMember { etcd, prefix: registry.prefix.clone(), lease: None }
    }
}

impl Member for EtcdMember {
    async fn enter(&mut self, instance: &Instance) -> Result<(), AskError> {
        let lease = self.etcd.grant(instance.ttl_seconds()).await?.id;
        self.lease = Some(lease); // from here on there is something to take out
        let key = format!("{}{}/{}", self.prefix, instance.service, instance.id);
        let value = json!({ "address": instance.address, "weight": instance.weight }).to_string();
        self.etcd.put(&key, &value, lease).await
    }

    async fn keep(&mut self, _: &Instance) -> Result<bool, AskError> {
        let Some(lease) = self.lease else { return Ok(false) };
        let is_there = self.etcd.keep_alive(lease).await?.ttl > 0;
        if !is_there {
            self.lease = None;
        }
        Ok(is_there)
    }

    async fn leave(&mut self, _: &Instance) -> Result<(), AskError> {
        match self.lease.take() {
            Some(lease) => self.etcd.revoke(lease).await,
            None => Ok(()),
        }
    }
}
