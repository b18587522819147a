//! `/debug/guard`: what each guard sees of memory and fds, and whom it has refused, as JSON.

use serde::Serialize;
use serde_json::{Map, Value};
use staunch_guard::{GuardStatus, guards as all};

use crate::{
    refusal::Refusal,
    reply::{self, Reply},
    route::Visit,
};

#[derive(Serialize)]
struct GuardView {
    name: &'static str,
    born_at: String,
    level: &'static str,
    looks_every_ms: u128,
    /// Whoever asks makes it look at once.
    rests: bool,
    memory_bytes: u64,
    /// `null`: no limit.
    memory_limit_bytes: Option<u64>,
    rss_bytes: Option<u64>,
    /// `null`: no allocator is known to the guard.
    allocated_bytes: Option<u64>,
    growth_bytes_per_second: Option<i64>,
    objects_per_second: Option<u64>,
    fds: u64,
    fds_limit: Option<u64>,
    in_flight: usize,
    /// `null`: no limit.
    concurrency_limit: Option<usize>,
    /// How often each level began.
    level_began: Map<String, Value>,
    /// Requests refused, by priority, and by reason.
    refused: Map<String, Value>,
    shrinkers: Vec<ShrinkerView>,
    /// Idle connections closed since fds ran short.
    idle_closed: u64,
}

/// Somebody who gives something back.
#[derive(Serialize)]
struct ShrinkerView {
    name: &'static str,
    /// Called from this level on.
    level: &'static str,
    called: u64,
}

pub(crate) fn guards(visit: &Visit<'_>) -> Result<Reply, Refusal> {
    let views: Vec<GuardView> = all(visit.shared.ledger).iter().map(GuardView::new).collect();
    reply::json(&views).map_err(Refusal::failed)
}

impl GuardView {
    fn new(status: &GuardStatus) -> GuardView {
        let began = status.level_began.iter();
        GuardView {
            name: status.name,
            born_at: status.born_at.to_string(),
            level: status.level.name(),
            looks_every_ms: status.looks_every.as_millis(),
            rests: status.rests,
            memory_bytes: status.memory_bytes,
            memory_limit_bytes: status.memory_limit_bytes,
            rss_bytes: status.rss_bytes,
            allocated_bytes: status.allocated_bytes,
            growth_bytes_per_second: status.growth_bytes_per_second,
            objects_per_second: status.objects_per_second,
            fds: status.fds,
            fds_limit: status.fds_limit,
            in_flight: status.in_flight,
            concurrency_limit: status.concurrency_limit,
            level_began: began.map(|(level, n)| (level.name().into(), (*n).into())).collect(),
            refused: refused(status),
            shrinkers: status.shrinkers.iter().map(ShrinkerView::new).collect(),
            idle_closed: status.idle_closed,
        }
    }
}

/// By priority, and by reason; what never happened is left out.
fn refused(status: &GuardStatus) -> Map<String, Value> {
    let mut by_priority = Map::new();
    for (priority, why, count) in status.refused.iter().filter(|(.., count)| *count > 0) {
        let reasons = by_priority.entry(priority.name()).or_insert_with(|| Map::new().into());
        if let Value::Object(reasons) = reasons {
            reasons.insert(why.name().into(), (*count).into());
        }
    }
    by_priority
}

impl ShrinkerView {
    fn new(&(level, name, called): &(staunch_guard::Level, &'static str, u64)) -> ShrinkerView {
        ShrinkerView { name, level: level.name(), called }
    }
}
