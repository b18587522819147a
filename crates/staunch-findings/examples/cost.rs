//! What a look costs: `cargo run --release -p staunch-findings --example cost`.

use std::time::{Duration, Instant};

use staunch_findings::{LOOKS_MAX, Lookout};
use staunch_ledger::{Account, Kind, Ledger, Obligation};

fn main() {
    for entries in [100, 1_000, 10_000, 100_000] {
        let ledger = Ledger::new();
        let open = |number| match number % 4 {
            0 => ledger.open(Kind::CONNECTION, Obligation::ProgressWithin(Duration::from_mins(1))),
            1 => ledger.open(Kind::TASK, Obligation::EndsWithParent),
            2 => ledger.open(Kind::REQUEST, Obligation::EndsWithParent),
            _ => ledger.open(Kind::BUFFER, Obligation::EndsWithParent),
        };
        let _live: Vec<Account> = (0..entries).map(open).collect();
        let mut lookout = Lookout::new(*ledger);
        let mut times: Vec<Duration> = (0..2 * LOOKS_MAX)
            .map(|_| {
                let begun = Instant::now();
                assert!(lookout.look().findings.is_empty());
                begun.elapsed()
            })
            .collect();
        times.sort();
        println!(
            "{entries} entries: {:?} a look (median), {:?} at most",
            times[LOOKS_MAX],
            times[2 * LOOKS_MAX - 1]
        );
    }
}
