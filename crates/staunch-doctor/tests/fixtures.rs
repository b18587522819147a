//! Every Go fixture, live, under a small load: of each leaky service one thing is found, and that by its
//! line; nothing is said of a repaired or a healthy one, nor of a leaky one with the patch that its finding and
//! its source give.
//!
//! `FIXTURE=rows cargo test -p staunch-doctor --test fixtures` examines those with such a name.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may fail as tests do")]

use std::{
    env,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::Context as _;
use staunch::Context;
use staunch_diagnosis::{Finding, Options, diagnose, suspicions};
use staunch_doctor::{Checkout, Plan, Target, watch};
use staunch_harness::fixture::{
    Language, Mark, Marks, Pair, Program, Running, Twin, healthy, pairs, root,
};

/// Eight looks within four seconds.
const EVERY: Duration = Duration::from_millis(500);
const PERIOD: Duration = Duration::from_millis(3_900);

/// Some sixteen calls a second.
const INTERVAL: Duration = Duration::from_millis(60);

/// Calls before the first look: what a service builds up once is there then.
const WARM_UP: usize = 24;

/// How many services run at once. Each of them mostly waits.
const AT_ONCE: usize = 8;

/// After how many bytes an allocation is sampled: so often that four seconds of small leaks show. At
/// Go's own rate, 512 KiB, they show in minutes.
const SAMPLED_EVERY: &str = "64";

/// Pairs whose leak has no line that could be seen: the rule must be right.
const WITHOUT_LINE: [&str; 1] = ["go/close-wait"];

/// Pairs whose patch, made of the finding and the source, is applied to the leaky service: then nothing
/// is found of it any more.
const PATCHED: [&str; 21] = [
    "go/body-not-closed",
    "go/body-not-read",
    "go/cancel-not-called",
    "go/connection-not-closed",
    "go/context-children",
    "go/defer-before-error-check",
    "go/defer-evaluated-early",
    "go/defer-in-loop",
    "go/lease-not-returned",
    "go/lock-not-released",
    "go/receive-nobody-sends",
    "go/request-not-cancelled",
    "go/rows-not-closed",
    "go/send-nobody-receives",
    "go/slice-holds-buffer",
    "go/statement-not-closed",
    "go/stream-never-ends",
    "go/ticker-not-stopped",
    "go/timer-not-stopped",
    "go/transaction-not-ended",
    "go/waitgroup-never-done",
];

#[test]
fn leaky_services_are_named_and_nothing_is_said_of_the_others() {
    let mut pairs = pairs().unwrap();
    pairs.retain(|pair| pair.language == Language::Go);
    assert!(pairs.len() > 25, "only {} pairs", pairs.len());
    let leaky = |pair| Case { program: Pair::program(pair, Twin::Leaky), leak: Some(pair) };
    let repaired = |pair| Case { program: Pair::program(pair, Twin::Repaired), leak: None };
    let mut cases: Vec<Case<'_>> =
        pairs.iter().flat_map(|pair| [leaky(pair), repaired(pair)]).collect();
    let healthy = healthy().unwrap().into_iter().filter(|it| it.language == Language::Go);
    cases.extend(healthy.map(|program| Case { program, leak: None }));
    let only = env::var("FIXTURE").unwrap_or_default();
    cases.retain(|case| case.program.name.contains(&only));
    // The kernel counts for all at once what tells small bodies from large ones.
    let alone = |case: &Case<'_>| case.program.name.starts_with("go/body-not-read/");
    let (last, first): (Vec<_>, Vec<_>) = cases.into_iter().partition(alone);
    let mut rows = examine_each(&first);
    rows.extend(examine_each(&last));
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    for row in &rows {
        let verdict = if row.is_right { "right" } else { "WRONG" };
        println!("{:<40} {verdict} {}", row.name, row.said.join("; "));
    }
    let wrong: Vec<_> = rows.iter().filter(|row| !row.is_right).map(|row| &row.name).collect();
    assert!(wrong.is_empty(), "{} of {} are wrong: {wrong:?}", wrong.len(), rows.len());
}

/// A service, and the leak that it has.
struct Case<'a> {
    program: Program,
    leak: Option<&'a Pair>,
}

/// What came of a case.
struct Row {
    name: String,
    is_right: bool,
    said: Vec<String>,
}

/// A few at once.
fn examine_each(cases: &[Case<'_>]) -> Vec<Row> {
    let (next, rows) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            let row = case.examine();
            let row = row.unwrap_or_else(|error| case.row(false, vec![format!("{error:#}")]));
            rows.lock().unwrap().push(row);
        }
    };
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(work);
        }
    });
    rows.into_inner().unwrap()
}

impl Case<'_> {
    fn examine(&self) -> anyhow::Result<Row> {
        let service = self.program.clone().with_env("MEMPROFILERATE", SAMPLED_EVERY).start()?;
        let findings = findings(&service)?;
        service.stop()?;
        let mut said: Vec<String> = findings.iter().map(shown).collect();
        let Some(pair) = self.leak else {
            return Ok(self.row(findings.is_empty(), said));
        };
        let marks = pair.marks()?;
        // One leak is one finding.
        let is_named = matches!(&findings[..], [finding] if names(finding, pair, &marks));
        let is_repaired = is_repaired(pair, findings, &mut said)?;
        Ok(self.row(is_named && is_repaired, said))
    }

    fn row(&self, is_right: bool, said: Vec<String>) -> Row {
        Row { name: self.program.name.clone(), is_right, said }
    }
}

/// Whether the service with its patch, where there has to be one, is healthy.
fn is_repaired(
    pair: &Pair,
    mut found: Vec<Finding>,
    said: &mut Vec<String>,
) -> anyhow::Result<bool> {
    let notes = Checkout::open(&root().join("go"))?.explain(&mut found);
    said.extend(notes);
    let patch = found.iter().find_map(|it| it.fix.as_ref()?.patch.as_ref());
    let has_to = PATCHED.contains(&&*pair.name);
    let Some(patch) = patch else {
        said.push("no patch".to_owned());
        return Ok(!has_to);
    };
    let program = pair.patched(patch)?.with_env("MEMPROFILERATE", SAMPLED_EVERY);
    let service = program.start()?;
    let left = findings(&service)?;
    service.stop()?;
    said.push(format!("patched: {:?}", left.iter().map(shown).collect::<Vec<_>>()));
    Ok(left.is_empty() || !has_to)
}

/// Whether a finding is right about a line of the leak, or about the rule where no line shows.
fn names(finding: &Finding, pair: &Pair, marks: &Marks) -> bool {
    if WITHOUT_LINE.contains(&&*pair.name) {
        return finding.rule == pair.truth.rule;
    }
    let birth = finding.birth.as_ref().map(|it| (Mark::Birth, &it.file, it.line));
    let wait = finding.wait.as_ref().map(|it| (Mark::Wait, &it.file, it.line));
    let cause = finding.cause.as_ref();
    let cause = cause.and_then(|it| Some((Mark::Cause, it.file.as_ref()?, it.line?)));
    let mut places = [birth, wait, cause].into_iter().flatten();
    places.any(|(mark, file, line)| marks.is_right(mark, file, line))
}

/// What is found of a service while it is called, and what is suspected and its source confirms.
fn findings(service: &Running) -> anyhow::Result<Vec<Finding>> {
    service.work(WARM_UP)?;
    let _load = service.load(INTERVAL)?;
    let pprof = service.pprof().context("a Go service has pprof")?;
    let targets = vec![Target::parse(pprof)?, Target::process(&service.pid().to_string())?];
    let plan = Plan { targets, period: PERIOD, every: EVERY, headers: Vec::new(), records: false };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let seen = runtime.block_on(watch(plan, &Context::background(), |_| ()))?;
    let seen = seen.first().context("something was seen")?;
    anyhow::ensure!(seen.notes.is_empty(), "{:?}", seen.notes);
    let mut found = diagnose(&seen.history, &Options::default());
    let source = Checkout::open(&root().join("go"))?;
    found.extend(source.confirm(suspicions(&seen.history)));
    Ok(found)
}

fn shown(finding: &Finding) -> String {
    let line =
        |file: &str, line: u32| format!("{}:{line}", file.rsplit('/').next().unwrap_or(file));
    let birth = finding.birth.as_ref().map(|it| format!(" birth {}", line(&it.file, it.line)));
    let wait = finding.wait.as_ref().map(|it| format!(" wait {}", line(&it.file, it.line)));
    let (birth, wait) = (birth.unwrap_or_default(), wait.unwrap_or_default());
    format!("{}{birth}{wait} {:?}", finding.rule, finding.count)
}
