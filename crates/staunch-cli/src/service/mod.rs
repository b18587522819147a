//! What `staunch run` serves: a bound listener, and the protocol spoken on it.

mod echo;
mod http;

use std::sync::Arc;

use anyhow::bail;
use staunch_config::{Admin, Config, Linger, StreamAddress, StreamListener, StreamProtocol};
use staunch_console::{Access, Console, ConsoleOptions, Readiness, Secret, http::HttpLimits};
use staunch_net::{Endpoint, Limits, Listener, Served, SocketOptions};
use staunch_scope::Context;

/// A listener that is bound, and what will be served on it.
pub(crate) struct Service {
    pub(crate) name: String,
    listener: Listener,
    protocol: Protocol,
}

enum Protocol {
    Echo,
    Http,
    Admin(Console),
}

/// Binds everything that the configuration names, or says of each that cannot be bound why.
pub(crate) fn bind_all(config: &Config, readiness: &Readiness) -> anyhow::Result<Vec<Service>> {
    let streams = config.listeners.iter().filter_map(|listener| match listener {
        staunch_config::Listener::Stream(listener) => Some(bind_stream(config, listener)),
        staunch_config::Listener::Datagram(_) => None,
    });
    let admin = config.admin.iter().map(|admin| bind_admin(admin, readiness));
    let (mut services, mut errors) = (Vec::new(), Vec::new());
    for bound in streams.chain(admin) {
        match bound {
            Ok(service) => services.push(service),
            Err(error) => errors.push(format!("{error:#}")),
        }
    }
    if !errors.is_empty() {
        bail!(errors.join("\nstaunch: "));
    }
    Ok(services)
}

fn bind_stream(config: &Config, listener: &StreamListener) -> anyhow::Result<Service> {
    let endpoint = match &listener.listen {
        StreamAddress::Tcp(address) => Endpoint::Tcp(*address),
        StreamAddress::Unix(path) => Endpoint::Unix(path.clone()),
    };
    let protocol = match listener.protocol {
        StreamProtocol::Echo => Protocol::Echo,
        StreamProtocol::Http => Protocol::Http,
    };
    let name = listener.name.clone();
    let bound = Listener::bind(&endpoint, &options(listener), limits(config, listener))
        .map_err(|error| anyhow::anyhow!("listener {name}: {error}"))?;
    Ok(Service { name, listener: bound, protocol })
}

fn bind_admin(admin: &Admin, readiness: &Readiness) -> anyhow::Result<Service> {
    let describe = |error: &dyn std::error::Error| anyhow::anyhow!("admin: {error}");
    let token = admin.token_file.as_deref().map(Secret::read).transpose();
    let token = token.map_err(|error| describe(&error))?;
    let access = Access::new(admin.listen, token).map_err(|error| describe(&error))?;
    let console = Console::new(ConsoleOptions { access, readiness: readiness.clone() });
    let endpoint = Endpoint::Tcp(admin.listen);
    let listener = Listener::bind(&endpoint, &SocketOptions::default(), Console::limits())
        .map_err(|error| describe(&error))?;
    Ok(Service { name: "admin".to_owned(), listener, protocol: Protocol::Admin(console) })
}

fn limits(config: &Config, listener: &StreamListener) -> Limits {
    let limits = &listener.limits;
    Limits {
        connections: limits.connections.map(Into::into),
        connections_per_ip: limits.connections_per_ip.map(Into::into),
        handshake: limits.handshake.unwrap_or(std::time::Duration::MAX),
        first_byte: limits.first_byte,
        idle: limits.idle,
        read_stall: limits.read_stall,
        write_stall: limits.write_stall,
        min_send_rate: limits
            .min_send_rate
            .map_or(0, |rate| u32::try_from(rate.get()).unwrap_or(u32::MAX)),
        lifetime: limits.lifetime,
        buffer: limits.buffer.get(),
        buffers: config.memory.buffers.get(),
        drain: config.drain.grace,
    }
}

fn options(listener: &StreamListener) -> SocketOptions {
    SocketOptions {
        backlog: listener.backlog.get(),
        reuse_port: listener.reuse_port,
        nodelay: listener.socket.nodelay,
        keepalive: listener.socket.keepalive,
        user_timeout: listener.socket.user_timeout,
        linger_zero: listener.socket.linger == Linger::Reset,
        notsent_lowat: listener.socket.notsent_lowat.map(Into::into),
    }
}

impl Service {
    /// Where it listens.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        self.listener.endpoint()
    }

    /// Serves until `context` is cancelled, then drains.
    pub(crate) async fn serve(self, context: &Context) -> Served {
        match self.protocol {
            Protocol::Echo => self.listener.serve(context, echo::echo).await,
            Protocol::Http => {
                let limits = Arc::new(HttpLimits::default());
                let handler = move |connection| http::serve(connection, Arc::clone(&limits));
                self.listener.serve(context, handler).await
            }
            Protocol::Admin(console) => {
                let handler = move |connection| console.clone().serve(connection);
                self.listener.serve(context, handler).await
            }
        }
    }
}
