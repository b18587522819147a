//! Saved files as one history: dumps of one process, the oldest first.

use std::{path::Path, time::Duration};

use staunch_diagnosis::{History, Snapshot};
use staunch_scope::{BoxError, Context, Scope};
use tokio::time::Instant;

use super::{ExamineError, Seen, lacking, order};
use crate::{
    source::file::{Saved, SavedError, read_saved},
    target::Target,
};

/// The longest that all files together are read. The largest is read in seconds.
const READING_TIME_MAX: Duration = Duration::from_mins(2);

/// Reads the files where that may block. When `stop` or the time says that it is enough, what was read
/// until then is what there is.
pub(super) async fn saved(
    scope: &Scope<BoxError>,
    files: &[&Target],
    stop: &Context,
) -> Result<Seen, ExamineError> {
    let end = Instant::now() + READING_TIME_MAX;
    let mut read: Vec<(String, Saved)> = Vec::new();
    let mut notes = Vec::new();
    for path in files.iter().filter_map(|target| path(target)) {
        let name = path.display().to_string();
        match read_one(scope, path, stop, end).await? {
            Ok(saved) => read.push((name, saved)),
            Err(_) if !read.is_empty() && is_over(stop, end) => {
                notes.push(format!(
                    "reading was ended before {name}: it is not part of this report"
                ));
                break;
            }
            Err(error) => return Err(error.into()),
        }
    }
    notes.extend(order::order(&mut read));
    let targets = read.iter().map(|(name, _)| name.clone()).collect();
    let history = history(read.into_iter().map(|(_, saved)| saved.snapshot));
    notes.extend(lacking(&history));
    Ok(Seen { targets, history, is_timed: false, notes })
}

async fn read_one(
    scope: &Scope<BoxError>,
    path: &Path,
    stop: &Context,
    end: Instant,
) -> Result<Result<Saved, SavedError>, ExamineError> {
    let (path, stop) = (path.to_path_buf(), stop.clone());
    let reading = scope.blocking(move |_| Ok(read_saved(&path, || is_over(&stop, end))));
    reading.join().await.map_err(|error| ExamineError::Broken(error.into()))
}

fn is_over(stop: &Context, end: Instant) -> bool {
    stop.is_cancelled() || Instant::now() >= end
}

fn path(target: &Target) -> Option<&Path> {
    match target {
        Target::File(path) => Some(path),
        _ => None,
    }
}

/// The first of each kind belong to one instant, then the second ones, and so on.
fn history(snapshots: impl Iterator<Item = Snapshot>) -> History {
    let mut instants: Vec<Snapshot> = Vec::new();
    for snapshot in snapshots {
        let place = instants.iter_mut().find(|instant| !overlap(instant, &snapshot));
        match place {
            Some(instant) => *instant = std::mem::take(instant).join(snapshot),
            None => instants.push(snapshot),
        }
    }
    let mut history = History::new();
    for (number, snapshot) in (0..).zip(instants) {
        history.add(Duration::from_secs(number), snapshot);
    }
    history
}

fn overlap(one: &Snapshot, other: &Snapshot) -> bool {
    (one.tasks.is_some() && other.tasks.is_some())
        || (one.heap.is_some() && other.heap.is_some())
        || (one.entries.is_some() && other.entries.is_some())
        || (one.sockets.is_some() && other.sockets.is_some())
}
