//! One short examination of the service.

use std::time::Duration;

use staunch_diagnosis::{Finding, Options};
use staunch_doctor::{Detector, Known, Plan, Report, Target, watch};
use staunch_scope::Context;
use tokio::runtime::Runtime;

use crate::signals::Signals;

/// SIGINT or SIGTERM.
#[derive(Debug, thiserror::Error)]
#[error("the demo was ended")]
pub(super) struct Stopped;

/// Looks at a service for a moment.
pub(super) struct Doctor {
    runtime: Runtime,
    signals: Signals,
    every: Duration,
}

/// In an examination; growth is believed after five.
const LOOKS: u32 = 7;

impl Doctor {
    pub(super) fn new(runtime: Runtime, signals: Signals, is_fast: bool) -> Doctor {
        let every = Duration::from_millis(if is_fast { 150 } else { 300 });
        Doctor { runtime, signals, every }
    }

    /// What is found of the service at `admin`, with some looks at it.
    pub(super) fn look(&mut self, admin: &str) -> anyhow::Result<Vec<Finding>> {
        let targets = vec![Target::parse(admin)?];
        let period = self.every * (LOOKS - 1);
        let plan = Plan { targets, period, every: self.every, headers: Vec::new(), records: false };
        let Doctor { runtime, signals, .. } = self;
        let seen = runtime.block_on(async {
            let context = Context::background();
            tokio::select! {
                seen = watch(plan, &context, |_| ()) => Ok(seen?),
                _ = signals.next() => Err(anyhow::Error::new(Stopped)),
            }
        })?;
        let report = Report::of(&seen, &Options::default(), &Known::default());
        anyhow::ensure!(report.detector() == Detector::Awake, "the doctor misses its own canary");
        Ok(report.findings().to_vec())
    }
}
