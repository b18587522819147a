//! From a configuration to bound listeners.

use std::time::Duration;

use anyhow::{anyhow, bail};
use staunch_config::{
    Admin, Config, DatagramLimits, DatagramListener, Linger, Listener as Configured, StreamAddress,
    StreamLimits, StreamListener, StreamProtocol, Tls,
};
use staunch_console::{Access, Console, ConsoleOptions, Readiness, Secret};
use staunch_http::HttpLimits;
use staunch_net::{
    Endpoint, Limits, Listener, SocketOptions, TlsConfig, UdpLimits, UdpOptions, UdpServer,
};

use super::{Bound, Protocol, Service, bodies::Bodies, http::Http};

/// Binds everything that the configuration names, or says of each that cannot be bound why.
pub(crate) fn bind_all(config: &Config, readiness: &Readiness) -> anyhow::Result<Bound> {
    let mut errors = Vec::new();
    let mut service = |name: &str, bound: anyhow::Result<Protocol>| match bound {
        Ok(protocol) => Some(Service { name: name.to_owned(), protocol }),
        Err(error) => {
            errors.push(format!("{name}: {error:#}"));
            None
        }
    };
    let bodies = Bodies::new(config.memory.bodies.get());
    let mut bound = Bound::default();
    for listener in &config.listeners {
        let protocol = match listener {
            Configured::Stream(stream) => bind_stream(config, stream, &bodies),
            Configured::Datagram(datagram) => bind_datagram(config, datagram),
        };
        bound.listeners.extend(service(listener.name(), protocol));
    }
    if let Some(admin) = &config.admin {
        bound.admin = service("admin", bind_admin(config, admin, readiness));
    }
    if !errors.is_empty() {
        bail!(errors.join("\nstaunch: "));
    }
    Ok(bound)
}

fn bind_stream(
    config: &Config,
    stream: &StreamListener,
    bodies: &Bodies,
) -> anyhow::Result<Protocol> {
    let endpoint = match &stream.listen {
        StreamAddress::Tcp(address) => Endpoint::Tcp(*address),
        StreamAddress::Unix(path) => Endpoint::Unix(path.clone()),
    };
    let tls = stream.tls.as_ref().map(load_tls).transpose()?;
    let limits = match stream.protocol {
        StreamProtocol::Echo => limits(config, &stream.limits),
        // `HttpLimits` bound a request.
        StreamProtocol::Http => Limits { message: None, ..limits(config, &stream.limits) },
    };
    let listener = Listener::bind(&endpoint, &socket(stream), limits)?;
    let line_limit = stream.limits.buffer.get();
    let http = || Http::new(http_limits(&stream.limits), bodies.clone());
    match (stream.protocol, tls) {
        (StreamProtocol::Echo, None) => Ok(Protocol::Echo(listener)),
        (StreamProtocol::Echo, Some(tls)) => Ok(Protocol::EchoTls { listener, tls, line_limit }),
        (StreamProtocol::Http, None) => Ok(Protocol::Http(listener, http())),
        (StreamProtocol::Http, Some(tls)) => Ok(Protocol::HttpTls { listener, tls, http: http() }),
    }
}

fn load_tls(tls: &Tls) -> anyhow::Result<TlsConfig> {
    let alpn: Vec<&str> = tls.alpn.iter().map(String::as_str).collect();
    Ok(TlsConfig::load(&tls.certificate, &tls.key, &alpn)?.check_every(tls.reload))
}

fn bind_datagram(config: &Config, datagram: &DatagramListener) -> anyhow::Result<Protocol> {
    let options = UdpOptions { reuse_port: datagram.reuse_port, ..UdpOptions::default() };
    let limits = udp_limits(config, &datagram.limits);
    Ok(Protocol::UdpEcho(UdpServer::bind(datagram.listen, &options, limits)?))
}

/// The most that the admin endpoint takes to drain, after all others have. Its answers are quick,
/// and one that is not is told to end.
const ADMIN_GRACE: Duration = Duration::from_secs(2);

fn bind_admin(config: &Config, admin: &Admin, readiness: &Readiness) -> anyhow::Result<Protocol> {
    let token = admin.token_file.as_deref().map(Secret::read).transpose()?;
    let access = Access::new(admin.listen, token).map_err(|error| anyhow!(error))?;
    let console = Console::new(ConsoleOptions { access, readiness: readiness.clone() });
    let endpoint = Endpoint::Tcp(admin.listen);
    let limits = Limits { drain: config.drain.grace.min(ADMIN_GRACE), ..Console::limits() };
    let listener = Listener::bind(&endpoint, &SocketOptions::default(), limits)?;
    Ok(Protocol::Admin(listener, console))
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
