//! The bank on a listener.

use std::net::SocketAddr;

use axum::Router;
use staunch::{
    BoxError, Context, Scope,
    http::Server,
    net::{Endpoint, Limits, Listener, Served, SocketOptions},
};
use staunch_console::{Phase, Readiness};

use crate::{
    api::{self, Api},
    bank::Bank,
    settings::{Database, Settings},
    store::{PostgresStore, SqliteStore, Store},
};

/// A bank that listens, and is yet to be served.
#[derive(Debug)]
pub struct Service {
    listener: Listener,
    address: SocketAddr,
    router: Router,
    bank: Bank,
    readiness: Readiness,
}

impl Service {
    /// Opens the store and listens. The store's connections belong to `scope`.
    ///
    /// # Errors
    /// When one of the two fails, with what to do.
    pub async fn start<E: Send + 'static>(
        scope: &Scope<E>,
        settings: &Settings,
    ) -> Result<Service, BoxError> {
        let store: Box<dyn Store> = match &settings.database {
            Database::Postgres(config) => {
                Box::new(PostgresStore::open(scope, (**config).clone()).await?)
            }
            Database::Sqlite(path) => Box::new(SqliteStore::open(scope, path.clone()).await?),
        };
        let bank = Bank::new(store, &settings.bank);
        let readiness = Readiness::default();
        let (bank_, limits) = (bank.clone(), settings.api.clone());
        let router = api::router(Api { bank: bank_, readiness: readiness.clone(), limits });
        let endpoint = Endpoint::Tcp(settings.address);
        let limits = Limits { message: None, ..Limits::default() }; // `HttpLimits` bound a request
        let listener = Listener::bind(&endpoint, &SocketOptions::default(), limits)?;
        let address = match listener.endpoint() {
            Endpoint::Tcp(address) => *address,
            Endpoint::Unix(_) => settings.address,
        };
        Ok(Service { listener, address, router, bank, readiness })
    }

    /// Where it listens, with the port that the system chose.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The bank that it serves.
    pub fn bank(&self) -> &Bank {
        &self.bank
    }

    /// What `/readyz` answers.
    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// Answers requests until `context` is cancelled, then drains.
    ///
    /// # Cancel safety
    /// Dropping it closes the listener and leaves its connections the drain deadline.
    pub async fn serve(self, context: &Context) -> Served {
        let Service { listener, router, readiness, .. } = self;
        readiness.advance(Phase::Ready);
        let served = Server::default().serve(listener, context, router).await;
        readiness.advance(Phase::Draining);
        served
    }
}
