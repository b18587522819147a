//! From a configuration to bound listeners.

use std::{sync::Arc, time::Duration};

use anyhow::{anyhow, bail};
use staunch_config::{
    Admin, Config, DatagramLimits, DatagramListener, EndpointAddress, Linger,
    Listener as Configured, StreamAddress, StreamLimits, StreamListener, StreamProtocol, Tls,
    TlsClientAuth,
};
use staunch_console::{Access, Console, ConsoleOptions, Readiness, Secret};
use staunch_gateway::{Control, Gateway, Listeners, Setup};
use staunch_http::HttpLimits;
use staunch_net::{
    ClientAuth, Endpoint, InheritedSockets, Limits, Listener, SocketOptions, TlsConfig, UdpLimits,
    UdpOptions, UdpServer,
};

use super::{Bound, Protocol, Service, bank::Bank, bodies::Bodies, http::Http};
use crate::print;

/// Binds everything that the configuration names, or says of each that cannot be bound why.
///
/// Sockets of a predecessor that listen there are taken instead.
pub(crate) fn bind_all(
    config: &Config,
    readiness: &Readiness,
    sockets: &mut InheritedSockets,
) -> anyhow::Result<Bound> {
    let mut errors = Vec::new();
    let mut gateway = Gateway::new(config, config.runtime.workers, config.drain.grace)?;
    let (mut listeners, mut behind) = (Vec::new(), Vec::new());
    let mut service = |name: &str, bound: anyhow::Result<Option<Protocol>>| match bound {
        Ok(protocol) => protocol.map(|protocol| Service { name: name.to_owned(), protocol }),
        Err(error) => {
            errors.push(format!("{name}: {}", print::causes(&error)));
            None
        }
    };
    let bodies = Bodies::new(config.memory.bodies.get());
    for listener in &config.listeners {
        let protocol = match listener {
            Configured::Stream(stream) => {
                bind_stream(config, stream, &bodies, gateway.listeners(), sockets)
            }
            Configured::Datagram(datagram) => {
                bind_datagram(config, datagram, &mut gateway, sockets)
            }
        };
        let into = if is_behind(config, listener) { &mut behind } else { &mut listeners };
        into.extend(service(listener.name(), protocol));
    }
    let admin = config.admin.as_ref();
    let control = gateway.control();
    let admin = admin.and_then(|admin| {
        let bound = bind_admin(config, admin, (readiness, control), sockets);
        service("admin", bound.map(Some))
    });
    if !errors.is_empty() {
        bail!(errors.join("\nstaunch: "));
    }
    let gateway = Some(gateway).filter(|gateway| !gateway.is_empty());
    Ok(Bound { listeners, behind, gateway, admin })
}

/// Binds `added`, listeners of the gateway that `config` has, or says of each that cannot be bound
/// why. Of `sockets` it takes those that listen there.
pub(crate) fn bind_added(
    config: &Config,
    added: &[&StreamListener],
    mut bound: Listeners,
    sockets: &mut InheritedSockets,
) -> anyhow::Result<Listeners> {
    let bodies = Bodies::new(config.memory.bodies.get());
    let mut errors = Vec::new();
    for stream in added {
        if let Err(error) = bind_stream(config, stream, &bodies, &mut bound, sockets) {
            errors.push(format!("{}: {}", stream.name, print::causes(&error)));
        }
    }
    if !errors.is_empty() {
        bail!(errors.join("\n"));
    }
    Ok(bound)
}

/// What is wrong with the files that the configuration names: the first mistake of each table, and of all
/// tables, as [`bind_all`] would find it; a certificate that clients refuse is one. Binds nothing.
pub(crate) fn file_problems(config: &Config) -> Vec<String> {
    let listeners = config.listeners.iter().filter_map(|listener| {
        let Configured::Stream(stream) = listener else { return None };
        let problem = match load_tls(stream.tls.as_ref()?) {
            Ok(tls) => tls.complaint()?,
            Err(error) => error.to_string(),
        };
        Some(format!("{}: {problem}", stream.name))
    });
    let admin = config.admin.iter().filter_map(|admin| access(admin).err());
    let admin = admin.map(|error| format!("admin: {error}"));
    let gateway = staunch_gateway::check_files(config);
    listeners.chain(admin).chain(gateway.iter().map(ToString::to_string)).collect()
}

/// Whether a listener is a server of a service.
fn is_behind(config: &Config, listener: &Configured) -> bool {
    let address = match listener {
        Configured::Stream(stream) => match &stream.listen {
            StreamAddress::Tcp(address) => EndpointAddress::Tcp(address.to_string()),
            StreamAddress::Unix(path) => EndpointAddress::Unix(path.clone()),
        },
        Configured::Datagram(datagram) => EndpointAddress::Tcp(datagram.listen.to_string()),
    };
    let mut servers = config.services.iter().flat_map(|service| &service.endpoints);
    servers.any(|server| server.address == address)
}

/// `None`: the gateway has it.
fn bind_stream(
    config: &Config,
    stream: &StreamListener,
    bodies: &Bodies,
    gateway: &mut Listeners,
    sockets: &mut InheritedSockets,
) -> anyhow::Result<Option<Protocol>> {
    let endpoint = match &stream.listen {
        StreamAddress::Tcp(address) => Endpoint::Tcp(*address),
        StreamAddress::Unix(path) => Endpoint::Unix(path.clone()),
    };
    let tls = stream.tls.as_ref().map(load_tls).transpose()?;
    let limits = match stream.protocol {
        StreamProtocol::Echo => limits(config, &stream.limits),
        // `HttpLimits` bound a request, and what TCP says has no end that is known.
        _ => Limits { message: None, ..limits(config, &stream.limits) },
    };
    let options = socket(stream);
    let proxies = stream.proxy_protocol_from.clone();
    let http = || Http::new(http_limits(&stream.limits), bodies.clone());
    match stream.protocol {
        StreamProtocol::Http => {
            let setup = Setup { endpoint, options, limits, tls, proxies };
            gateway.http(&stream.name, setup, gateway_limits(stream), sockets)?;
            return Ok(None);
        }
        StreamProtocol::Tcp => {
            let setup = Setup { endpoint, options, limits, tls, proxies };
            let service = stream.service.as_deref().unwrap_or_default(); // which the reader demands
            gateway.tcp(&stream.name, setup, service, sockets)?;
            return Ok(None);
        }
        StreamProtocol::Echo | StreamProtocol::Demo | StreamProtocol::Bank => {}
    }
    let listener = Listener::bind_or_inherit(&endpoint, &options, limits, sockets)?;
    let listener = listener.named(&stream.name);
    let line_limit = stream.limits.buffer.get();
    Ok(Some(match (stream.protocol, tls) {
        (StreamProtocol::Echo, None) => Protocol::Echo(listener),
        (StreamProtocol::Echo, Some(tls)) => Protocol::EchoTls { listener, tls, line_limit },
        (StreamProtocol::Bank, tls) => {
            Protocol::Bank(listener, tls, Bank::new(http_limits(&stream.limits))?)
        }
        (_, None) => Protocol::Http(listener, http()),
        (_, Some(tls)) => Protocol::HttpTls { listener, tls, http: http() },
    }))
}

fn load_tls(tls: &Tls) -> anyhow::Result<TlsConfig> {
    let alpn: Vec<&str> = tls.alpn.iter().map(String::as_str).collect();
    let config = TlsConfig::load(&tls.certificate, &tls.key, &alpn)?.check_every(tls.reload);
    let Some(clients) = &tls.clients else { return Ok(config) };
    let auth = match clients.auth {
        TlsClientAuth::Required => ClientAuth::Required,
        TlsClientAuth::Optional => ClientAuth::Optional,
    };
    Ok(config.client_auth(&clients.authorities, auth)?)
}

/// `None`: the gateway has it.
fn bind_datagram(
    config: &Config,
    datagram: &DatagramListener,
    gateway: &mut Gateway,
    sockets: &mut InheritedSockets,
) -> anyhow::Result<Option<Protocol>> {
    let options = UdpOptions { reuse_port: datagram.reuse_port, ..UdpOptions::default() };
    let limits = udp_limits(config, &datagram.limits);
    let Some(service) = &datagram.service else {
        let server = UdpServer::bind_or_inherit(datagram.listen, &options, limits, sockets)?;
        return Ok(Some(Protocol::UdpEcho(server)));
    };
    // Each client that is remembered has a task, which hands back what the server says.
    let peers = limits.peers.min(SESSIONS_MAX);
    let limits = UdpLimits { peers, in_flight: peers + limits.in_flight, ..limits };
    let server = UdpServer::bind_or_inherit(datagram.listen, &options, limits, sockets)?;
    gateway.udp(&datagram.name, server, service);
    Ok(None)
}

/// Each has a socket of its own.
const SESSIONS_MAX: usize = 100_000;

/// The most that the admin endpoint takes to drain, after all others have. Its answers are quick,
/// and one that is not is told to end.
const ADMIN_GRACE: Duration = Duration::from_secs(2);

fn bind_admin(
    config: &Config,
    admin: &Admin,
    (readiness, gateway): (&Readiness, Control),
    sockets: &mut InheritedSockets,
) -> anyhow::Result<Protocol> {
    let access = access(admin)?;
    let console = Console::new(ConsoleOptions { access, readiness: readiness.clone() });
    console.collect(Arc::new(gateway));
    let endpoint = Endpoint::Tcp(admin.listen);
    let limits = Limits { drain: config.drain.grace.min(ADMIN_GRACE), ..Console::limits() };
    let options = SocketOptions::default();
    let listener = Listener::bind_or_inherit(&endpoint, &options, limits, sockets)?;
    Ok(Protocol::Admin(listener.named("admin"), console))
}

/// Who may ask the admin endpoint.
fn access(admin: &Admin) -> anyhow::Result<Access> {
    let token = admin.token_file.as_deref().map(Secret::read).transpose()?;
    Access::new(admin.listen, token).map_err(|error| anyhow!(error))
}

fn udp_limits(config: &Config, limits: &DatagramLimits) -> UdpLimits {
    UdpLimits {
        peers: limits.peers.map_or(usize::MAX, Into::into),
        peer_idle: limits.peer_idle,
        datagram: limits.datagram.get(),
        drain: config.drain.grace,
        ..UdpLimits::default()
    }
}

fn http_limits(limits: &StreamLimits) -> HttpLimits {
    HttpLimits { head_bytes: limits.buffer.get(), ..HttpLimits::default() }
}

/// Those of a listener whose requests are handed on. What a body and an answer may cost is said by
/// each route, also by those that are taken up later; here is only the most that any may say.
fn gateway_limits(stream: &StreamListener) -> HttpLimits {
    HttpLimits {
        body_bytes: usize::MAX,
        body_time: LONGEST,
        request_time: LONGEST.saturating_mul(2),
        ..http_limits(&stream.limits)
    }
}

/// The longest time that a route can have for a body, or for an answer.
const LONGEST: Duration = Duration::from_hours(24);

fn limits(config: &Config, limits: &StreamLimits) -> Limits {
    Limits {
        connections: limits.connections.map(Into::into),
        connections_per_ip: limits.connections_per_ip.map(Into::into),
        handshake: limits.handshake.unwrap_or(Duration::MAX),
        first_byte: limits.first_byte,
        idle: limits.idle,
        read_stall: limits.read_stall,
        message: limits.message,
        half_close: limits.half_close,
        write_stall: limits.write_stall,
        min_send_rate: limits
            .min_send_rate
            .map_or(0, |rate| u32::try_from(rate.get()).unwrap_or(u32::MAX)),
        lifetime: limits.lifetime,
        buffer: limits.buffer.get(),
        buffers: config.buffers_each().get(),
        drain: config.drain.grace,
    }
}

fn socket(stream: &StreamListener) -> SocketOptions {
    SocketOptions {
        backlog: stream.backlog.get(),
        reuse_port: stream.reuse_port,
        nodelay: stream.socket.nodelay,
        keepalive: stream.socket.keepalive,
        user_timeout: stream.socket.user_timeout,
        linger_zero: stream.socket.linger == Linger::Reset,
        notsent_lowat: stream.socket.notsent_lowat.map(Into::into),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the library does by default is what the configuration does. All that a drain may take
    /// is the configuration's affair.
    #[test]
    fn there_is_one_set_of_defaults() {
        let listener = "[[listener]]\nname = \"a\"\nprotocol = \"echo\"\nlisten = \"127.0.0.1:1\"";
        let config = Config::parse("t", listener).unwrap();
        let drain = config.drain.grace;
        let udp = udp_limits(&config, &DatagramLimits::default());
        assert_eq!(format!("{udp:?}"), format!("{:?}", UdpLimits { drain, ..Default::default() }));
        let stream = limits(&config, &StreamLimits::default());
        assert_eq!(format!("{stream:?}"), format!("{:?}", Limits { drain, ..Limits::default() }));
        let http = http_limits(&StreamLimits::default());
        assert_eq!(format!("{http:?}"), format!("{:?}", HttpLimits::default()));
    }
}
