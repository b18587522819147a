//! How a server is asked to give up a query.

use std::{
    panic::Location,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use rustls::{ClientConfig, pki_types::ServerName};
use staunch_net::{Connection, DialError, Dialer};
use staunch_scope::{Context, shield};
use tokio::{io::AsyncReadExt, time::timeout};
use tokio_postgres::{CancelToken, NoTls, config::Host};

use super::{error::ConnectPostgresError, target::Target, tls::Handshake};

/// A socket to a server.
pub(super) async fn dial(
    dialer: &Dialer,
    born_at: &'static Location<'static>,
    target: &Target,
) -> Result<Connection, DialError> {
    let (context, address) = (Context::current(), target.to_string());
    match target.host {
        Host::Tcp(_) => dialer.tcp_at(born_at, context, address).await,
        Host::Unix(_) => dialer.unix_at(born_at, context, address).await,
    }
}

/// Asks a session's server to give up what the session waits for.
#[derive(Clone)]
pub(super) struct Canceller {
    pub(super) dialer: Arc<Dialer>,
    pub(super) born_at: &'static Location<'static>,
    /// Which server: there may be several.
    pub(super) target: Target,
    pub(super) token: CancelToken,
    /// `None`: no TLS.
    pub(super) tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

impl Canceller {
    /// Of no effect when there is nothing to give up.
    ///
    /// When it is done the wish has reached the session, so it cannot meet the query of another.
    pub(super) async fn cancel(&self) -> Result<(), ConnectPostgresError> {
        let mut socket = dial(&self.dialer, self.born_at, &self.target).await?;
        match self.tls.clone() {
            Some((config, name)) => {
                let tls = Handshake { config, name, began: &AtomicBool::new(false) };
                self.token.cancel_query_raw(&mut socket, tls).await?;
            }
            None => self.token.cancel_query_raw(&mut socket, NoTls).await?,
        }
        let mut rest = [0; 64];
        while let Ok(1..) = socket.read(&mut rest).await {} // the server closes when it has passed it on
        Ok(())
    }

    /// The same for a session that has ended, and whose server may not have noticed; also while
    /// everything is asked to stop. For 3 s at most: several round trips around the world.
    pub(super) async fn cancel_soon(&self) {
        const SOON: Duration = Duration::from_secs(3);
        match timeout(SOON, shield(Box::pin(self.cancel()))).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!("a query was not cancelled: {error}"),
            Err(_) => tracing::debug!("a query was not cancelled within {SOON:?}"),
        }
    }
}
