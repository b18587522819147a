//! What there is to know of guards.

use prometheus_client::registry::Registry;
use staunch_guard::{GuardStatus, guards as all};
use staunch_ledger::Ledger;

use super::{Labels, counters, gauges};

/// Adds them.
pub(super) fn guards(registry: &mut Registry, ledger: Ledger) {
    let guards = all(ledger);
    if guards.is_empty() {
        return;
    }
    figures(registry, &guards);
    events(registry, &guards);
}

fn figures(registry: &mut Registry, guards: &[GuardStatus]) {
    /// `None`: not known, or no limit, so there is no such line.
    type Figure = fn(&GuardStatus) -> Option<i64>;
    fn signed(figure: u64) -> Option<i64> {
        i64::try_from(figure).ok()
    }
    let all: [(&str, &str, Figure); 11] = [
        ("staunch_guard_level", "0 normal, 1 warn, 2 shed, 3 refuse", |it| Some(it.level as i64)),
        ("staunch_guard_memory_bytes", "Memory in use of the nearest limit", |it| {
            signed(it.memory_bytes)
        }),
        ("staunch_guard_memory_limit_bytes", "The nearest limit of memory", |it| {
            it.memory_limit_bytes.and_then(signed)
        }),
        ("staunch_guard_rss_bytes", "Resident memory", |it| it.rss_bytes.and_then(signed)),
        ("staunch_guard_allocated_bytes", "What the allocator has handed out", |it| {
            it.allocated_bytes.and_then(signed)
        }),
        ("staunch_guard_growth_bytes_per_second", "How fast memory grows", |it| {
            it.growth_bytes_per_second
        }),
        ("staunch_guard_objects_per_second", "Allocations", |it| {
            it.objects_per_second.and_then(signed)
        }),
        ("staunch_guard_fds", "Open fds", |it| signed(it.fds)),
        ("staunch_guard_fds_limit", "The most open fds", |it| it.fds_limit.and_then(signed)),
        ("staunch_guard_in_flight", "Requests admitted that have not ended", |it| {
            signed(it.in_flight as u64)
        }),
        ("staunch_guard_concurrency_limit", "The most of these", |it| {
            it.concurrency_limit.and_then(|limit| signed(limit as u64))
        }),
    ];
    for (name, help, figure) in all {
        let family = gauges(registry, name, help);
        for guard in guards {
            if let Some(figure) = figure(guard) {
                family.get_or_create(&vec![("guard", guard.name)]).set(figure);
            }
        }
    }
}

fn events(registry: &mut Registry, guards: &[GuardStatus]) {
    let changes = counters(registry, "staunch_guard_level_changes", "How often a level began");
    let shed = counters(registry, "staunch_guard_shed", "Requests refused");
    let closed = counters(registry, "staunch_guard_idle_closed", "Idle connections closed for fds");
    for guard in guards {
        closed.get_or_create(&vec![("guard", guard.name)]).inc_by(guard.idle_closed);
        for (level, count) in guard.level_began {
            let labels: Labels = vec![("guard", guard.name), ("level", level.name())];
            changes.get_or_create(&labels).inc_by(count);
        }
        for (priority, why, count) in &guard.refused {
            let labels: Labels =
                vec![("guard", guard.name), ("priority", priority.name()), ("reason", why.name())];
            shed.get_or_create(&labels).inc_by(*count);
        }
    }
}
