//! Looks after the certificate files of a listener while it runs.

use std::convert::Infallible;

use staunch_ledger::{EntryId, Ledger};
use staunch_scope::{Scope, sleep};

use crate::{observe::observe, tls::config::TlsConfig};

/// Takes new certificates when the files change, until the task is asked to stop. What it has
/// to complain of is logged and goes to the observations of `listener`, once.
///
/// # Cancel safety
/// Cancel safe.
pub(crate) async fn keep_current(config: TlsConfig, listener: EntryId, scope: Scope<Infallible>) {
    let mut complained = config.complaint().is_some();
    while sleep(config.interval()).await.is_ok() {
        let checked = config.clone();
        let check = scope.blocking(move |_| Ok(checked.check()));
        match check.join().await {
            Ok(Ok(true)) => {
                tracing::info!(?config, "new certificate in use");
                complained = false;
            }
            Ok(Err(error)) => {
                let text = format!("the certificate in use stays: {error}");
                tracing::warn!("{text}");
                observe(Ledger::current(), listener, "tls-reload", text);
            }
            Ok(Ok(false)) | Err(_) => {}
        }
        if let Some(complaint) = config.complaint().filter(|_| !complained) {
            tracing::warn!("{complaint}");
            observe(Ledger::current(), listener, "tls-certificate", complaint);
            complained = true;
        }
    }
}
