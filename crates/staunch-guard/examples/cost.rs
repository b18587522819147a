//! What a guard costs: CPU time of a process that does nothing else, over ten seconds.
//!
//! `cargo run -p staunch-guard --release --features jemalloc --example cost`

#![allow(
    clippy::field_reassign_with_default,
    clippy::unnecessary_wraps,
    reason = "without jemalloc there is less to set and to fail"
)]

use std::{fs::File, time::Duration};

use rustix::time::{ClockId, clock_gettime};
use staunch::{BoxError, Context, scope};
use staunch_guard::{Guard, GuardOptions, Priority};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Of so little memory a mark is always near.
const NEAR: u64 = 128 << 20;

const TIME: Duration = Duration::from_secs(10);

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn options() -> Result<GuardOptions, BoxError> {
    let mut options = GuardOptions::default();
    #[cfg(feature = "jemalloc")]
    {
        options.allocator = Some(std::sync::Arc::new(staunch_guard::Jemalloc::new()?));
    }
    options.memory_limit = Some(NEAR);
    Ok(options)
}

/// What the process does meanwhile.
#[derive(Clone, Copy, PartialEq)]
enum Work {
    Nothing,
    /// Wakes up as often as a guard.
    Timer,
    Guard,
    GuardOnThread,
    /// One far from its marks.
    FarGuard,
    /// One that nobody asks.
    RestingGuard,
}

async fn measure(what: &str, work: Work) -> Result<(), BoxError> {
    let ended = scope(&Context::current(), |s| async move {
        let mut options = options()?;
        options.own_thread = matches!(work, Work::GuardOnThread | Work::FarGuard);
        if work == Work::FarGuard {
            options.memory_limit = Some(1 << 40);
        }
        let looks = (TIME.as_millis() / options.interval.as_millis()) as u32;
        let mut timer = tokio::time::interval(options.interval);
        let is_guarded = !matches!(work, Work::Nothing | Work::Timer);
        let guard = if is_guarded { Some(Guard::start(&s, options)?) } else { None };
        // With something in flight it does not rest.
        let asks = guard.as_ref().filter(|_| work != Work::RestingGuard);
        let in_flight = asks.map(|guard| guard.admit(Priority::Normal)).transpose()?;
        let before = cpu();
        let mut ticks = async || {
            if work == Work::Timer {
                loop {
                    timer.tick().await;
                }
            }
            std::future::pending::<()>().await;
        };
        let _ = tokio::time::timeout(TIME, ticks()).await; // it is always over
        let used = cpu().saturating_sub(before);
        drop((in_flight, guard));
        s.stop();
        Ok::<_, BoxError>((used, looks))
    });
    let (used, looks) = ended.await?;
    let percent = used.as_secs_f64() * 100.0 / TIME.as_secs_f64();
    println!("{what:<25} {:>8.1?} in 50 ms, {percent:.3} % of a processor", used / looks);
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    measure("nothing", Work::Nothing).await?;
    measure("a timer alone", Work::Timer).await?;
    measure("a guard", Work::Guard).await?;
    measure("a guard on a thread", Work::GuardOnThread).await?;
    measure("far from marks, a thread", Work::FarGuard).await?;
    measure("a guard that rests", Work::RestingGuard).await?;
    let files: Vec<File> = (0..10_000).map_while(|_| File::open("/dev/null").ok()).collect();
    measure(&format!("a guard, {} fds", files.len()), Work::Guard).await?;
    Ok(())
}
