//! What a server holds when nobody is connected, and whether it comes back to it.

use std::{collections::BTreeMap, fmt, net::SocketAddr};

use serde_json::Value;

use crate::{eventually, server::Server};

/// File descriptors as the kernel counts them, and entries as the ledger does; without those of
/// the request that asks.
#[derive(PartialEq, Eq)]
pub(crate) struct Holdings {
    fds: usize,
    tasks: usize,
    /// How many, by kind and birth line.
    entries: BTreeMap<String, usize>,
    /// Connections of peers and the tasks that serve them.
    of_peers: usize,
}

impl fmt::Debug for Holdings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.entries.values().sum::<usize>();
        let Holdings { fds, tasks, of_peers, .. } = self;
        write!(f, "{fds} fds, {tasks} tasks, {entries} entries ({of_peers} of peers)")?;
        self.entries.iter().try_for_each(|(what, count)| write!(f, "\n  {count} {what}"))
    }
}

impl Server {
    /// What it holds after a first request, when nobody is connected. The first request leaves
    /// what is kept from then on: the account of the buffer pool. On a busy machine some of its tasks have
    /// not begun by then, so it must have been the same for some looks.
    pub(crate) fn baseline(&self) -> Holdings {
        const LOOKS: usize = 10;
        self.client().echo("the first");
        let mut seen: Vec<Holdings> = Vec::new();
        eventually("nobody is connected, and all has begun", || {
            let now = self.holdings()?;
            if now.of_peers > 0 {
                return Err(format!("{now:?}"));
            }
            seen.retain(|before| *before == now);
            seen.push(now);
            if seen.len() < LOOKS { Err(format!("{seen:?}")) } else { Ok(seen.swap_remove(0)) }
        })
    }

    /// Waits until it holds exactly that again.
    pub(crate) fn settles_to(&self, baseline: &Holdings) {
        eventually("it holds what it held before", || {
            let holdings = self.holdings()?;
            let settled = holdings == *baseline;
            if settled { Ok(()) } else { Err(format!("{holdings:?}\nbefore: {baseline:?}")) }
        });
    }

    /// What it holds now; an error when that is more than a page of the ledger shows, or when
    /// something is overdue.
    fn holdings(&self) -> Result<Holdings, String> {
        let answer = self.admin_json("/debug/ledger?limit=1000");
        let fds = self.process().fds() - 1; // the asker's connection, which `answer` keeps open
        let ledger = &answer.body;
        assert_eq!(ledger["detector"], "awake");
        if !ledger["next"].is_null() || ledger["totals"]["overdue"] != 0 {
            return Err(ledger["totals"].to_string());
        }
        let all = ledger["entries"].as_array().unwrap();
        let asker = answer.asker();
        let others: Vec<_> = all.iter().filter(|entry| !belongs_to(entry, &asker)).collect();
        let mut entries = BTreeMap::new();
        for entry in &others {
            *entries.entry(name(entry)).or_default() += 1;
        }
        if entries.keys().any(|name| name.contains("staunch-findings/src/watch.rs")) {
            return Err("a look for leaks is on its way".to_owned());
        }
        let tasks = others.iter().filter(|entry| entry["kind"] == "task").count();
        let of_peers = others.iter().filter(|entry| is_of_peer(entry)).count();
        Ok(Holdings { fds, tasks, entries, of_peers })
    }
}

/// Kind, birth line, and the listener's address or whatever else tells one from another; but no
/// address of a peer, which differs each time.
fn name(entry: &Value) -> String {
    let text = |key: &str| entry[key].as_str().unwrap();
    let label = if is_of_peer(entry) { "" } else { text("label") };
    format!("{} born at {} {label}", text("kind"), text("born_at"))
}

/// The peer of a Unix socket has no address; what was there before the server began has a label.
fn is_of_peer(entry: &Value) -> bool {
    let label = entry["label"].as_str().unwrap();
    let has_peer = label.parse::<SocketAddr>().is_ok();
    (entry["kind"] != "listener" && has_peer) || (entry["kind"] == "connection" && label.is_empty())
}

/// Whether an entry, or one of its owners, carries the address of this peer.
fn belongs_to(entry: &Value, peer: &str) -> bool {
    let owners = entry["owners"].as_array().unwrap();
    entry["label"] == peer || owners.iter().any(|owner| owner["label"] == peer)
}
