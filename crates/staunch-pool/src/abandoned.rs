//! Which leases are abandoned, and which are only slow.
//!
//! A lease promises to be used. One that was not used for `abandoned_timeout`, or for a quarter of
//! it if the task that leased it has ended, is
//! - *abandoned* when its connection is not in use: its owner is gone, or forgot it;
//! - *abandoned* when its connection is in use, for the whole `abandoned_timeout`, but by a task that
//!   is gone, or that has been parked for as long on something else (a channel, a sleep, another
//!   lease) while the connection has nothing to do;
//! - *slow* when its connection is in use by a task that waits for it. It is named, and left.
//!
//! A use is the task's that took the connection or touched the lease last. What cannot be told from
//! slow: a use that was forgotten by a task that lives on and is busy, or by no task of ours.

use std::{collections::HashMap, fmt, time::Duration};

use staunch_ledger::{Entry, EntryId, Kind, Label, Observation, State};

use crate::{manager::Manager, record::Record, shared::Shared, status::Destroyed};

/// What was seen of the leases, so that each is reported once; and once more if it was slow, and is
/// abandoned.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    reported: HashMap<EntryId, bool>,
}

/// Why a lease is taken for abandoned, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    OwnerGone,
    UserGone,
    Parked(State),
    Forgotten,
    Slow,
}

impl Watch {
    /// Looks at every lease; reports those that were not used for too long, and revokes those
    /// that are abandoned, if that is wanted.
    pub(crate) fn look<M: Manager>(&mut self, shared: &Shared<M>) {
        let mut late = HashMap::new();
        for record in shared.live() {
            let Some(lease) = record.lease() else { continue };
            let Some(entry) = shared.ledger.entry(lease) else { continue };
            if entry.without_progress() < patience(&entry, shared.options.abandoned_timeout) {
                continue;
            }
            let verdict = judge(shared, &record, &entry);
            if verdict == Verdict::Slow
                && entry.without_progress() < shared.options.abandoned_timeout
            {
                continue; // of a task that has ended, but in use by another
            }
            let is_abandoned = verdict != Verdict::Slow;
            let before = self.reported.get(&lease);
            if before.is_none_or(|was_abandoned| is_abandoned && !was_abandoned) {
                report(shared, &entry, verdict);
            }
            late.insert(lease, is_abandoned || before.is_some_and(|was| *was));
            if is_abandoned && shared.options.remove_abandoned {
                revoke(shared, &record, lease);
            }
        }
        self.reported = late;
    }
}

/// How long a lease may be unused. A task that has ended will not use it any more; whoever it gave
/// it to should.
fn patience(lease: &Entry, abandoned_timeout: Duration) -> Duration {
    if lease.is_orphan() { abandoned_timeout / 4 } else { abandoned_timeout }
}

fn judge<M: Manager>(shared: &Shared<M>, record: &Record<M>, entry: &Entry) -> Verdict {
    let abandoned_timeout = shared.options.abandoned_timeout;
    if record.connection().is_some() {
        return if entry.is_orphan() { Verdict::OwnerGone } else { Verdict::Forgotten };
    }
    // In use: what counts is who uses it, who need not be who leased it.
    let Some(user) = record.user() else { return Verdict::Slow }; // no task of ours
    let user = shared.ledger.entry(user);
    match user {
        _ if entry.without_progress() < abandoned_timeout || record.is_busy() => Verdict::Slow,
        None => Verdict::UserGone,
        Some(user) if is_parked(&user, abandoned_timeout) => Verdict::Parked(user.state()),
        Some(_) => Verdict::Slow,
    }
}

/// Whether a task has waited for so long for something that is no connection.
fn is_parked(task: &Entry, long: Duration) -> bool {
    let elsewhere = [State::Channel, State::Sleep, State::Lease, State::Join, State::Accept];
    elsewhere.contains(&task.state()) && task.without_progress() >= long
}

fn report<M: Manager>(shared: &Shared<M>, entry: &Entry, verdict: Verdict) {
    let rule = if verdict == Verdict::Slow { "slow-lease" } else { "abandoned-lease" };
    let (pool, born_at) = (shared.options.name, entry.born_at());
    let (held, unused) = (entry.age(), entry.without_progress());
    let owner = owners(shared, entry);
    if verdict != Verdict::Slow {
        shared.counters.abandoned(born_at);
    }
    let text = format!("pool {pool}: {verdict}; held for {held:?}, not used for {unused:?}{owner}");
    if shared.options.log_abandoned {
        let site = entry.site();
        let backtraces = site.backtraces();
        let stack = backtraces.iter().find(|(id, _)| *id == entry.id());
        let stack = stack.map(|(_, backtrace)| backtrace.to_string()).unwrap_or_default();
        tracing::warn!(%born_at, pool, stack, "{rule}: {text}");
        site.escalate(); // the next one here tells how it was come by
    }
    let at = shared.ledger.now();
    shared.ledger.observe(Observation { rule, kind: Kind::LEASE, born_at, text, at });
}

/// The chain of owners, from the task that leased it upwards.
fn owners<M: Manager>(shared: &Shared<M>, entry: &Entry) -> String {
    const MOST: usize = 8;
    let above = |entry: &Entry| entry.parent().and_then(|owner| shared.ledger.entry(owner));
    let chain = std::iter::successors(above(entry), above).take(MOST);
    let owner = |entry: Entry| {
        let (kind, born_at) = (entry.kind(), entry.born_at());
        match entry.label() {
            Label::None => format!("; of {kind} born at {born_at}"),
            label => format!("; of {kind} born at {born_at} ({label})"),
        }
    };
    chain.map(owner).collect()
}

/// Takes the connection away from its lease, whose next use says so.
fn revoke<M: Manager>(shared: &Shared<M>, record: &Record<M>, lease: EntryId) {
    if record.end(lease) {
        shared.destroy(record, Destroyed::Abandoned);
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::OwnerGone => f.write_str("the task that leased it has ended"),
            Verdict::UserGone => f.write_str("the task that used it last has ended"),
            Verdict::Parked(state) => {
                write!(f, "the task that has it in use waits for something else ({state})")
            }
            Verdict::Forgotten => f.write_str("nobody uses it"),
            Verdict::Slow => f.write_str("in use, and not done"),
        }
    }
}
