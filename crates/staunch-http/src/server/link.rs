//! What a handler can know of the connection that its request came by.

use std::{net::SocketAddr, sync::Arc};

use staunch_scope::Context;

/// A value of the contexts of a connection's requests.
pub(super) struct Link {
    stopping: Context,
    peer: Option<SocketAddr>,
    /// In a box, since few clients have shown any.
    names: Option<Box<Arc<[String]>>>,
}

// Each connection in use has one, with the counts of its `Arc`. A size more, and it would leave a hole beside each
// future of a resting connection (docs/decisions/2-idle-connections.md): an allocator keeps blocks of a size together.
const _: () = assert!(size_of::<Link>() <= 48);

impl Link {
    /// The context of the requests of the connection whose task is running: nobody cancels it, since
    /// a request in the making is finished.
    pub(super) fn context(peer: Option<SocketAddr>, names: Option<Vec<String>>) -> Context {
        let (stopping, names) = (Context::current(), names.map(|names| Box::new(names.into())));
        stopping.without_cancel().with_value(Link { stopping, peer, names })
    }

    /// The client's address, by the context of its requests.
    pub(super) fn peer(context: &Context) -> Option<SocketAddr> {
        context.value::<Link>()?.peer
    }
}

/// The address of the client whose request is being answered; `None` over a Unix socket, and outside
/// of a handler. Tasks that a handler starts know it too. Behind a proxy it is the proxy's.
///
/// # Examples
/// ```
/// use bytes::Bytes;
/// use http_body_util::Full;
/// use hyper::Response;
/// use staunch_http::{handler, peer};
///
/// let whoami = handler(|_| async {
///     let who = peer().map_or("somebody".to_owned(), |peer| peer.ip().to_string());
///     Response::new(Full::new(Bytes::from(who)))
/// });
/// # let _ = whoami;
/// ```
pub fn peer() -> Option<SocketAddr> {
    Link::peer(&Context::current())
}

/// The names in the certificate that the client's connection has shown, as
/// [`TlsConnection::peer_names`](staunch_net::TlsConnection::peer_names) has them; known where [`peer`] is.
pub fn peer_names() -> Option<Arc<[String]>> {
    Context::current().value::<Link>()?.names.as_deref().cloned()
}

/// A context that is cancelled when the server of the request is asked to stop. A handler's own is
/// not: what it has begun it may finish. For handlers that would not finish by themselves.
///
/// Outside of a handler it is [`Context::current`].
pub fn draining() -> Context {
    let context = Context::current();
    context.value::<Link>().map_or(context, |link| link.stopping.clone())
}
