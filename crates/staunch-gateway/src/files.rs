//! The files that a configuration names, looked at without taking it up.

use staunch_config::{Config, Service};
use staunch_registry::DiscoveryError;

use crate::{
    access::{AccessLog, AccessLogError},
    link::LinkTls,
    plan::{PlanError, policy},
    traces::{Traces, TracesError},
};

/// A file that a configuration names cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// One of a service's TLS or of a policy.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// One that a service's servers are found by. The gateway would begin without it, and ask again and again.
    #[error("[service.discovery] of \"{service}\": {source}")]
    Discovery {
        /// The service.
        service: String,
        /// What is wrong.
        source: DiscoveryError,
    },
    /// The access log.
    #[error(transparent)]
    AccessLog(#[from] AccessLogError),
    /// One that spans are sent by.
    #[error(transparent)]
    Traces(#[from] TracesError),
}

/// What is wrong with the files that `config` names for its services, routes, access log and traces: the first
/// mistake of each table, and of all tables. Makes and opens no log, asks no server, and blocks while it reads.
///
/// # Examples
/// ```
/// use staunch_config::Config;
/// let config = Config::parse(
///     "staunch.toml",
///     r#"
///     [access_log]
///     to = "/no/such/folder/access.log"
///     [[listener]]
///     name = "echo"
///     protocol = "echo"
///     listen = "127.0.0.1:7"
///     "#,
/// )?;
/// let [problem] = &staunch_gateway::check_files(&config)[..] else { panic!("one file is named") };
/// assert!(problem.to_string().contains("/no/such/folder"), "{problem}");
/// # Ok::<(), staunch_config::ConfigErrors>(())
/// ```
#[must_use]
pub fn check_files(config: &Config) -> Vec<FileError> {
    let services = config.services.iter().flat_map(of_service);
    let policies = config
        .routes
        .iter()
        .filter_map(|route| Some(policy(config, route, &[], None).err()?.into()));
    let log = config.access_log.iter().filter_map(|log| Some(AccessLog::check(log).err()?.into()));
    let traces = config.traces.iter().filter_map(|it| Some(Traces::check(it).err()?.into()));
    let mut found: Vec<FileError> = Vec::new();
    for error in services.chain(policies).chain(log).chain(traces) {
        let text = error.to_string(); // routes share policies
        if found.iter().all(|known| known.to_string() != text) {
            found.push(error);
        }
    }
    found
}

fn of_service(service: &Service) -> impl Iterator<Item = FileError> {
    let tls = LinkTls::load(service).err().map(|error| PlanError::of_tls(service, error));
    let discovery = service.discovery.iter().flat_map(staunch_registry::check_files);
    let discovery =
        discovery.map(|source| FileError::Discovery { service: service.name.clone(), source });
    tls.map(FileError::from).into_iter().chain(discovery)
}
