//! A report for code scanning (SARIF 2.1.0,
//! <https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html>).

mod fix;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use staunch_diagnosis::{Finding, Severity};

use super::{BLIND, Detector, Report};

pub(super) fn write(report: &Report) -> String {
    let rules: BTreeMap<&str, &str> =
        report.findings.iter().map(|finding| (finding.rule, &*finding.guide)).collect();
    let rules: Vec<Value> =
        rules.into_iter().map(|(rule, guide)| json!({ "id": rule, "helpUri": guide })).collect();
    let results: Vec<Value> = report.findings.iter().map(result).collect();
    let driver = json!({
        "name": "staunch doctor",
        "version": env!("CARGO_PKG_VERSION"),
        "informationUri": env!("CARGO_PKG_REPOSITORY"),
        "rules": rules,
    });
    let document = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{ "tool": { "driver": driver }, "invocations": [invocation(report)], "results": results }],
    });
    format!("{document:#}\n")
}

/// How the examination went: not well if its silence cannot be believed.
fn invocation(report: &Report) -> Value {
    let is_awake = report.detector == Detector::Awake;
    let notes = report.notes.iter().map(|note| ("note", note.as_str()));
    let blind = (!is_awake).then_some(("error", BLIND));
    let said = blind.into_iter().chain(notes);
    let said: Vec<Value> =
        said.map(|(level, text)| json!({ "level": level, "message": { "text": text } })).collect();
    json!({ "executionSuccessful": is_awake, "toolExecutionNotifications": said })
}

fn result(finding: &Finding) -> Value {
    let level = if finding.severity == Severity::Warning { "warning" } else { "error" };
    let what = finding.fix.as_ref().map(|fix| format!(" {}.", fix.text)).unwrap_or_default();
    let cause = finding.cause.as_ref().map(|it| format!(" {}.", it.text)).unwrap_or_default();
    // The line to look at first is the one that makes what leaks.
    let births = finding.birth.iter().map(|birth| location(&birth.file, birth.line));
    let waits = finding.wait.iter().map(|wait| location(&wait.file, wait.line));
    let places: Vec<Value> = births.chain(waits).collect();
    let mut result = json!({
        "ruleId": finding.rule,
        "level": level,
        "message": { "text": format!("{}.{cause}{what}", finding.summary) },
        "locations": places.first().into_iter().collect::<Vec<_>>(),
        "relatedLocations": places.get(1..).unwrap_or_default(),
        "partialFingerprints": { "staunch/v1": finding.id },
        "rank": finding.confidence.value() * 100.0,
    });
    let repair = finding.fix.as_ref();
    let patch = repair.and_then(|it| fix::fix(it.patch.as_ref()?, &it.text, uri));
    if let Some(patch) = patch {
        result["fixes"] = json!([patch]);
    }
    result
}

fn location(file: &str, line: u32) -> Value {
    let mut place = json!({ "artifactLocation": { "uri": uri(file) } });
    if line > 0 {
        place["region"] = json!({ "startLine": line });
    }
    json!({ "physicalLocation": place })
}

/// A path as a URI reference: what may not be in one is written by its bytes (RFC 3986, 2.1).
fn uri(file: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/@+()!$&'*,;=".contains(&byte);
    file.bytes()
        .map(|it| if is_plain(it) { char::from(it).to_string() } else { format!("%{it:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{super::tests::report, *};

    #[test]
    fn a_finding_is_a_result_at_the_line_of_its_birth() {
        let document: Value = serde_json::from_str(&write(&report())).unwrap();
        let result = &document["runs"][0]["results"][0];
        assert_eq!(result["ruleId"], "chan-send-abandoned");
        assert_eq!(result["level"], "error");
        assert_eq!(
            result["partialFingerprints"]["staunch/v1"], "00ff",
            "known again in the next run"
        );
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "app/main.go");
        assert_eq!(place["region"]["startLine"], 21);
        assert_eq!(document["runs"][0]["tool"]["driver"]["rules"][0]["id"], "chan-send-abandoned");
    }

    #[test]
    fn a_patch_is_a_fix_and_what_is_none_is_left_out() {
        let mut report = report();
        let result = |report: &Report| -> Value {
            let document: Value = serde_json::from_str(&write(report)).unwrap();
            document["runs"][0]["results"][0].clone()
        };
        assert_eq!(result(&report).get("fixes"), None, "it has no file and no lines");
        let patch = "--- a/main.go\n+++ b/main.go\n@@ -21,2 +21,2 @@\n a\n-b\n+c\n".to_owned();
        report.findings[0].fix.as_mut().unwrap().patch = Some(patch);
        let change = &result(&report)["fixes"][0]["artifactChanges"][0];
        assert_eq!(change["artifactLocation"]["uri"], "main.go");
        assert_eq!(change["replacements"][0]["deletedRegion"]["startLine"], 22);
        assert_eq!(change["replacements"][0]["insertedContent"]["text"], "c\n");
    }

    #[test]
    fn how_the_examination_went_is_said() {
        let mut report = report();
        let invocation = |report: &Report| {
            let document: Value = serde_json::from_str(&write(report)).unwrap();
            document["runs"][0]["invocations"][0].clone()
        };
        let awake = invocation(&report);
        assert_eq!(awake["executionSuccessful"], true);
        let notes = &awake["toolExecutionNotifications"];
        assert_eq!(notes[0]["message"]["text"], "the watch was ended after 10 s");
        report.detector = Detector::Blind;
        let blind = invocation(&report);
        assert_eq!(blind["executionSuccessful"], false);
        assert_eq!(blind["toolExecutionNotifications"][0]["level"], "error");
    }

    #[test]
    fn paths_are_uris() {
        assert_eq!(uri("a b/é:c%.go"), "a%20b/%C3%A9%3Ac%25.go");
    }
}
