//! Takes up a changed configuration while serving: at SIGHUP, or when the file has changed.
//!
//! Routes, services and policies change for the requests to come; what has begun goes on as it was.
//! Listeners of the gateway come and go: those that are new are bound before anything changes, by
//! the sockets of those whose place they take, and those that are gone drain. A file with a mistake,
//! or one that changes anything else, changes nothing, and the log says why.

use std::{
    convert::Infallible,
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use staunch_config::{Config, ConfigErrors, Listener, StreamListener, StreamProtocol};
use staunch_gateway::Control;
use staunch_scope::{Context, Scope, sleep};
use tokio::signal::unix::Signal;

use crate::{print, service::bind_added, turn::Turns};

/// How often the file is looked at: a look costs a system call, and nobody waits long.
const EVERY: Duration = Duration::from_secs(2);

/// A file that has changed is read when it is as it was so long ago: it may be half written.
const SETTLED: Duration = Duration::from_millis(500);

/// Mistakes of a file that are logged.
const MISTAKES_TOLD: usize = 10;

/// What is needed to take up a configuration.
pub(crate) struct Reload {
    path: PathBuf,
    read: Stamp,
    running: Config,
    control: Control,
    turns: Turns,
    hangup: Signal,
}

/// What tells one state of a file from another.
pub(crate) type Stamp = Option<(SystemTime, u64)>;

impl Reload {
    /// Of the file that `running` was read from; `read` is its state before that.
    pub(crate) fn new(
        (path, read): (&Path, Stamp),
        running: &Config,
        control: Control,
        (turns, hangup): (Turns, Signal),
    ) -> Reload {
        Reload { path: path.to_owned(), read, running: running.clone(), control, turns, hangup }
    }

    /// Takes up each change, until `serving` is cancelled: a drain takes nothing up, and a successor
    /// has the file from then on.
    pub(crate) async fn keep_current(mut self, scope: Scope<Infallible>, serving: Context) {
        let mut seen = self.read; // it may have changed since, while all was bound
        let mut last = seen;
        loop {
            let pause = if last == seen { EVERY } else { SETTLED };
            let why = tokio::select! {
                biased;
                _ = serving.cancelled() => return,
                _ = self.hangup.recv() => "SIGHUP",
                slept = sleep(pause) => match slept {
                    Err(_asked_to_stop) => return,
                    Ok(()) => "the file has changed",
                },
            };
            let now = stamp(&self.path);
            let is_settled = std::mem::replace(&mut last, now) == now;
            if why != "SIGHUP" && (now == seen || !is_settled) {
                continue;
            }
            let _turn = tokio::select! {
                biased;
                _ = serving.cancelled() => return,
                turn = self.turns.next(why) => turn,
            };
            seen = now;
            let path = self.path.clone();
            // Read where it may block.
            let load = scope.blocking(move |_| Ok(Config::load(path)));
            match load.join().await {
                Ok(Ok(config)) => self.take_up(&scope, config, why).await,
                Ok(Err(errors)) => {
                    self.control.note_reload(false);
                    tell(why, &errors);
                }
                Err(_asked_to_stop) => return,
            }
        }
    }

    async fn take_up(&mut self, scope: &Scope<Infallible>, config: Config, why: &str) {
        let fixed = fixed(&self.running, &config);
        if !fixed.is_empty() {
            self.control.note_reload(false);
            tracing::error!(
                "{why}, but this cannot change in a process that serves: {}; nothing changes; \
                 `staunch upgrade {}` takes it up",
                fixed.join(", "),
                std::process::id(),
            );
            return;
        }
        let (routes, services) = (config.routes.len(), config.services.len());
        let (control, running) = (self.control.clone(), self.running.clone());
        // Sockets are bound, and policies name files.
        let reloaded = scope.blocking(move |_| Ok(apply(&control, &running, config)));
        match reloaded.join().await {
            Ok(Ok(config)) => {
                self.running = config;
                self.control.note_reload(true);
                tracing::info!(routes, services, "{why}: taken up");
            }
            Ok(Err(error)) => {
                self.control.note_reload(false);
                let causes = print::causes(&error);
                tracing::error!("{why}, but it cannot be taken up: nothing changes: {causes}");
            }
            Err(_asked_to_stop) => {}
        }
    }
}

/// Says what is wrong with a file, a line for each mistake.
fn tell(why: &str, errors: &ConfigErrors) {
    let mistakes = errors.iter().len() + errors.left_out();
    tracing::error!(mistakes, "{why}, but it cannot be taken up: nothing changes");
    for error in errors.iter().take(MISTAKES_TOLD) {
        tracing::error!("{error}");
    }
    if mistakes > MISTAKES_TOLD {
        tracing::error!("and more: `staunch check` shows them all");
    }
}

/// Binds what is new, and then has the gateway work by `config`.
fn apply(control: &Control, running: &Config, config: Config) -> anyhow::Result<Config> {
    let is_same = |it: &&Listener| running.listeners.contains(it);
    let added: Vec<_> =
        config.listeners.iter().filter(|it| !is_same(it)).filter_map(of_gateway).collect();
    let gone: Vec<&str> = running
        .listeners
        .iter()
        .filter(|it| !config.listeners.contains(it))
        .map(Listener::name)
        .collect();
    let mut sockets = control.sockets_of(&gone).context("cannot hand sockets on")?;
    let bound = bind_added(&config, &added, control.no_listeners(), &mut sockets)?;
    let endpoints: Vec<_> =
        bound.endpoints().map(|(name, endpoint)| (name.to_owned(), endpoint)).collect();
    control.reload(&config, bound)?;
    sockets.are_ours();
    for (listener, endpoint) in endpoints {
        tracing::info!(listener, %endpoint, "listening");
    }
    for listener in gone {
        tracing::info!(listener, "accepts no more, as it was, and drains");
    }
    Ok(config)
}

/// The tables that differ, though they must not while the process runs.
fn fixed(running: &Config, new: &Config) -> Vec<String> {
    let tables = [
        ("[admin]", running.admin != new.admin),
        ("[log]", running.log != new.log),
        ("[access_log]", running.access_log != new.access_log),
        ("[traces]", running.traces != new.traces),
        ("[runtime]", running.runtime != new.runtime),
        ("[drain]", running.drain != new.drain),
        ("[memory]", running.memory != new.memory),
        ("[guard]", running.guard != new.guard),
        ("[patrol]", running.patrol != new.patrol),
    ];
    let tables = tables.into_iter().filter(|(_, differs)| *differs);
    let mut fixed: Vec<_> = tables.map(|(table, _)| table.to_owned()).collect();
    let mut listeners: Vec<_> = [(running, new), (new, running)]
        .into_iter()
        .flat_map(|(one, other)| one.listeners.iter().filter(|it| !other.listeners.contains(it)))
        .filter(|it| of_gateway(it).is_none())
        .map(|it| format!("[[listener]] `{}`, which is not of protocol http or tcp", it.name()))
        .collect();
    listeners.sort();
    listeners.dedup();
    fixed.extend(listeners);
    fixed
}

/// A listener that can come and go.
fn of_gateway(listener: &Listener) -> Option<&StreamListener> {
    match listener {
        Listener::Stream(stream)
            if matches!(stream.protocol, StreamProtocol::Http | StreamProtocol::Tcp) =>
        {
            Some(stream)
        }
        _ => None,
    }
}

/// As it is now.
pub(crate) fn stamp(path: &Path) -> Stamp {
    let file = fs::metadata(path).ok()?;
    Some((file.modified().ok()?, file.len()))
}
