//! What the rules find in this process.

use std::collections::BTreeMap;

use prometheus_client::registry::Registry;
use staunch_findings::{Detector, Severity, report};
use staunch_ledger::Ledger;

use super::{Labels, counters, gauges};

/// Adds them.
pub(super) fn findings(registry: &mut Registry, ledger: Ledger) {
    let (report, told) = report(ledger);
    let now = gauges(registry, "staunch_findings", "Leaks that rules find now");
    let mut counts = BTreeMap::<_, i64>::new();
    for finding in &report.findings {
        *counts.entry((finding.rule, finding.severity)).or_default() += 1;
    }
    // A series that was there once stays, so that an alert on it ends.
    for key in told.keys() {
        counts.entry(*key).or_default();
    }
    for (key, count) in counts {
        now.get_or_create(&labels(key)).set(count);
    }
    let ever = counters(registry, "staunch_findings_new", "Leaks that were found anew");
    for (key, count) in told {
        ever.get_or_create(&labels(key)).inc_by(count);
    }
    let awake = gauges(registry, "staunch_rules_awake", "Whether the rules find their canaries");
    awake.get_or_create(&Labels::new()).set((report.detector == Detector::Awake).into());
}

fn labels((rule, severity): (&'static str, Severity)) -> Labels {
    let severity = match severity {
        Severity::Warning => "warning",
        Severity::Critical => "critical",
        _ => "leak",
    };
    vec![("rule", rule), ("severity", severity)]
}
