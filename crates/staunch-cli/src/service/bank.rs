//! The bank of `examples/bank`, to try things with: an ordinary service on the library, in this
//! process.

use std::convert::Infallible;

use anyhow::Context as _;
use bank::{Application, Database, Settings};
use staunch_console::Phase;
use staunch_guard::{Guard, Layer, Shed};
use staunch_http::{HttpLimits, Server};
use staunch_net::{Listener, Served, TlsConfig};
use staunch_scope::{Context, ScopeBuilder, shield};
use tempfile::TempDir;

/// A bank whose accounts are in a folder that goes with it.
pub(crate) struct Bank {
    limits: HttpLimits,
    folder: TempDir,
}

impl Bank {
    pub(crate) fn new(limits: HttpLimits) -> anyhow::Result<Bank> {
        let folder = tempfile::Builder::new().prefix("staunch-bank-").tempdir();
        let folder = folder.context("cannot make a folder for the bank's accounts (TMPDIR)")?;
        Ok(Bank { limits, folder })
    }

    /// Serves until `context` is cancelled, and drains; `None` if its accounts cannot be opened.
    pub(crate) async fn serve(
        self,
        listener: Listener,
        context: &Context,
        tls: Option<&TlsConfig>,
        guard: Option<&Guard>,
    ) -> Option<Served> {
        let Bank { limits, folder } = self;
        let database = Database::Sqlite(folder.path().join("accounts.sqlite"));
        let settings = Settings::new(([127, 0, 0, 1], 0).into(), database);
        let mut served = None;
        // The pools of the accounts end after the last request.
        let around = ScopeBuilder::<Infallible>::new(&context.without_cancel());
        // Shielded: it is the listener that is asked to stop, by its context.
        let ended = shield(around.run(async |scope| {
            match Application::open(&scope, &settings).await {
                Ok(bank) => {
                    bank.readiness.advance(Phase::Ready);
                    let server = Server::new(limits);
                    served = Some(answer(server, listener, (context, tls), guard, bank).await);
                }
                Err(error) => tracing::error!(%error, "there is no bank"),
            }
            scope.stop();
            Ok(())
        }))
        .await;
        for forced in &ended.forced {
            tracing::warn!(?forced, "the bank did not end within its grace");
        }
        served
    }
}

async fn answer(
    server: Server,
    listener: Listener,
    (context, tls): (&Context, Option<&TlsConfig>),
    guard: Option<&Guard>,
    bank: Application,
) -> Served {
    let router = bank.router;
    match (guard.map(Shed::new), tls) {
        (None, None) => server.serve(listener, context, router).await,
        (None, Some(tls)) => server.serve_tls(listener, context, tls, router).await,
        (Some(shed), None) => server.serve(listener, context, shed.layer(router)).await,
        (Some(shed), Some(tls)) => {
            server.serve_tls(listener, context, tls, shed.layer(router)).await
        }
    }
}
