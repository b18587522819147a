//! Looks at targets, once or again and again, until there is enough to diagnose.
//!
//! What runs is looked at at every interval; a saved dump is one look. All sources of one process
//! share one history, so that rules see its goroutines, sockets and memory at the same instants. What
//! costs a service more, its heap, is looked at first and last: two are enough to see what grew.
//! `watch/saved.rs` reads what was saved, and `watch/order.rs` knows in which order that was.
//!
//! **Invariant.** Whatever ends the watch after the first look (its time, Ctrl-C, a target that
//! ends), what was seen until then is diagnosed.

mod order;
mod saved;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use staunch_diagnosis::{History, Snapshot, Tasks};
use staunch_http::{Client, ClientOptions, ClientOptionsError};
use staunch_scope::{BoxError, Context, Scope, scope};
use tokio::time::Instant;

use crate::{
    source::{
        Look,
        file::SavedError,
        process::{ProcessSource, ProcessSourceError},
        remote::{DOCUMENT_BYTES_MAX, Remote, RemoteError},
    },
    target::Target,
};

/// What to look at, and for how long.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The targets.
    pub targets: Vec<Target>,
    /// For how long what runs is watched.
    pub period: Duration,
    /// The time between two looks.
    pub every: Duration,
    /// Headers of each request, such as `Authorization`.
    pub headers: Vec<(String, String)>,
    /// Whether JVMs record where they allocate what stays, while they are watched.
    pub records: bool,
}

/// How far a watch has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Since its first look.
    pub elapsed: Duration,
    /// Of so much.
    pub period: Duration,
    /// Looks so far.
    pub looks: usize,
}

/// What was seen of one process.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its targets, as they are shown.
    pub targets: Vec<String>,
    /// What it looked like.
    pub history: History,
    /// Whether the times of the history are those at which it was seen, or only their order.
    pub is_timed: bool,
    /// Why less was seen than was asked for.
    pub notes: Vec<String>,
}

/// Why nothing could be examined.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExamineError {
    /// There is no target.
    #[error("there is nothing to examine: give a URL, a file, or --pid")]
    NoTarget,
    /// There can be no HTTP client.
    #[error("cannot make an HTTP client")]
    Client(#[from] ClientOptionsError),
    /// A service cannot be looked at.
    #[error("cannot examine the service")]
    Remote(#[from] RemoteError),
    /// A process cannot be looked at.
    #[error("cannot examine the process")]
    Process(#[from] ProcessSourceError),
    /// A saved dump cannot be read.
    #[error("cannot examine the file")]
    Saved(#[from] SavedError),
    /// A part of the doctor itself failed.
    #[error("the examination broke off")]
    Broken(#[source] BoxError),
}

/// Something that can be looked at again.
enum Source {
    Remote(Box<Remote>),
    /// A process, which is looked at where that may block. Who gives up waiting for a look leaves it to its
    /// thread: the next one waits until it has ended.
    Process(Arc<Mutex<ProcessSource>>, Scope<BoxError>),
}

impl Source {
    async fn look(&mut self, at: Duration, turn: Look) -> Result<Snapshot, ExamineError> {
        match self {
            Source::Remote(remote) => Ok(remote.look(turn).await?),
            Source::Process(process, scope) => {
                let process = Arc::clone(process);
                let look = scope.blocking(move |_| Ok(lock(&process).look(at, turn)));
                Ok(look.join().await.map_err(|it| ExamineError::Broken(it.into()))??)
            }
        }
    }

    /// Ends what goes on in the target on our behalf, and waits for it: 10 s at most, behind what a look that
    /// was given up still takes.
    async fn end(&self) {
        if let Source::Process(process, scope) = self {
            let process = Arc::clone(process);
            let end = scope.blocking(move |_| {
                lock(&process).end();
                Ok(())
            });
            let _ = end.join().await; // it has told what went wrong by its notes
        }
    }

    /// Why less was seen than could be. Waits for nothing: nobody looks any more.
    fn notes(&self) -> Vec<String> {
        match self {
            Source::Remote(remote) => remote.notes().to_vec(),
            Source::Process(process, _) => lock(process).notes().map(str::to_owned).collect(),
        }
    }
}

/// A look that panicked has broken nothing that the next one needs.
fn lock(process: &Mutex<ProcessSource>) -> MutexGuard<'_, ProcessSource> {
    process.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Looks at all targets until the period is over or `context` is cancelled; then there is one last
/// look, of a few seconds at most.
///
/// # Errors
/// [`ExamineError`], if a target cannot be looked at even once.
///
/// # Cancel safety
/// Dropped, it leaves nothing behind, and nothing is known; while a JVM records that stops the recording,
/// for which it blocks for 10 s at most. To keep what was seen, cancel `context`.
pub async fn watch(
    plan: Plan,
    context: &Context,
    progress: impl FnMut(Progress) + Send + 'static,
) -> Result<Vec<Seen>, ExamineError> {
    if plan.targets.is_empty() {
        return Err(ExamineError::NoTarget);
    }
    let stop = context.clone();
    let seen = scope(&Context::background(), |s| async move {
        let seen = look_at_all(&s, plan, &stop, progress).await;
        s.stop(); // the client's connections
        Ok::<_, BoxError>(seen)
    });
    seen.await.map_err(|error| ExamineError::Broken(error.into()))?
}

async fn look_at_all(
    scope: &Scope<BoxError>,
    plan: Plan,
    stop: &Context,
    progress: impl FnMut(Progress),
) -> Result<Vec<Seen>, ExamineError> {
    let (files, running): (Vec<_>, Vec<_>) = plan.targets.iter().partition(|it| is_file(it));
    let mut seen = Vec::new();
    if !files.is_empty() {
        seen.push(saved::saved(scope, &files, stop).await?);
    }
    if !running.is_empty() {
        seen.push(live(scope, &plan, &running, stop, progress).await?);
    }
    Ok(seen)
}

fn is_file(target: &Target) -> bool {
    matches!(target, Target::File(_))
}

/// What cannot be found in so little: nobody is to take silence for health.
fn lacking(history: &History) -> Vec<String> {
    /// Without ids, growth is believed after so many looks.
    const LOOKS_WITHOUT_IDS: usize = 5;
    let looks = history.instants().len();
    let mut tasks = history.instants().iter().filter_map(|it| it.snapshot.tasks.as_ref());
    let has_ids = |tasks: &Tasks| tasks.groups.iter().any(|group| !group.members.is_empty());
    let mut notes = Vec::new();
    if looks == 1 {
        notes.push(
            "this is one look: what grows, ages or stays cannot be seen in it; watch for longer \
             than --every, or give dumps of later instants as well"
                .to_owned(),
        );
    } else if looks < LOOKS_WITHOUT_IDS && tasks.any(|tasks| !has_ids(tasks)) {
        notes.push(format!(
            "a profile of goroutines has no ids, so growth is believed after \
             {LOOKS_WITHOUT_IDS} looks: save /debug/pprof/goroutine?debug=2 instead"
        ));
    }
    notes
}

async fn live(
    scope: &Scope<BoxError>,
    plan: &Plan,
    targets: &[&Target],
    stop: &Context,
    progress: impl FnMut(Progress),
) -> Result<Seen, ExamineError> {
    let mut sources = sources(scope, plan, targets).await?;
    let mut seen = Seen {
        targets: targets.iter().map(ToString::to_string).collect(),
        history: History::new(),
        is_timed: true,
        notes: Vec::new(),
    };
    let begun = Instant::now();
    let end = look_again_and_again(&mut sources, plan, begun, stop, &mut seen, progress).await;
    if matches!(end, Ok(End::Stopped)) && !seen.history.instants().is_empty() {
        seen.notes.push(format!("the watch was ended after {}", seconds(begun.elapsed())));
        let last = look(&mut sources, begun.elapsed(), Look::Last);
        let most = if plan.records { CLOSING_RECORDING_MAX } else { CLOSING_LOOK_MAX };
        // A service that does not answer now has been seen before.
        if let Ok(Ok((at, snapshot))) = tokio::time::timeout(most, last).await {
            seen.history.add(at, snapshot);
        }
    }
    for source in &sources {
        source.end().await;
    }
    end?;
    seen.add_notes(sources.iter().flat_map(Source::notes));
    seen.notes.extend(lacking(&seen.history));
    Ok(seen)
}

/// How long the look may take with which a watch ends that was stopped: somebody waits for it.
const CLOSING_LOOK_MAX: Duration = Duration::from_secs(5);
/// And if what was recorded is to be read: that takes four programs of the JDK, one after the other.
const CLOSING_RECORDING_MAX: Duration = Duration::from_secs(15);

/// Why a watch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Its time was over.
    Over,
    /// It was asked to end.
    Stopped,
    /// A target could not be looked at any more.
    Failed,
}

async fn look_again_and_again(
    sources: &mut [Source],
    plan: &Plan,
    begun: Instant,
    stop: &Context,
    seen: &mut Seen,
    mut progress: impl FnMut(Progress),
) -> Result<End, ExamineError> {
    loop {
        let at = begun.elapsed();
        let looks = seen.history.instants().len();
        let is_last = at + plan.every > plan.period;
        let turn = match looks {
            _ if is_last => Look::Last,
            0 => Look::First,
            _ => Look::Between,
        };
        match stop.run(look(sources, at, turn)).await {
            Ok(Ok((at, snapshot))) => seen.history.add(at, snapshot),
            Ok(Err(error)) if looks == 0 => return Err(error),
            Ok(Err(error)) => {
                let why = chain(&error);
                seen.notes.push(format!("the watch ended after {}: {why}", seconds(at)));
                return Ok(End::Failed);
            }
            Err(_) => return Ok(End::Stopped),
        }
        let looks = looks + 1;
        progress(Progress { elapsed: begun.elapsed(), period: plan.period, looks });
        if is_last {
            return Ok(End::Over);
        }
        if stop.run(tokio::time::sleep_until(begun + at + plan.every)).await.is_err() {
            return Ok(End::Stopped);
        }
    }
}

/// One look at everything, with the time it began.
async fn look(
    sources: &mut [Source],
    at: Duration,
    turn: Look,
) -> Result<(Duration, Snapshot), ExamineError> {
    let mut joined = Snapshot::default();
    for source in sources {
        joined = joined.join(source.look(at, turn).await?);
    }
    Ok((at, joined))
}

async fn sources(
    scope: &Scope<BoxError>,
    plan: &Plan,
    targets: &[&Target],
) -> Result<Vec<Source>, ExamineError> {
    let options = ClientOptions { max_body: DOCUMENT_BYTES_MAX, ..ClientOptions::default() };
    let client = Client::new(scope, options)?;
    let mut sources = Vec::with_capacity(targets.len());
    for target in targets {
        sources.push(match target {
            Target::Url(url) => {
                let (client, headers) = (client.clone(), plan.headers.clone());
                Source::Remote(Box::new(Remote::discover(client, headers, url).await?))
            }
            Target::Process(pid) => {
                let process = ProcessSource::new(*pid);
                let process = if plan.records { process.recording(plan.period) } else { process };
                Source::Process(Arc::new(Mutex::new(process)), scope.clone())
            }
            Target::File(_) => continue,
        });
    }
    Ok(sources)
}

impl Seen {
    fn add_notes(&mut self, notes: impl Iterator<Item = String>) {
        for note in notes {
            if !self.notes.contains(&note) {
                self.notes.push(note);
            }
        }
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.0} s", time.as_secs_f64())
}

/// An error with all that is behind it, in one line. What an error says of its source already is
/// not said again.
#[must_use]
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    for behind in std::iter::successors(error.source(), |error| error.source()) {
        let behind = behind.to_string();
        if !text.contains(&behind) {
            text = format!("{text}: {behind}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_said_twice() {
        let inner = std::io::Error::other("refused");
        let error = std::io::Error::other(SavedError::Read { path: "a".into(), source: inner });
        assert_eq!(chain(&error), "cannot read a: refused");
    }
}
