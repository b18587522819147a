//! The TLS listener: a plain one whose handlers begin with a handshake.

use std::{fmt, future::Future, panic::Location, sync::Arc};

use staunch_scope::Context;

use crate::{
    connection::Connection,
    listener::{self, Listener, Served},
    tls::{TlsConfig, TlsConnection, handshake, reload::keep_current},
};

impl Listener {
    /// As [`Listener::serve`], over TLS: `handler` runs after the handshake, which must be done
    /// within `Limits::handshake`. A connection that fails it ends; that is counted by its reason
    /// ([`HandshakeFailure`](crate::HandshakeFailure)), and logged once in ten seconds. One that
    /// ends without having said anything is somebody who looks whether the port is open.
    ///
    /// It also looks whether the files of `tls` have changed, and takes new ones for the
    /// handshakes to come; see [`TlsConfig`].
    ///
    /// # Cancel safety
    /// Dropping it closes the listener at once and leaves the connections the drain deadline.
    #[track_caller]
    pub fn serve_tls<H, F, E>(
        self,
        context: &Context,
        tls: &TlsConfig,
        handler: H,
    ) -> impl Future<Output = Served> + use<H, F, E>
    where
        H: Fn(TlsConnection) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: fmt::Display + Send + 'static,
    {
        self.counts().speaks_tls();
        let (config, handler) = (tls.clone(), Arc::new(handler));
        let handle = move |connection| secured(connection, config.clone(), Arc::clone(&handler));
        let (config, id) = (tls.clone(), self.id());
        let reload = move |scope| keep_current(config, id, scope);
        listener::serve_introduced(
            self,
            context.clone(),
            Location::caller(),
            Arc::new(handle),
            reload,
        )
    }
}

async fn secured<H, F, E>(
    connection: Connection,
    config: TlsConfig,
    handler: Arc<H>,
) -> Result<(), E>
where
    H: Fn(TlsConnection) -> F,
    F: Future<Output = Result<(), E>>,
{
    match handshake::accept(connection, config.server()).await {
        Ok(connection) => handler(connection).await,
        Err(_) => Ok(()), // which is counted, and logged
    }
}
