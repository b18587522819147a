//! A run of the program: start, serve, drain, report.

use std::{
    io::{self, Write},
    pin::pin,
    time::Duration,
};

use anyhow::Context as _;
use staunch::{
    BoxError, Context, Ledger, Scope, ScopeBuilder, WorkerWatch,
    ledger::UnaccountedFd,
    net::{Endpoint, Listener, Served, SocketOptions},
    patrol,
};
use staunch_console::{
    Access, Console, ConsoleOptions, Phase,
    log::{self, LogFormat},
};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    service::Service,
    settings::{Database, Settings},
};

/// How often to look for leaks.
const PATROL: Duration = Duration::from_secs(10);

/// Serves as `settings` say until SIGTERM or SIGINT comes. Whether it served to its end, nothing was
/// left and nobody had to be cut; the last line says so.
///
/// # Errors
/// When the process lacks what it needs to run at all.
pub fn run(settings: &Settings) -> anyhow::Result<bool> {
    let _log = log::init(LogFormat::Text, &settings.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(serve(settings))
}

async fn serve(settings: &Settings) -> anyhow::Result<bool> {
    let ledger = Ledger::global();
    let mut signals = Signals::register()?;
    let inherited = ledger.adopt_open_fds("was open before anything was served")?;
    let watch = WorkerWatch::start().context("cannot start a thread")?;
    let ended = ScopeBuilder::new(&Context::background())
        .run(|scope| stages(scope, settings, &mut signals))
        .await;
    // What was there before it served is still accounted for while the kernel is asked.
    let unaccounted = ledger.reconcile()?.unaccounted;
    drop((signals, inherited, watch));
    staunch_console::release_sampler_files();
    for forced in &ended.forced {
        say(format_args!("forced: {forced}"));
    }
    let served = ended.result.inspect_err(|error| say(format_args!("failed: {error}")));
    let is_clean = served.is_ok() && ended.forced.is_empty();
    Ok(report(ledger, &unaccounted, served.ok().as_ref()) && is_clean)
}

/// Serves until a signal comes, then drains; a second signal cuts whoever is left.
async fn stages(
    scope: Scope<BoxError>,
    settings: &Settings,
    signals: &mut Signals,
) -> Result<Served, BoxError> {
    let service = Service::start(&scope, settings).await?;
    let readiness = service.readiness().clone();
    if let Some(address) = settings.admin {
        let access = Access::new(address, None)?;
        let console = Console::new(ConsoleOptions { access, readiness: readiness.clone() });
        let options = SocketOptions::default();
        let listener = Listener::bind(&Endpoint::Tcp(address), &options, Console::limits())?;
        let context = scope.context().clone();
        scope.spawn_named("admin", async move {
            let _ = listener.serve(&context, move |peer| console.clone().serve(peer)).await;
            Ok(())
        });
    }
    scope.spawn_named("patrol", async {
        let Err(_asked_to_stop) = patrol(PATROL).await;
        Ok(())
    });
    announce(&service, settings);
    let (serving, stop) = scope.context().with_cancel();
    let mut served = pin!(scope.fork(async move { Ok(service.serve(&serving).await) }).join());
    let signal = tokio::select! {
        served = &mut served => return Ok(served?),
        signal = signals.next() => signal,
    };
    readiness.advance(Phase::Draining);
    tracing::info!(signal, "draining");
    stop.cancel();
    let served = tokio::select! {
        served = &mut served => served?,
        signal = signals.next() => {
            return Err(format!("{signal} once more: who was left is cut").into());
        }
    };
    scope.stop();
    Ok(served)
}

fn announce(service: &Service, settings: &Settings) {
    let accounts = match &settings.database {
        Database::Postgres(_) => "PostgreSQL".to_owned(),
        Database::Sqlite(path) => path.display().to_string(),
    };
    say(format_args!("bank: listening on http://{}, accounts in {accounts}", service.address()));
}

/// Prints what was served and what is left, on the ledger or in the kernel only; the last line is
/// the sum. Whether nothing is left and nobody was cut.
fn report(ledger: Ledger, unaccounted: &[UnaccountedFd], served: Option<&Served>) -> bool {
    let snapshot = ledger.snapshot();
    for entry in snapshot.entries() {
        let (kind, born_at, age) = (entry.kind(), entry.born_at(), entry.age());
        say(format_args!("left: {kind} born at {born_at}, {age:?} old, {}", entry.label()));
    }
    for found in unaccounted {
        say(format_args!("left: {found}, which is not on the ledger"));
    }
    let cut = served.map(|served| &*served.cut).unwrap_or_default();
    for cut in cut {
        say(format_args!("cut: {cut}"));
    }
    let accepted = served.map_or(0, |served| served.accepted);
    let (cut, left) = (cut.len(), snapshot.entries().len() + unaccounted.len());
    say(format_args!("served {accepted} connections ({cut} cut); {left} left"));
    left == 0 && cut == 0
}

/// A line on standard output. Who has closed it does not want to know.
fn say(text: std::fmt::Arguments<'_>) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// SIGTERM and SIGINT.
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
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
