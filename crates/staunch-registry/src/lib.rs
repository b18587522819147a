//! Service registries: to be one of the servers of a service, and to know which servers there are.
//!
//! - [`register`] has an instance known to etcd or Consul for as long as a scope lives, and no longer.
//! - `discover` (feature `discover`) asks whom a `[service.discovery]` names: a file, name servers, etcd or
//!   Consul. It is what the gateway finds its servers by.
//!
//! # What holds
//! 1. What was known stays when a registry is lost, answers nonsense, or names nobody (unless that is what
//!    was asked for). That is logged once, and shown as a number since when.
//! 2. Every answer has a limit of time and size, every service one of servers, every wait between tries a
//!    longest.
//! 3. Whoever may write into a registry chooses among servers of the network; never a file or a socket of
//!    this machine.
//! 4. Secrets are read from files, and shown nowhere.
//! 5. All of it is tasks of a scope, connections on the ledger, and ends with the scope.

mod ask;
mod backoff;
mod consul;
#[cfg(feature = "discover")]
mod discover;
mod etcd;
mod reading;
mod register;

#[cfg(feature = "discover")]
pub use crate::discover::{DiscoveryError, Known, Status, check_files, discover};
pub use crate::{
    ask::AskError,
    reading::ReadFileError,
    register::{
        ConsulRegistry, EtcdRegistry, Instance, InvalidInstance, Registration, Registry, register,
    },
};
