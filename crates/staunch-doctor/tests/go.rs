//! A Go program that leaks in every way, and its repaired twin, run by the Go that is installed.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use staunch_diagnosis::{Finding, History, Options, Snapshot, diagnose};
use staunch_doctor::source::go::{GoroutineDumpLimits, read_goroutine_dump};

const PROGRAM: &str = include_str!("go/leaks.go");
const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/go/leaks.go");

/// The findings of the program over its dumps.
fn findings(arguments: &[&str]) -> Vec<Finding> {
    let output = Command::new("go").args(["run", PATH]).args(arguments).output();
    let output = output.expect("go is installed: `cargo xtask test` sees to that");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("Go writes UTF-8");
    let mut history = History::new();
    for (dump, index) in text.split_terminator("--\n").zip(0..) {
        let tasks = read_goroutine_dump(dump.as_bytes(), &GoroutineDumpLimits::default());
        let tasks = tasks.expect("Go writes what Go writes");
        let snapshot = Snapshot { tasks: Some(tasks), ..Snapshot::default() };
        history.add(Duration::from_secs(10 * index), snapshot);
    }
    assert_eq!(history.instants().len(), 3);
    diagnose(&history, &Options::default())
}

#[test]
fn every_leak_is_found_by_its_rule_on_its_line_and_nothing_else() {
    let marked = PROGRAM
        .lines()
        .zip(1..)
        .filter_map(|(text, line)| Some((text.rsplit_once("// rule: ")?.1.to_owned(), line)));
    let found = findings(&[]).into_iter().map(|finding| {
        (finding.rule.to_owned(), finding.birth.expect("each was started by somebody").line)
    });
    let marked: BTreeSet<(String, u32)> = marked.collect();
    assert_eq!(marked.len(), 8);
    assert_eq!(found.collect::<BTreeSet<_>>(), marked);
}

#[test]
fn nothing_is_found_in_the_repaired_twin() {
    assert_eq!(findings(&["repaired"]), []);
}
