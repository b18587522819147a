//! `/debug/findings`: what leaks in this process, as `staunch doctor` would report it.

use std::fmt::Write;

use serde::Serialize;
use staunch_findings::{Brief, Detector, Finding, Report, report};

use crate::{
    refusal::Refusal,
    reply::{self, Reply},
    route::Visit,
};

pub(crate) const PARAMETERS: &[&str] = &["format"];

/// The document of `staunch doctor --format json`, of a process that examined itself.
#[derive(Serialize)]
struct Document<'r> {
    targets: [&'static str; 1],
    detector: &'static str,
    findings: &'r [Finding],
    /// What a baseline leaves out; there is none here.
    known: [(); 0],
    notes: Vec<String>,
}

/// How the page is written.
enum Format {
    Json,
    Text,
}

pub(crate) fn findings(visit: &Visit<'_>) -> Result<Reply, Refusal> {
    let format = visit.query.value(
        "format",
        || "json or text".to_owned(),
        |text| match text {
            "json" => Some(Format::Json),
            "text" => Some(Format::Text),
            _ => None,
        },
    );
    let (report, _) = report(visit.shared.ledger);
    match format? {
        Some(Format::Text) => Ok(reply::text(text(&report))),
        _ => reply::json(&document(&report)).map_err(Refusal::failed),
    }
}

fn document(report: &Report) -> Document<'_> {
    Document {
        targets: ["this process"],
        detector: if report.detector == Detector::Awake { "awake" } else { "blind" },
        findings: &report.findings,
        known: [],
        notes: report.notes(),
    }
}

fn text(report: &Report) -> String {
    let (count, seconds) = (report.findings.len(), report.watched.as_secs());
    let found = match count {
        0 => "No leak found".to_owned(),
        1 => "1 finding".to_owned(),
        more => format!("{more} findings"),
    };
    let mut text = format!("{found} ({} looks in {seconds} s)\n", report.looks);
    // Writing to a string cannot fail.
    for finding in &report.findings {
        let _ = writeln!(text, "\n{}", Brief(finding));
    }
    for note in report.notes() {
        let _ = writeln!(text, "\nnote: {note}");
    }
    text
}
