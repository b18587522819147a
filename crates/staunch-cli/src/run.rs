//! `staunch run`: configure, bind, serve, drain, report.

use std::{convert::Infallible, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use staunch_config::{Config, ConfigErrors};
use staunch_console::{Phase, Readiness, log};
use staunch_ledger::Ledger;
use staunch_scope::{Context, Scope, ScopeBuilder, WorkerWatch, patrol};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    args,
    outcome::{Books, Outcome},
    service::{self, Service},
};

/// What the scope of all listeners has beyond the grace of each, to end itself.
const MARGIN: Duration = Duration::from_secs(2);

pub(crate) fn run(args: &args::Run) -> ExitCode {
    let config = match configure(args) {
        Ok(config) => config,
        Err(errors) => {
            eprintln!("{errors:#}");
            return Outcome::CannotStart.into();
        }
    };
    match start(&config) {
        Ok(outcome) => outcome.into(),
        Err(error) => {
            eprintln!("staunch: {error:#}");
            Outcome::CannotStart.into()
        }
    }
}

fn configure(args: &args::Run) -> Result<Config, ConfigErrors> {
    match &args.config {
        Some(path) => Config::load(path),
        None => Config::parse("the embedded default", Config::default_text()),
    }
}

fn start(config: &Config) -> anyhow::Result<Outcome> {
    let format = match config.log.format {
        staunch_config::LogFormat::Text => log::LogFormat::Text,
        staunch_config::LogFormat::Json => log::LogFormat::Json,
    };
    let _log = log::init(format, config.log.level.as_str())?;
    raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.runtime.workers.get())
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(serve(config))
}

/// Raises the soft limit of open files to the hard one: the soft one is low for the sake of
/// `select(2)`, which nobody uses here.
fn raise_open_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, "cannot raise the limit of open files to the hard limit");
    }
}

async fn serve(config: &Config) -> anyhow::Result<Outcome> {
    let ledger = Ledger::global();
    let mut signals = Signals::register()?;
    let readiness = Readiness::default();
    let inherited = ledger
        .adopt_open_fds("was open before anything was served")
        .inspect_err(|error| tracing::warn!(%error, "cannot account for inherited files"))
        .unwrap_or_default();
    let watch = WorkerWatch::start().context("cannot start a thread")?;
    let services = service::bind_all(config, &readiness)?;
    let books = Arc::new(Books::default());
    let ended = ScopeBuilder::<Infallible>::new(&Context::background())
        .grace(config.drain.grace + MARGIN)
        .run(async |scope| {
            for service in services {
                tracing::info!(listener = service.name(), endpoint = %service.endpoint(), "listening");
                start_one(&scope, service, Arc::clone(&books));
            }
            let every = config.patrol.every;
            scope.spawn_named("patrol", async move {
                let Err(_asked_to_stop) = patrol(every).await;
                Ok(())
            });
            readiness.advance(Phase::Ready);
            let name = signals.next().await;
            readiness.advance(Phase::Draining);
            tracing::info!(signal = name, grace = ?config.drain.grace, "draining");
            scope.stop();
            Ok(())
        })
        .await;
    drop((signals, inherited, watch));
    if let Err(error) = &ended.result {
        tracing::error!(%error, "stopped");
    }
    let outcome = books.close(ledger);
    Ok(if ended.result.is_ok() { outcome } else { Outcome::Failed })
}

fn start_one(scope: &Scope<Infallible>, service: Service, books: Arc<Books>) {
    let context = scope.context().clone();
    scope.spawn_named("listener", async move {
        service.serve(&context, &books).await;
        Ok(())
    });
}

/// The signals that end a run.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn register() -> anyhow::Result<Signals> {
        let register = |kind| signal(kind).context("cannot listen for signals");
        Ok(Signals {
            terminate: register(SignalKind::terminate())?,
            interrupt: register(SignalKind::interrupt())?,
        })
    }

    /// Waits for one, and returns its name.
    ///
    /// # Cancel safety
    /// Cancel safe.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
