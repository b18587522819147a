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
    application: Application,
}

/// A bank with its routes, for whoever has a listener.
#[derive(Clone, Debug)]
pub struct Application {
    /// The routes.
    pub router: Router,
    /// What they ask.
    pub bank: Bank,
    /// What `/readyz` answers.
    pub readiness: Readiness,
}

impl Application {
    /// Opens the store, whose connections belong to `scope`. It is ready once somebody says so.
    ///
    /// # Errors
    /// When the store cannot be opened, with what to do.
    pub async fn open<E: Send + 'static>(
        scope: &Scope<E>,
        settings: &Settings,
    ) -> Result<Application, BoxError> {
        let store: Box<dyn Store> = match &settings.database {
            Database::Postgres(config) => {
                Box::new(PostgresStore::open(scope, (**config).clone()).await?)
            }
            Database::Sqlite(path) => Box::new(SqliteStore::open(scope, path.clone()).await?),
        };
        let (bank, readiness) = (Bank::new(store, &settings.bank), Readiness::default());
        let limits = settings.api.clone();
        let api = Api { bank: bank.clone(), readiness: readiness.clone(), limits };
        Ok(Application { router: api::router(api), bank, readiness })
    }
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
        let application = Application::open(scope, settings).await?;
        let endpoint = Endpoint::Tcp(settings.address);
        let listener = Listener::bind(&endpoint, &SocketOptions::default(), Limits::default())?;
        let address = match listener.endpoint() {
            Endpoint::Tcp(address) => *address,
            Endpoint::Unix(_) => settings.address,
        };
        Ok(Service { listener, address, application })
    }

    /// Where it listens, with the port that the system chose.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The bank that it serves.
    pub fn bank(&self) -> &Bank {
        &self.application.bank
    }

    /// What `/readyz` answers.
    pub fn readiness(&self) -> &Readiness {
        &self.application.readiness
    }

    /// Answers requests until `context` is cancelled, then drains.
    ///
    /// # Cancel safety
    /// Dropping it closes the listener and leaves its connections the drain deadline.
    pub async fn serve(self, context: &Context) -> Served {
        let Service { listener, application, .. } = self;
        let Application { router, readiness, .. } = application;
        readiness.advance(Phase::Ready);
        let served = Server::default().serve(listener, context, router).await;
        readiness.advance(Phase::Draining);
        served
    }
}
