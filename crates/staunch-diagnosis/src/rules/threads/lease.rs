//! `lease-not-returned`: threads that wait for one pool to give them something.
//!
//! **Proves**: what `thread-blocked` proves, and that all of them wait for one and the same queue,
//! semaphore or pool: what was taken out of it has not come back for as long as they wait.
//!
//! **Cannot**: name who has taken it and not given it back, for nobody is there any more; the line is
//! the one that takes, where what it takes must be given back on every path. Nor tell a pool from a
//! queue of work to which consumers are added and nobody puts anything.

use crate::{Cause, Confidence, Finding, Fix, Kind, Place, Severity, Waiting};

use super::{Site, blocked, stack};

const RULE: &str = "lease-not-returned";

/// Calls in which a pool's clients wait.
const ACQUIRE: [&str; 4] = [
    "com.zaxxer.hikari.",
    "org.apache.commons.pool",
    "org.apache.commons.dbcp",
    "org.apache.tomcat.jdbc.pool.",
];

/// Whether threads wait for one pool.
pub(super) fn is_lease(site: &Site<'_>) -> bool {
    let is_pool = matches!(site.waiting, Waiting::ChanReceive | Waiting::Semaphore)
        || site
            .groups
            .iter()
            .flat_map(|group| group.frames.iter())
            .any(|frame| ACQUIRE.iter().any(|acquire| frame.function.starts_with(acquire)));
    is_pool && site.objects().len() == 1
}

pub(super) fn finding(site: &Site<'_>) -> Finding {
    let call = site.call;
    let place = format!("{}:{}", call.file, call.line);
    let count = site.count();
    Finding {
        id: Finding::id(RULE, [&*call.function, &place]),
        rule: RULE,
        kind: Kind::Pool,
        severity: Severity::Critical,
        confidence: Confidence::new(site.confidence()),
        summary: format!(
            "{count} threads wait for one pool at {place}: what it lent does not come back"
        ),
        count: site.readings.iter().map(|reading| reading.1).collect(),
        oldest: Some(site.oldest),
        birth: Some(Place::from(call)),
        wait: Some(blocked::wait(site)),
        cause: Some(Cause {
            label: "Lease not returned".to_owned(),
            text: format!(
                "what {} takes is not given back on every path, and the pool is empty",
                stack::short(&call.function)
            ),
            file: Some(call.file.to_string()),
            line: Some(call.line),
        }),
        fix: Some(Fix {
            text: format!(
                "give back in `finally`, or with try-with-resources, what is taken at {place}; and take with a time limit"
            ),
            patch: None,
            places: vec![Place::from(call)],
        }),
        forecast: site.forecast(),
        evidence: [vec!["all of them wait for the same object".to_owned()], site.evidence()]
            .concat(),
        guide: Finding::guide(RULE),
    }
}
