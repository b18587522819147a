//! What there is to know of connection pools.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use staunch_ledger::Ledger;
use staunch_pool::{BUCKETS, PoolReport, PoolStatus, pools as all};

use super::{Labels, counters, gauges};

/// The buckets of [`PoolStatus::acquired_within`].
const WAITS: [&str; BUCKETS] =
    ["0.00025", "0.001", "0.004", "0.016", "0.064", "0.256", "1.024", "+Inf"];

/// Adds them.
pub(super) fn pools(registry: &mut Registry, ledger: Ledger) {
    let pools = all(ledger);
    if pools.is_empty() {
        return;
    }
    levels(registry, &pools);
    events(registry, &pools);
}

fn levels(registry: &mut Registry, pools: &[PoolReport]) {
    type Level = fn(&PoolStatus) -> usize;
    let all: [(&str, &str, Level); 6] = [
        ("staunch_pool_size", "Connections: idle, leased or being made", |it| it.size),
        ("staunch_pool_max", "The most connections", |it| it.max_total),
        ("staunch_pool_idle", "Idle connections", |it| it.idle),
        ("staunch_pool_leased", "Leased connections", |it| it.leased),
        ("staunch_pool_waiters", "Tasks that wait for a connection", |it| it.waiters),
        (
            "staunch_pool_down",
            "Pools that nobody may connect by now: the last try has failed, and the next is not due",
            |it| it.is_down.into(),
        ),
    ];
    for (name, help, level) in all {
        let family: Family<Labels, Gauge> = gauges(registry, name, help);
        for PoolReport { status, .. } in pools {
            let level = i64::try_from(level(status)).unwrap_or(i64::MAX);
            family.get_or_create(&vec![("pool", status.name)]).inc_by(level);
        }
    }
}

fn events(registry: &mut Registry, pools: &[PoolReport]) {
    let created = counters(registry, "staunch_pool_created", "Connections made");
    let failed = counters(registry, "staunch_pool_failed", "Acquires that failed");
    let at_once = counters(registry, "staunch_pool_acquired_at_once", "Leases without a wait");
    let waits = counters(
        registry,
        "staunch_pool_waits",
        "Leases that were waited for, by the longest they took (seconds)",
    );
    let destroyed = counters(registry, "staunch_pool_destroyed", "Connections ended");
    for PoolReport { status, .. } in pools {
        let labels: Labels = vec![("pool", status.name)];
        created.get_or_create(&labels).inc_by(status.created);
        failed.get_or_create(&labels).inc_by(status.failed);
        at_once.get_or_create(&labels).inc_by(status.acquired_at_once);
        for ((_, count), le) in status.acquired_within.iter().zip(WAITS) {
            waits.get_or_create(&vec![("pool", status.name), ("le", le)]).inc_by(*count);
        }
        for (why, count) in status.destroyed {
            let labels = vec![("pool", status.name), ("reason", why.name())];
            destroyed.get_or_create(&labels).inc_by(count);
        }
    }
    abandoned(registry, pools);
}

fn abandoned(registry: &mut Registry, pools: &[PoolReport]) {
    let family: Family<Vec<(&str, String)>, Counter<u64, AtomicU64>> = Family::default();
    let help = "Leases that were abandoned, by the line that leased them";
    registry.register("staunch_pool_abandoned", help, family.clone());
    for PoolReport { status, .. } in pools {
        for (line, count) in &status.abandoned {
            let labels = vec![("pool", status.name.to_owned()), ("born_at", line.to_string())];
            family.get_or_create(&labels).inc_by(*count);
        }
    }
}
