//! Where a server is.

use std::fmt;

use rustls::pki_types::ServerName;
use tokio_postgres::{Config, config::Host};

use super::error::ConnectPostgresError;

/// A server of a configuration.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) host: Host,
    pub(super) port: u16,
}

impl Target {
    /// The servers of a configuration, in the order in which they are tried.
    pub(super) fn all(config: &Config) -> impl Iterator<Item = Target> + '_ {
        let ports = config.get_ports();
        config.get_hosts().iter().enumerate().map(|(number, host)| {
            let port = ports.get(number).or(ports.first()).copied().unwrap_or(5432);
            Target { host: host.clone(), port }
        })
    }

    /// Whether it is on another machine, perhaps. What goes through a Unix socket needs no TLS, and
    /// PostgreSQL speaks none there.
    pub(super) fn is_remote(&self) -> bool {
        matches!(self.host, Host::Tcp(_))
    }

    /// What its certificate must be for.
    pub(super) fn name(&self) -> Result<ServerName<'static>, ConnectPostgresError> {
        let host = match &self.host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(folder) => folder.display().to_string(),
        };
        ServerName::try_from(host.clone()).map_err(|_| ConnectPostgresError::ServerName { host })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Tcp(name) => write!(f, "{name}:{}", self.port),
            Host::Unix(folder) => write!(f, "{}/.s.PGSQL.{}", folder.display(), self.port),
        }
    }
}
