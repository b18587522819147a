//! `/metrics`: the ledger and the process in the OpenMetrics text format, as Prometheus scrapes
//! it (<https://prometheus.io/docs/specs/om/open_metrics_spec/>).
//!
//! Nothing is counted for the sake of metrics, but what listeners refuse: each scrape reads what the
//! ledger and the kernel know anyway. Labels are kinds, states, rules, and the names and lines of a program, which are few;
//! never peers or paths.

#[cfg(feature = "http-client")]
mod clients;
mod findings;
mod guards;
mod listeners;
mod pools;
mod process;
mod streams;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, atomic::AtomicU64},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use staunch_ledger::{Detector, Kind, Ledger, State};

use crate::{
    refusal::Refusal,
    reply::{self, Reply},
    route::Visit,
};

/// Names and values of a metric's labels.
type Labels = Vec<(&'static str, &'static str)>;

/// As [`Labels`], of what is named while it runs.
type Named = Vec<(&'static str, String)>;

pub(crate) fn metrics(visit: &Visit<'_>) -> Result<Reply, Refusal> {
    let mut registry = Registry::default();
    ledger(&mut registry, visit.shared.ledger);
    findings::findings(&mut registry, visit.shared.ledger);
    pools::pools(&mut registry, visit.shared.ledger);
    #[cfg(feature = "http-client")]
    clients::clients(&mut registry, visit.shared.ledger);
    guards::guards(&mut registry, visit.shared.ledger);
    listeners::listeners(&mut registry, visit.shared.ledger);
    streams::streams(&mut registry, visit.shared.ledger);
    process::process(&mut registry);
    for collector in visit.shared.collectors() {
        registry.register_collector(Box::new(Added(collector)));
    }
    let mut text = String::new();
    encode(&mut text, &registry).map_err(Refusal::failed)?;
    Ok(reply::metrics(text))
}

/// One that somebody has added.
#[derive(Debug)]
struct Added(Arc<dyn Collector>);

impl Collector for Added {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.0.encode(encoder)
    }
}

fn ledger(registry: &mut Registry, ledger: Ledger) {
    let snapshot = ledger.snapshot();
    let (overdue, detector) = snapshot.overdue();
    let mut live: HashMap<(Kind, State), (i64, i64)> = HashMap::new();
    for entry in snapshot.entries() {
        let (count, bytes) = live.entry((entry.kind(), entry.state())).or_default();
        *count += 1;
        *bytes += entry.bytes().cast_signed();
    }
    let entries = gauges(registry, "staunch_entries", "Live entries of the ledger");
    let held = gauges(registry, "staunch_bytes", "Bytes that live entries hold");
    for ((kind, state), (count, bytes)) in live {
        let labels = vec![("kind", kind.name()), ("state", state.name())];
        held.get_or_create(&vec![("kind", kind.name())]).inc_by(bytes);
        entries.get_or_create(&labels).set(count);
    }
    let late = gauges(registry, "staunch_overdue", "Live entries that broke their promise");
    let births = counters(registry, "staunch_births", "Entries ever opened");
    for kind in Kind::all() {
        let labels = vec![("kind", kind.name())];
        let count = overdue.iter().filter(|entry| entry.kind() == kind).count() as u64;
        late.get_or_create(&labels).set(count.cast_signed());
        births.get_or_create(&labels).inc_by(ledger.births(kind));
    }
    let seen = counters(registry, "staunch_observations", "What rules saw happen");
    for (rule, count) in ledger.observation_counts() {
        seen.get_or_create(&vec![("rule", rule)]).inc_by(count);
    }
    let unrecorded: Counter = Counter::default();
    unrecorded.inc_by(ledger.unrecorded());
    registry.register("staunch_unrecorded", "Births without room on the ledger", unrecorded);
    let awake: Gauge = Gauge::default();
    awake.set((detector == Detector::Awake).into());
    registry.register("staunch_detector_awake", "Whether the search for leaks works", awake);
}

fn gauges(registry: &mut Registry, name: &str, help: &str) -> Family<Labels, Gauge> {
    let family = Family::default();
    registry.register(name, help, family.clone());
    family
}

/// The name gets its `_total` when it is written.
fn counters(
    registry: &mut Registry,
    name: &str,
    help: &str,
) -> Family<Labels, Counter<u64, AtomicU64>> {
    let family = Family::default();
    registry.register(name, help, family.clone());
    family
}

/// As [`counters`], of what is named while it runs.
fn named_counters(
    registry: &mut Registry,
    name: &str,
    help: &str,
) -> Family<Named, Counter<u64, AtomicU64>> {
    let family = Family::default();
    registry.register(name, help, family.clone());
    family
}
