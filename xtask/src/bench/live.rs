//! Servers that live through all rounds. The first round warms them up and is not counted.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context;

use super::record::{Metric, Record, Sample};
use super::subject::{self, Recipe};
use super::{Args, rotated};
use crate::server::Server;

/// Starts the subjects that were asked for, with their files in `folder`.
pub(super) fn start(
    args: &Args,
    recipes: &[Recipe],
    folder: &Path,
    connections: u32,
) -> anyhow::Result<Vec<(&'static str, Server)>> {
    start_before(None, args, recipes, folder, connections)
}

/// The same for proxies, which hand requests to `behind`.
pub(super) fn start_before(
    behind: Option<SocketAddr>,
    args: &Args,
    recipes: &[Recipe],
    folder: &Path,
    connections: u32,
) -> anyhow::Result<Vec<(&'static str, Server)>> {
    let subjects = subject::build(args, recipes, folder)?;
    let start = |subject: subject::Subject| {
        Ok((subject.name, subject.start_before(behind, folder, connections)?))
    };
    subjects.into_iter().map(start).collect()
}

/// Measures each server in each case once a round.
pub(super) fn measure(
    args: &Args,
    record: &mut Record,
    servers: &[(&'static str, Server)],
    cases: &[&str],
    mut measure: impl FnMut(&Server, &str) -> anyhow::Result<Vec<(Metric, f64)>>,
) -> anyhow::Result<()> {
    for case in cases {
        for (subject, server) in servers {
            eprintln!("warm-up: {case}: {subject}");
            measure(server, case)?;
        }
    }
    for round in 1..=args.rounds {
        for case in cases {
            for (subject, server) in rotated(servers, round - 1) {
                let sample = Sample { case, subject, round };
                record.announce(sample, args.rounds);
                for (metric, value) in measure(server, case)? {
                    record.add(sample, metric, value);
                }
            }
        }
    }
    Ok(())
}

pub(super) fn stop(servers: Vec<(&'static str, Server)>) -> anyhow::Result<()> {
    for (subject, server) in servers {
        server.stop().with_context(|| format!("cannot stop {subject}"))?;
    }
    Ok(())
}
