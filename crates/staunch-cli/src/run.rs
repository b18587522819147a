//! `staunch run`: configure, bind, serve, drain, report.

use std::{path::Path, process::ExitCode, sync::Arc};

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use staunch_config::{Config, ConfigErrors};
use staunch_console::{Readiness, log};
use staunch_gateway::Gateway;
use staunch_ledger::{Ledger, UnaccountedFd};
use staunch_scope::WorkerWatch;

use crate::{
    args,
    outcome::{Books, Outcome},
    print,
    reload::{Reload, Stamp, stamp},
    service,
    signals::Signals,
    stages::{self, Arrival, Run},
    turn::Turns,
    upgrade::{Asked, Predecessor, Successor},
};

pub(crate) fn run(args: &args::Run) -> ExitCode {
    // Before it is read: what changes from then on is another state of it.
    let file = args.config.as_deref().map(|path| (path, stamp(path)));
    let config = match configure(args) {
        Ok(config) => config,
        Err(errors) => {
            print::complaint(format_args!("{errors:#}"));
            return Outcome::CannotStart.into();
        }
    };
    match start(file, &config) {
        Ok(outcome) => outcome.into(),
        Err(error) => {
            print::complaint(format_args!("staunch: {}", print::causes(&error)));
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

/// After so many polls of tasks a worker asks the kernel who else has something to say; with tokio's 61, who has
/// said something waits for more of others' work (docs/decisions/13-turns.md).
const EVENT_INTERVAL: u32 = 4;

fn start(file: Option<(&Path, Stamp)>, config: &Config) -> anyhow::Result<Outcome> {
    let format = match config.log.format {
        staunch_config::LogFormat::Text => log::LogFormat::Text,
        staunch_config::LogFormat::Json => log::LogFormat::Json,
    };
    let _log = log::init(format, config.log.level.as_str())?;
    raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.runtime.workers.get())
        .event_interval(EVENT_INTERVAL)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(serve(file, config))
}

/// Raises the soft limit of open files to the hard one: the soft one is low for the sake of
/// `select(2)`, which nobody uses here.
fn raise_open_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, "cannot raise the limit of open files to the hard limit");
    }
}

async fn serve(file: Option<(&Path, Stamp)>, config: &Config) -> anyhow::Result<Outcome> {
    let ledger = Ledger::global();
    let (mut signals, asked) = (Signals::register()?, Asked::register()?);
    let readiness = Readiness::default();
    let inherited = ledger
        .adopt_open_fds("was open before anything was served")
        .inspect_err(|error| tracing::warn!(%error, "cannot account for inherited files"))
        .unwrap_or_default();
    let watch = WorkerWatch::start().context("cannot start a thread")?;
    let (predecessor, mut sockets) = Predecessor::greet()?;
    let bound = service::bind_all(config, &readiness, &mut sockets)?;
    for (listener, endpoint) in bound.endpoints() {
        tracing::info!(listener, %endpoint, "listening");
    }
    let shared = bound.share().context("cannot keep sockets for a successor")?;
    if file.is_none() {
        print::text(WELCOME);
    }
    let books = Arc::new(Books::new(ledger));
    let control = bound.gateway.as_ref().map(Gateway::control);
    let turns = Turns::new();
    let reload = file.zip(control.as_ref()).and_then(|(file, control)| {
        let waking = (turns.clone(), signals.take_hangup()?);
        Some(Reload::new(file, config, control.clone(), waking))
    });
    let run = Run {
        bound,
        readiness: readiness.clone(),
        books: Arc::clone(&books),
        grace: config.drain.grace,
        patrol_every: config.patrol.every,
        guard: config.guard.as_ref().map(service::guard_options),
        arrival: Arrival {
            readiness: readiness.clone(),
            predecessor,
            sockets: Some(sockets),
            reload,
        },
    };
    let successor = Successor::new(asked, shared, control, turns);
    stages::run(run, &mut signals, successor).await;
    let unaccounted = unaccounted(ledger);
    drop((signals, inherited, watch));
    staunch_console::release_sampler_files();
    Ok(books.close(&unaccounted))
}

/// What the embedded default serves, for whoever has started it without a file.
const WELCOME: &str = "\
Staunch serves, until you press Ctrl-C:
  http://127.0.0.1:8080   the gateway: a bank (/v2, see /openapi.json) and a page to try things with (/)
  tcp 127.0.0.1:9000      the gateway: lines, which come back
  udp 127.0.0.1:9001      the gateway: datagrams, which come back
  http://127.0.0.1:6060   what all of it holds, and which line holds it
Try, from another terminal:
  curl -s http://127.0.0.1:8080/v2/accounts -H 'content-type: application/json' -d '{\"balance\":{\"amount\":\"100.00\",\"currency\":\"EUR\"}}'
  curl -sN http://127.0.0.1:8080/sse
  curl -s 'http://127.0.0.1:6060/debug/ledger?kind=connection'
A file of your own: staunch config default > staunch.toml; staunch run --config staunch.toml
";

/// What the kernel still holds for the process, beyond what was there before it served.
fn unaccounted(ledger: Ledger) -> Vec<UnaccountedFd> {
    ledger
        .reconcile()
        .inspect_err(|error| tracing::warn!(%error, "cannot ask the kernel what is left"))
        .map(|reconciliation| reconciliation.unaccounted)
        .unwrap_or_default()
}
