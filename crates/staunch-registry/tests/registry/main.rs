//! Discovery and registration against real registries: etcd and dnsmasq as Debian packages them, files, and
//! a stand-in for Consul, which Debian has not (what it is, and is not: `staunch_harness::ConsulStandIn`).

#![expect(clippy::unwrap_used, reason = "the helpers of tests may fail as tests do")]

mod consul;
mod dns;
mod etcd;
mod file;
mod registering;
mod support;
mod trust;
