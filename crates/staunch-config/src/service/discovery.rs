//! `[service.discovery]`: who tells which servers a service has.
//!
//! One source, and the keys that belong to it; a key of another source is a mistake.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;

use super::endpoint::host_and_port;
use crate::reader::Section;
use crate::reader::kinds::{Parsed, choice, duration, list_of, path, text};

/// Who tells which servers a service has, while the program runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Discovery {
    /// Who is asked.
    pub source: DiscoverySource,
    /// What is done with an answer that names no server. \[`keep`: that all are gone at once is a mistake
    /// more often than it is true\]
    pub on_empty: OnEmpty,
}

/// Who is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DiscoverySource {
    /// A file.
    File(FileDiscovery),
    /// The domain name system.
    Dns(DnsDiscovery),
    /// etcd, version 3.
    Etcd(EtcdDiscovery),
    /// Consul.
    Consul(ConsulDiscovery),
}

/// What is done with an answer that names no server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OnEmpty {
    /// The servers that were known stay.
    Keep,
    /// The service has no server; requests are answered 503.
    Apply,
}

/// A file with a server on each line.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FileDiscovery {
    /// Where it is.
    pub path: PathBuf,
    /// How often it is looked at. \[2s: a look costs a system call\]
    pub every: Duration,
}

/// What a name server says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DnsDiscovery {
    /// What is looked up.
    pub name: DnsName,
    /// Who is asked. \[whom `/etc/resolv.conf` names\]
    pub resolver: Option<SocketAddr>,
    /// An answer is good for so long at least, whatever it says. \[1s\]
    pub ttl_min: Duration,
    /// … and at most. \[5m\]
    pub ttl_max: Duration,
}

/// What is looked up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DnsName {
    /// Addresses (A and AAAA), each with this port.
    Addresses {
        /// The name.
        host: String,
        /// The port.
        port: u16,
    },
    /// Servers with ports and weights (SRV, RFC 2782).
    Services(String),
}

/// The values of the keys below a prefix.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EtcdDiscovery {
    /// Members of the cluster, such as `http://10.0.0.5:2379`; asked in turn until one answers.
    pub servers: Vec<String>,
    /// What the keys begin with; it ends in `/`.
    pub prefix: String,
    /// Who asks, if etcd wants to know.
    pub login: Option<EtcdLogin>,
    /// Whose signature on certificates is believed, over https. \[whom the system believes\]
    pub ca: Option<PathBuf>,
}

/// Who asks etcd.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EtcdLogin {
    /// The name.
    pub user: String,
    /// The password is the first line of this file.
    pub password_file: PathBuf,
}

/// The instances of a service that pass their checks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ConsulDiscovery {
    /// An agent, such as `http://127.0.0.1:8500`.
    pub server: String,
    /// What the service is called there. \[as here\]
    pub service: String,
    /// The token is the first line of this file.
    pub token_file: Option<PathBuf>,
    /// Whose signature on certificates is believed, over https. \[whom the system believes\]
    pub ca: Option<PathBuf>,
}

const ON_EMPTY: [(&str, OnEmpty); 2] = [("keep", OnEmpty::Keep), ("apply", OnEmpty::Apply)];

/// The sources, and the keys that are theirs alone.
const SOURCES: [(&str, &[&str]); 4] = [
    ("file", &["every"]),
    ("dns", &["resolver", "ttl_min", "ttl_max"]),
    ("etcd", &["prefix", "user", "password_file"]),
    ("consul", &["service", "token_file"]),
];

const EVERY: Duration = Duration::from_secs(2);
const TTL_MIN: Duration = Duration::from_secs(1);
const TTL_MAX: Duration = Duration::from_mins(5);
const LEAST: Duration = Duration::from_millis(100);
const MOST: Duration = Duration::from_hours(1);
const ETCD_SERVERS_MAX: usize = 16;
const NAME_MAX: usize = 253;

impl Discovery {
    /// `service` is what the service is called.
    pub(super) fn read(section: &mut Section<'_>, service: Option<&str>) -> Option<Self> {
        let on_empty = section.optional("on_empty", choice(&ON_EMPTY), OnEmpty::Keep);
        let Some((source, _)) = SOURCES.iter().find(|(source, _)| section.has(source)) else {
            let names = "one of `file`, `dns`, `etcd`, `consul`";
            section.missing("file", format!("write {names}, such as file = \"shop.servers\""));
            for (source, _) in SOURCES {
                section.written(source, |_| Ok(())); // one of them may have been meant
            }
            section.forgive_unknown_keys();
            return None;
        };
        for (other, keys) in SOURCES.iter().filter(|(other, _)| other != source) {
            section.refuse(other, &format!("there is `{source}`, and a service has one source"));
            for key in *keys {
                section
                    .refuse(key, &format!("it belongs to `{other}`, and the source is `{source}`"));
            }
        }
        if !matches!(*source, "etcd" | "consul") {
            section.refuse("ca", "it belongs to `etcd` and `consul`");
        }
        let source = match *source {
            "file" => DiscoverySource::File(FileDiscovery::read(section)?),
            "dns" => DiscoverySource::Dns(DnsDiscovery::read(section)?),
            "etcd" => DiscoverySource::Etcd(EtcdDiscovery::read(section)?),
            _ => DiscoverySource::Consul(ConsulDiscovery::read(section, service)?),
        };
        Some(Self { source, on_empty })
    }
}

impl FileDiscovery {
    fn read(section: &mut Section<'_>) -> Option<Self> {
        let source = section.source();
        let file = section.written("file", path(source));
        let every = section.optional("every", duration(LEAST..=MOST), EVERY);
        Some(Self { path: file?, every })
    }
}

impl DnsDiscovery {
    fn read(section: &mut Section<'_>) -> Option<Self> {
        let name = section.written("dns", dns_name);
        let resolver = section.written("resolver", |value| {
            let expected = "the address of a name server, such as \"10.0.0.2:53\"";
            let address = text(value, expected)?.parse::<SocketAddr>().ok();
            let address = address.filter(|address| address.port() != 0);
            address.ok_or_else(|| format!("must be {expected}"))
        });
        let ttl = duration(LEAST..=MOST);
        let ttl_min = section.optional("ttl_min", &ttl, TTL_MIN);
        let ttl_max = section.optional("ttl_max", &ttl, TTL_MAX.max(ttl_min));
        if ttl_max < ttl_min {
            section.wrong("ttl_max", "must not be less than `ttl_min`");
        }
        Some(Self { name: name?, resolver, ttl_min, ttl_max })
    }
}

impl EtcdDiscovery {
    fn read(section: &mut Section<'_>) -> Option<Self> {
        let servers = section.written("etcd", |value| {
            let what = "members of the cluster such as \"http://10.0.0.5:2379\"";
            let servers = list_of(what, http_server)(value)?;
            let is_right = (1..=ETCD_SERVERS_MAX).contains(&servers.len());
            let wrong = || format!("must be a list of 1 to {ETCD_SERVERS_MAX} {what}");
            is_right.then_some(servers).ok_or_else(wrong)
        });
        let prefix = section.required("prefix", "\"/services/shop/\"", |value| {
            let expected = "what the keys begin with, which ends in `/`: \"/services/shop\" would have \
                            the servers of /services/shop-admin too";
            let prefix = text(value, expected)?;
            let is_right = prefix.ends_with('/') && (2..=NAME_MAX).contains(&prefix.len());
            is_right.then(|| prefix.to_owned()).ok_or_else(|| format!("must be {expected}"))
        });
        let source = section.source();
        let user = section.written("user", name("a user's name"));
        let password_file = section.written("password_file", path(source));
        for (key, other) in [("user", "password_file"), ("password_file", "user")] {
            if section.has(key) && !section.has(other) {
                section.missing(other, format!("there is `{key}`, which is nothing without it"));
            }
        }
        let login = user.zip(password_file);
        let login = login.map(|(user, password_file)| EtcdLogin { user, password_file });
        let ca = ca(section, servers.as_deref().unwrap_or_default());
        Some(Self { servers: servers?, prefix: prefix?, login, ca })
    }
}

impl ConsulDiscovery {
    fn read(section: &mut Section<'_>, service: Option<&str>) -> Option<Self> {
        let source = section.source();
        let server = section.written("consul", |value| {
            let expected = "an agent such as \"http://127.0.0.1:8500\"";
            http_server(text(value, expected)?).map_err(|_| format!("must be {expected}"))
        });
        let own = service.unwrap_or_default().to_owned();
        let service = section.optional("service", name("the name of a service"), own);
        let token_file = section.written("token_file", path(source));
        let ca = ca(section, server.as_slice());
        Some(Self { server: server?, service, token_file, ca })
    }
}

/// Read last, when it is known whether anything is asked over https.
fn ca(section: &mut Section<'_>, servers: &[String]) -> Option<PathBuf> {
    let source = section.source();
    let ca = section.written("ca", path(source));
    if ca.is_some() && !servers.is_empty() && servers.iter().all(|it| it.starts_with("http://")) {
        section.wrong("ca", "must not be there: nobody is asked over https");
    }
    ca
}

/// `http://host:port` or `https://host:port`.
fn http_server(written: &str) -> Result<String, &'static str> {
    let expected = "must be such as `http://10.0.0.5:2379`, without a path";
    let rest = ["http://", "https://"].iter().find_map(|scheme| written.strip_prefix(scheme));
    rest.and_then(host_and_port).map(|_| written.to_owned()).ok_or(expected)
}

fn name(what: &'static str) -> impl Fn(&DeValue<'_>) -> Parsed<String> {
    move |value| {
        let expected = || format!("must be {what}: 1 to 128 of a-z, A-Z, 0-9, `.`, `_` and `-`");
        let written = value.as_str().ok_or_else(expected)?;
        let is_right = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let is_name = (1..=128).contains(&written.len()) && written.bytes().all(is_right);
        is_name.then(|| written.to_owned()).ok_or_else(expected)
    }
}

fn dns_name(value: &DeValue<'_>) -> Parsed<DnsName> {
    let expected = "a name and a port such as \"shop.internal:8080\", or the name of SRV records such \
                    as \"_http._tcp.shop.internal\"";
    let written = text(value, expected)?;
    let wrong = || format!("must be {expected}");
    if written.starts_with('_') {
        let is_label = |label: &str| {
            let is_right = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
            (1..=63).contains(&label.len()) && label.bytes().all(is_right)
        };
        let labels = written.strip_suffix('.').unwrap_or(written);
        let is_name = written.len() <= NAME_MAX && labels.split('.').all(is_label);
        return is_name.then(|| DnsName::Services(written.to_owned())).ok_or_else(wrong);
    }
    let (host, port) = host_and_port(written).ok_or_else(wrong)?;
    let is_address = host.starts_with('[') || host.parse::<IpAddr>().is_ok();
    if is_address || host.len() > NAME_MAX {
        return Err(format!("{}; an address is one of `endpoints`", wrong()));
    }
    Ok(DnsName::Addresses { host: host.to_owned(), port })
}
