//! `/debug/pools`: what each connection pool holds, and who has its connections, as JSON.

use std::time::Duration;

use serde::Serialize;
use staunch_pool::{Holder, KeyReport, PoolReport, PoolStatus, pools as all};

use crate::{
    refusal::Refusal,
    reply::{self, Reply},
    route::Visit,
};

#[derive(Serialize)]
struct PoolView {
    name: &'static str,
    max_total: usize,
    size: usize,
    idle: usize,
    leased: usize,
    waiters: usize,
    /// Nobody may connect now: the last try has failed, and the next is not due, or is under way.
    is_down: bool,
    acquired_at_once: u64,
    /// Acquires that took at most so long, each beyond those of the line before it; `null` is
    /// without limit.
    acquired_within: Vec<(Option<f64>, u64)>,
    failed: u64,
    created: u64,
    destroyed: serde_json::Map<String, serde_json::Value>,
    /// Leases that were abandoned, by the line that leased them.
    abandoned: serde_json::Map<String, serde_json::Value>,
    holders: Vec<HolderView>,
    /// Of a keyed pool: what each of its keys holds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    keys: Vec<KeyView>,
}

#[derive(Serialize)]
struct KeyView {
    key: String,
    #[serde(flatten)]
    pool: PoolView,
}

#[derive(Serialize)]
struct HolderView {
    born_at: String,
    count: usize,
    oldest_seconds: f64,
    unused_seconds: f64,
}

pub(crate) fn pools(visit: &Visit<'_>) -> Result<Reply, Refusal> {
    let views: Vec<PoolView> = all(visit.shared.ledger).iter().map(PoolView::of).collect();
    reply::json(&views).map_err(Refusal::failed)
}

impl PoolView {
    fn of(PoolReport { status, holders, keys, .. }: &PoolReport) -> PoolView {
        let keys = keys.iter().map(KeyView::new).collect();
        PoolView { keys, ..PoolView::new(status, holders) }
    }

    fn new(status: &PoolStatus, holders: &[Holder]) -> PoolView {
        let &PoolStatus { name, max_total, size, idle, leased, waiters, is_down, .. } = status;
        let seconds = |limit: Duration| (limit != Duration::MAX).then_some(limit.as_secs_f64());
        let destroyed =
            status.destroyed.iter().map(|(why, count)| (why.name().into(), (*count).into()));
        let abandoned =
            status.abandoned.iter().map(|(line, count)| (line.to_string(), (*count).into()));
        PoolView {
            name,
            max_total,
            size,
            idle,
            leased,
            waiters,
            is_down,
            acquired_at_once: status.acquired_at_once,
            acquired_within: status.acquired_within.map(|(limit, n)| (seconds(limit), n)).into(),
            failed: status.failed,
            created: status.created,
            destroyed: destroyed.collect(),
            abandoned: abandoned.collect(),
            holders: holders.iter().map(HolderView::new).collect(),
            keys: Vec::new(),
        }
    }
}

impl KeyView {
    fn new(KeyReport { key, status, holders, .. }: &KeyReport) -> KeyView {
        KeyView { key: key.clone(), pool: PoolView::new(status, holders) }
    }
}

impl HolderView {
    fn new(holder: &Holder) -> HolderView {
        HolderView {
            born_at: holder.born_at.to_string(),
            count: holder.count,
            oldest_seconds: holder.oldest.as_secs_f64(),
            unused_seconds: holder.unused_for.as_secs_f64(),
        }
    }
}
