//! `cargo xtask bench doctor`: what the doctor finds in goroutine dumps whose truth is known.
//!
//! Nothing is timed. Each case of the corpus is shown to the doctor in three ways: its first dump
//! alone, its last dump alone, and all of them in a row with the heap at the end, as a watch sees it; and to three
//! simple rules that anybody would
//! try first. What each of them reports is held against `truth.json`.
//!
//! The table shows two halves of the corpus as well, split by a hash of the case's name, so that a
//! figure that hangs on a few cases is seen.

mod baseline;
mod case;
mod score;

use anyhow::Context as _;
use staunch_diagnosis::{Finding, History, Options, diagnose};

use super::Args;
use super::table::render;
use case::{Case, Half};
use score::{Report, Tally};

/// How a case is shown.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    First,
    Last,
    Growth,
}

const MODES: [(&str, Mode); 3] =
    [("first dump", Mode::First), ("last dump", Mode::Last), ("growth", Mode::Growth)];

type Detector = fn(&History) -> Vec<Report>;

const DETECTORS: [(&str, Detector); 4] = [
    ("doctor", doctor),
    ("anything left (goleak)", baseline::anything_left),
    ("largest blocked group", baseline::largest_blocked_group),
    ("strict growth", baseline::strict_growth),
];

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let root = crate::cargo::root();
    let corpus = args.corpus.clone().unwrap_or_else(|| root.join("../shared/corpus/goroutines"));
    let cases = case::load(&corpus).with_context(|| format!("the corpus {}", corpus.display()))?;
    for (mode_name, mode) in MODES {
        let mut rows = vec![score::headings()];
        for (name, detector) in DETECTORS {
            rows.push(tally(&cases, mode, detector, None).row(name));
            if name == "doctor" {
                rows.push(tally(&cases, mode, detector, Some(Half::A)).row("  half A"));
                rows.push(tally(&cases, mode, detector, Some(Half::B)).row("  half B"));
            }
        }
        println!("{mode_name}, {} cases\n{}", cases.len(), render(&rows));
        print_mistakes(&cases, mode);
    }
    Ok(())
}

fn tally(cases: &[Case], mode: Mode, detector: Detector, half: Option<Half>) -> Tally {
    let mut tally = Tally::default();
    for case in cases.iter().filter(|case| half.is_none_or(|half| case.half() == half)) {
        let history = history(case, mode);
        tally.add(case, &detector(&history), mode == Mode::First);
    }
    tally
}

fn history(case: &Case, mode: Mode) -> History {
    match mode {
        Mode::First => case.history(..1),
        Mode::Last => case.history(2..3),
        Mode::Growth => case.watched(),
    }
}

fn doctor(history: &History) -> Vec<Report> {
    diagnose(history, &Options::default()).iter().map(report).collect()
}

fn report(finding: &Finding) -> Report {
    Report {
        birth: finding.birth.clone(),
        wait: finding.wait.clone(),
        label: finding.cause.as_ref().map(|cause| cause.label.clone()),
        fix_lines: finding.fix.iter().flat_map(|fix| &fix.places).map(|place| place.line).collect(),
    }
}

/// Names what the doctor missed or made up, so that a figure can be looked into.
fn print_mistakes(cases: &[Case], mode: Mode) {
    for case in cases {
        let reports = doctor(&history(case, mode));
        for line in score::mistakes(case, &reports, mode == Mode::First) {
            println!("  {}: {line}", case.name);
        }
    }
    println!();
}
