//! Says what is wrong with the goroutines in saved dumps.
//!
//! `cargo run -p staunch-doctor --example goroutines -- FIRST.txt SECOND.txt ...`: the dumps are of one
//! service, ten seconds apart.

use std::error::Error;
use std::fs::File;
use std::io::BufReader;
use std::time::Duration;

use staunch_diagnosis::{History, Options, Snapshot, diagnose};
use staunch_doctor::source::go::{GoroutineDumpLimits, read_goroutine_dump};

fn main() -> Result<(), Box<dyn Error>> {
    let mut history = History::new();
    for (path, index) in std::env::args().skip(1).zip(0..) {
        let reader = BufReader::new(File::open(&path)?);
        let tasks = read_goroutine_dump(reader, &GoroutineDumpLimits::default())
            .map_err(|error| format!("{path}: {error}"))?;
        let snapshot = Snapshot { tasks: Some(tasks), ..Snapshot::default() };
        history.add(Duration::from_secs(10 * index), snapshot);
    }
    for finding in diagnose(&history, &Options::default()) {
        println!("{} [{}, {:.2}]", finding.summary, finding.rule, finding.confidence.value());
        for line in &finding.evidence {
            println!("    {line}");
        }
        if let Some(fix) = &finding.fix {
            println!("    fix: {}", fix.text);
        }
    }
    Ok(())
}
