//! A report for programs: one document.

use serde::Serialize;
use staunch_diagnosis::Finding;

use super::{Detector, Report};

#[derive(Serialize)]
struct Document<'r> {
    targets: &'r [String],
    detector: &'static str,
    findings: &'r [Finding],
    /// What the baseline or an ignore file leaves out.
    known: Vec<Left<'r>>,
    notes: &'r [String],
}

#[derive(Serialize)]
struct Left<'r> {
    id: &'r str,
    rule: &'r str,
    reason: &'r str,
}

pub(super) fn write(report: &Report) -> String {
    let known = report.known.iter();
    let document = Document {
        targets: &report.targets,
        detector: detector(report.detector),
        findings: &report.findings,
        known: known.map(|(it, reason)| Left { id: &it.id, rule: it.rule, reason }).collect(),
        notes: &report.notes,
    };
    // Strings, numbers and lists of them: there is nothing that cannot be written.
    serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"
}

fn detector(detector: Detector) -> &'static str {
    match detector {
        Detector::Awake => "awake",
        Detector::Blind => "blind",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::tests::report;

    #[test]
    fn the_document_has_what_programs_look_for() {
        let document: Value = serde_json::from_str(&super::write(&report())).unwrap();
        assert_eq!(document["detector"], "awake");
        assert_eq!(document["targets"][0], "http://127.0.0.1:6060");
        assert_eq!(document["findings"][0]["birth"]["line"], 21);
        assert_eq!(document["findings"][0]["wait"]["state"], "chan send");
        assert_eq!(document["findings"][0]["oldest_seconds"], 720);
        assert_eq!(document["known"][0]["reason"], "it is in the baseline");
    }
}
