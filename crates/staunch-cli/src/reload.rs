//! Takes up a changed configuration while serving: at SIGHUP, or when the file has changed.
//!
//! Routes and services change for the requests to come; what has begun goes on as it was. A file with
//! a mistake, or one that changes anything else, changes nothing, and the log says why.

use std::{
    convert::Infallible,
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use staunch_config::Config;
use staunch_gateway::Control;
use staunch_scope::{Scope, sleep};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How often the file is looked at: a look costs a system call, and nobody waits long.
const EVERY: Duration = Duration::from_secs(2);

/// What is needed to take up a configuration.
pub(crate) struct Reload {
    path: PathBuf,
    running: Config,
    control: Control,
    hangup: Signal,
}

/// What tells one state of a file from another.
type Stamp = Option<(SystemTime, u64)>;

impl Reload {
    /// Of the file that `running` was read from.
    pub(crate) fn new(path: &Path, running: &Config, control: Control) -> anyhow::Result<Reload> {
        let hangup = signal(SignalKind::hangup()).context("cannot listen for signals")?;
        Ok(Reload { path: path.to_owned(), running: running.clone(), control, hangup })
    }

    /// Takes up each change, until the task is asked to stop.
    pub(crate) async fn keep_current(mut self, scope: Scope<Infallible>) {
        let mut seen = stamp(&self.path);
        loop {
            let why = tokio::select! {
                _ = self.hangup.recv() => "SIGHUP",
                slept = sleep(EVERY) => match slept {
                    Err(_asked_to_stop) => return,
                    Ok(()) => "the file has changed",
                },
            };
            let now = stamp(&self.path);
            if why != "SIGHUP" && now == seen {
                continue;
            }
            seen = now;
            let path = self.path.clone();
            // Read where it may block.
            let load = scope.blocking(move |_| Ok(Config::load(path)));
            match load.join().await {
                Ok(Ok(config)) => self.take_up(&scope, config, why).await,
                Ok(Err(errors)) => {
                    tracing::error!("{why}, but it cannot be taken up: nothing changes\n{errors}");
                }
                Err(_asked_to_stop) => return,
            }
        }
    }

    async fn take_up(&mut self, scope: &Scope<Infallible>, config: Config, why: &str) {
        let routes = config.routes.clone();
        let services = config.services.clone();
        let policies = config.policies.clone();
        let same_but_for_these = Config { routes, services, policies, ..self.running.clone() };
        if config != same_but_for_these {
            tracing::error!(
                "{why}, but more than [[route]], [[service]] and [[policy]] changes: nothing does; \
                 start again to take up the rest"
            );
            return;
        }
        let (routes, services) = (config.routes.len(), config.services.len());
        let control = self.control.clone();
        // Policies name files, too.
        let reloaded = scope.blocking(move |_| Ok(control.reload(&config).map(|()| config)));
        match reloaded.join().await {
            Ok(Ok(config)) => {
                self.running = config;
                tracing::info!(routes, services, "{why}: taken up");
            }
            Ok(Err(error)) => {
                tracing::error!("{why}, but it cannot be taken up: nothing changes\n{error}");
            }
            Err(_asked_to_stop) => {}
        }
    }
}

fn stamp(path: &Path) -> Stamp {
    let file = fs::metadata(path).ok()?;
    Some((file.modified().ok()?, file.len()))
}
