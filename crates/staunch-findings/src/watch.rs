//! A watch that nobody has to ask: it looks at intervals and tells what is new.

use std::{collections::HashMap, convert::Infallible, sync::Arc, time::Duration};

use staunch_diagnosis::Finding;
use staunch_ledger::{Detector, Ledger, Patrol};
use staunch_scope::{
    Cancelled, Context, JoinChildError, ScopeError, channel::doomed_waits, scope, sleep,
};

use crate::{
    look::Lookout,
    registry::Found,
    report::{Report, Told},
};

/// A finding is gone after so many looks without it: one that comes and goes is told once.
const GONE_AFTER: u32 = 3;

/// Looks at the current ledger every so often, until the task is asked to stop.
///
/// Each finding is logged once, as a warning, and once as gone; [`report`](crate::report) is what was
/// found last, which a console shows on `/debug/findings` and in its metrics. The looks run on a
/// thread where they may block.
///
/// It does what [`patrol`](staunch_scope::patrol) does, so nobody needs both: lines with something
/// overdue record backtraces, and waits that nobody can end are told
/// ([`doomed_waits`](staunch_scope::channel::doomed_waits)).
///
/// # Errors
/// [`Cancelled`] once the task is asked to stop; it never ends otherwise.
///
/// # Cancel safety
/// Cancel safe: nothing is lost but what earlier looks saw.
///
/// # Panics
/// Outside a tokio runtime with time enabled.
///
/// # Examples
/// ```
/// use staunch_findings::watch;
/// use staunch_scope::{BoxError, Context, scope};
/// use std::time::Duration;
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let served = scope(&Context::background(), |s| async move {
///     s.spawn(async { Err(watch(Duration::from_secs(10)).await.unwrap_err().into()) });
///     // serve
///     s.stop();
///     Ok::<_, BoxError>(())
/// });
/// # let _ =
/// served.await;
/// # });
/// ```
pub async fn watch(every: Duration) -> Result<Infallible, Cancelled> {
    let ledger = Ledger::current();
    let found = Found::register(ledger);
    let mut watcher = Watcher::new(ledger);
    loop {
        watcher = look(watcher, &found).await.unwrap_or_else(|error| {
            if !Context::current().is_cancelled() {
                tracing::error!(%error, "cannot look for leaks: the next look starts afresh");
            }
            Watcher::new(ledger)
        });
        sleep(every).await?;
    }
}

async fn look(
    mut watcher: Watcher,
    found: &Arc<Found>,
) -> Result<Watcher, ScopeError<JoinChildError>> {
    let found = Arc::clone(found);
    let look = move || {
        let report = watcher.lookout.look();
        watcher.tell(&report);
        watcher.patrol.look(); // backtraces, and notes on the ledger
        doomed_waits(Ledger::current()); // tells by itself
        found.set(report, watcher.told.clone());
        watcher
    };
    scope(&Context::current(), |s| async move { s.blocking(|_| Ok(look())).join().await }).await
}

/// Looks, and remembers what it has told.
struct Watcher {
    lookout: Lookout,
    patrol: Patrol,
    /// By id: what was told, and for how many looks it has not been seen.
    known: HashMap<String, (Finding, u32)>,
    told: Told,
    is_blind: bool,
}

impl Watcher {
    fn new(ledger: Ledger) -> Watcher {
        let (known, told) = (HashMap::new(), Told::new());
        Watcher {
            lookout: Lookout::new(ledger),
            patrol: Patrol::new(ledger),
            known,
            told,
            is_blind: false,
        }
    }

    fn tell(&mut self, report: &Report) {
        for finding in &report.findings {
            if self.known.insert(finding.id.clone(), (finding.clone(), 0)).is_none() {
                *self.told.entry((finding.rule, finding.severity)).or_default() += 1;
                warn(finding);
            }
        }
        let gone = self.known.extract_if(|id, (_, missed)| {
            let is_there = report.findings.iter().any(|finding| finding.id == *id);
            *missed = if is_there { 0 } else { *missed + 1 };
            *missed >= GONE_AFTER
        });
        for (id, (finding, _)) in gone {
            tracing::info!(rule = finding.rule, id, born_at = born_at(&finding), "no longer found");
        }
        let is_blind = report.detector == Detector::Broken;
        if is_blind && !self.is_blind {
            tracing::error!("the leak detector is blind: it missed its own canary; report this");
        }
        self.is_blind = is_blind;
    }
}

fn warn(finding: &Finding) {
    let Finding { rule, id, summary, cause, fix, .. } = finding;
    let why = cause.as_ref().map(|cause| &*cause.text);
    let fix = fix.as_ref().map(|fix| &*fix.text);
    tracing::warn!(rule, id, born_at = born_at(finding), why, fix, "found: {summary}");
}

fn born_at(finding: &Finding) -> Option<String> {
    finding.birth.as_ref().map(|birth| format!("{}:{}", birth.file, birth.line))
}

#[cfg(test)]
mod tests {
    use staunch_ledger::{Account, Deadline, Kind, Obligation};
    use staunch_scope::{BoxError, testing};

    use super::*;
    use crate::report;

    fn overdue(ledger: Ledger) -> Account {
        let by = Obligation::EndsBy(Deadline::after(Duration::from_secs(1)));
        let account = ledger.open(Kind::FILE, by);
        ledger.advance_clock(Duration::from_mins(1));
        account
    }

    #[test]
    fn each_finding_is_told_once_and_again_only_after_it_was_gone() {
        let ledger = Ledger::new();
        let mut watcher = Watcher::new(*ledger);
        let mut look = || {
            let report = watcher.lookout.look();
            watcher.tell(&report);
            (watcher.told.values().sum::<u64>(), watcher.known.len())
        };
        let leak = || overdue(*ledger);
        let first = leak();
        assert_eq!([look(), look(), look()], [(1, 1); 3]);
        drop(first);
        assert_eq!([look(), look(), look()], [(1, 1), (1, 1), (1, 0)]);
        let _second = leak();
        assert_eq!([look(), look()], [(1, 0), (2, 1)]);
    }

    #[test]
    fn a_watch_reports_until_it_is_stopped() {
        testing::Runner::current_thread().run(async {
            let ledger = Ledger::current();
            let kept = overdue(ledger);
            let watched = scope(&Context::background(), |s| async move {
                s.spawn(async { Err(watch(Duration::from_millis(1)).await.unwrap_err().into()) });
                while report(ledger).0.looks < 3 {
                    sleep(Duration::from_millis(1)).await?;
                }
                let (found, told) = report(ledger);
                assert_eq!(found.findings[0].rule, "obligation-broken");
                assert_eq!(told.values().sum::<u64>(), 1);
                drop(kept);
                s.stop();
                Ok::<_, BoxError>(())
            });
            let _ = watched.await;
        });
    }
}
