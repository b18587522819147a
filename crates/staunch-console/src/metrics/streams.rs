//! What there is to know of streams, by their name; without one, by the line that made them.

use prometheus_client::{
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};
use staunch_http::{StreamCounts, StreamsReport, streams as all};
use staunch_ledger::Ledger;

use super::{Named, named_counters};

/// Adds them.
pub(super) fn streams(registry: &mut Registry, ledger: Ledger) {
    let streams = all(ledger);
    if streams.is_empty() {
        return;
    }
    let open: Family<Named, Gauge> = Family::default();
    registry.register("staunch_streams_open", "Streams that live", open.clone());
    for report in &streams {
        let level = i64::try_from(report.counts.open).unwrap_or(i64::MAX);
        open.get_or_create(&vec![route(report)]).inc_by(level);
    }
    events(registry, &streams);
}

fn events(registry: &mut Registry, streams: &[StreamsReport]) {
    let opened = named_counters(registry, "staunch_streams_opened", "Streams that ever began");
    let refused = named_counters(registry, "staunch_streams_refused", "Streams that were refused");
    let ended = named_counters(registry, "staunch_streams_ended", "Streams that ended, and how");
    for report in streams {
        let StreamCounts { unknown, full, left, whole, failed, idle, lifetime, draining, .. } =
            report.counts;
        opened.get_or_create(&vec![route(report)]).inc_by(report.counts.opened);
        for (reason, count) in [("unknown", unknown), ("full", full)] {
            let labels = vec![route(report), ("reason", reason.to_owned())];
            refused.get_or_create(&labels).inc_by(count);
        }
        let ways = [
            ("left", left),
            ("whole", whole),
            ("failed", failed),
            ("idle", idle),
            ("lifetime", lifetime),
            ("draining", draining),
        ];
        for (how, count) in ways {
            ended.get_or_create(&vec![route(report), ("how", how.to_owned())]).inc_by(count);
        }
    }
}

fn route(report: &StreamsReport) -> (&'static str, String) {
    let name =
        if report.name.is_empty() { report.born_at.to_string() } else { report.name.to_owned() };
    ("route", name)
}
