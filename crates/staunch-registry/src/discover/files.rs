//! The files that a `[service.discovery]` names, looked at without asking anybody.

use std::path::PathBuf;

use staunch_config::{Discovery, DiscoverySource};

use super::{DiscoveryError, file};
use crate::{
    ask::{AskError, trust},
    reading::Secret,
};

/// What is wrong with the files that `discovery` names, as [`discover`](super::discover) would find it later:
/// a list of servers, secrets, and whom to believe. Asks no registry, and blocks for a moment.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use staunch_config::{Discovery, DiscoverySource, FileDiscovery, OnEmpty};
/// let file = FileDiscovery { path: "/no/such/list".into(), every: Duration::from_secs(2) };
/// let discovery = Discovery { source: DiscoverySource::File(file), on_empty: OnEmpty::Keep };
/// let [problem] = &staunch_registry::check_files(&discovery)[..] else { panic!("one file is named") };
/// assert!(problem.to_string().starts_with("/no/such/list: "), "{problem}");
/// ```
#[must_use]
pub fn check_files(discovery: &Discovery) -> Vec<DiscoveryError> {
    match &discovery.source {
        DiscoverySource::File(it) => {
            file::check(it, discovery.on_empty).err().into_iter().collect()
        }
        DiscoverySource::Dns(_) => Vec::new(),
        DiscoverySource::Etcd(etcd) => {
            let password = etcd.login.as_ref().map(|login| &login.password_file);
            of_registry(&etcd.servers, etcd.ca.as_ref(), password)
        }
        DiscoverySource::Consul(consul) => {
            let servers = std::slice::from_ref(&consul.server);
            of_registry(servers, consul.ca.as_ref(), consul.token_file.as_ref())
        }
    }
}

fn of_registry(
    servers: &[String],
    ca: Option<&PathBuf>,
    secret: Option<&PathBuf>,
) -> Vec<DiscoveryError> {
    let trust = trust(servers, ca).err().map(AskError::from);
    let secret = secret.and_then(|path| Secret::read_now(path).err()).map(AskError::from);
    trust.into_iter().chain(secret).map(DiscoveryError::from).collect()
}
