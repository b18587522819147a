//! Says what is wrong with the goroutines in saved dumps.
//!
//! `cargo run -p staunch-doctor --example goroutines -- FIRST.txt SECOND.txt ...`: the dumps are of one
//! service, ten seconds apart; what ends in `.gz` is read as a profile.

use std::error::Error;
use std::fs::File;
use std::io::BufReader;
use std::time::Duration;

use staunch_diagnosis::{History, Options, Snapshot, Tasks, diagnose};
use staunch_doctor::source::go::{
    GoroutineDumpLimits, PROFILE_BYTES_MAX, read_goroutine_dump, read_goroutine_profile,
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut history = History::new();
    for (path, index) in std::env::args().skip(1).zip(0..) {
        let tasks = read(&path).map_err(|error| format!("{path}: {error}"))?;
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

fn read(path: &str) -> Result<Tasks, Box<dyn Error>> {
    let reader = BufReader::new(File::open(path)?);
    if path.strip_suffix(".gz").is_some() {
        return Ok(read_goroutine_profile(reader, PROFILE_BYTES_MAX)?);
    }
    Ok(read_goroutine_dump(reader, &GoroutineDumpLimits::default())?)
}
