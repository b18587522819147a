//! `/debug/pprof/profile`: where CPU time goes, by the `pprof` crate's sampling of every thread
//! (`SIGPROF` by `setitimer(2)`).
//!
//! The timer and the signal handler belong to the process, so there is one profile at a time.
//! Stacks are unwound in the handler by the tables that Rust programs carry for panics; nothing
//! must be built in a special way. Two libraries are left out, because the handler must not
//! enter them again while it has interrupted them, or cannot leave them: libgcc, the unwinder
//! itself, and the vDSO. Time in libc counts: that is where a server makes its system calls.
//!
//! The first profile of a process costs 80 MiB that are not given back: the sampler's table of
//! stacks, which the `pprof` crate keeps for the next.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use pprof::{ProfilerGuard, ProfilerGuardBuilder, Report, Symbol};
use staunch_scope::Blocking;

use super::{
    builder::{Builder, Call, Frame},
    sampler_files,
    source::{in_full, short},
};
use crate::{refusal::Refusal, reply::Reply, route::Visit};

/// Samples a second of CPU time. Go takes 100; 99 does not fall into step with what happens
/// every 10 ms.
const SAMPLES_PER_SECOND: i32 = 99;

/// As long as Go's tools assume.
const SECONDS_DEFAULT: u64 = 30;
/// A profile holds a thread and a turn; who needs longer takes several.
const SECONDS_MAX: u64 = 300;

const NOT_UNWOUND: [&str; 2] = ["libgcc", "vdso"];

pub(crate) fn profile(visit: &Visit<'_>) -> Result<Reply, Refusal> {
    let seconds = visit.query.number("seconds", 1..=SECONDS_MAX)?.unwrap_or(SECONDS_DEFAULT);
    visit.work.account().label("CPU profile");
    let _alone = Alone::claim().ok_or(Refusal::Busy)?;
    let profiler = start()?;
    sampler_files::account();
    wait(visit.work, Duration::from_secs(seconds))?;
    let report = profiler.report().build().map_err(Refusal::failed)?;
    drop(profiler);
    sampler_files::account();
    let built = build(&report);
    backtrace::clear_symbol_cache(); // tens of MiB, which nobody needs until the next profile
    built.reply("profile")
}

fn start() -> Result<ProfilerGuard<'static>, Refusal> {
    ProfilerGuardBuilder::default()
        .frequency(SAMPLES_PER_SECOND)
        .blocklist(&NOT_UNWOUND)
        .build()
        .map_err(|error| match error {
            pprof::Error::Running => Refusal::Busy, // somebody else in this process
            other => Refusal::failed(other),
        })
}

/// Waits, but not for a client that has left or a service that is ending.
fn wait(work: &Blocking, time: Duration) -> Result<(), Refusal> {
    const LOOK_EVERY: Duration = Duration::from_millis(50);
    let end = Instant::now() + time;
    while !work.is_asked() {
        match end.checked_duration_since(Instant::now()) {
            None => return Ok(()),
            Some(left) => std::thread::sleep(left.min(LOOK_EVERY)),
        }
    }
    Err(Refusal::Ending)
}

/// The right to take a profile; one at a time has it.
struct Alone;

static TAKEN: AtomicBool = AtomicBool::new(false);

impl Alone {
    fn claim() -> Option<Alone> {
        (!TAKEN.swap(true, Ordering::Acquire)).then_some(Alone)
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        TAKEN.store(false, Ordering::Release);
    }
}

fn build(report: &Report) -> Builder {
    let period = 1_000_000_000 / i64::from(SAMPLES_PER_SECOND);
    let cpu = ("cpu", "nanoseconds");
    let mut builder = Builder::new(&[("samples", "count"), cpu], 1, (cpu, period));
    builder.lasted(report.timing.duration);
    for (stack, count) in &report.data {
        let count = *count as i64;
        let frames = stack.frames.iter().skip_while(|frame| frame.iter().any(is_sampler));
        let frames = frames.map(|symbols| frame(symbols));
        let thread = stack.thread_name_or_id();
        builder.sample(frames, vec![count, count * period], &[("thread", &thread)]);
    }
    builder
}

/// Whether a frame belongs to the sampling itself, which is the innermost part of every stack.
fn is_sampler(symbol: &Symbol) -> bool {
    let file = symbol.filename();
    ["pprof", "backtrace"].iter().any(|name| short(&file).starts_with(name))
}

fn frame(symbols: &[Symbol]) -> Frame {
    let calls = symbols.iter().map(|symbol| {
        let file = symbol.filename().into_owned();
        Call { function: in_full(symbol.name(), &file), file, line: symbol.lineno() }
    });
    let address = symbols.first().and_then(|symbol| symbol.addr);
    Frame { calls: calls.collect(), address: address.map_or(0, |at| at.addr() as u64) }
}
