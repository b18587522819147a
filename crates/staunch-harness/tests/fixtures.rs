//! The fixtures are what they say: each leaky service has more of something after every call, by as
//! much as its `truth.toml` says, and its repaired twin has not.

use std::{
    fs,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::ensure;
use staunch_harness::fixture::{Mark, Measure, Pair, Program, Twin, healthy, pair, pairs, root};

/// Calls before the first look: what a service builds up once is there then.
const WARM_UP: usize = 16;

/// Calls between the two looks, and what they add at least to a leaky service, and at most to
/// another.
const CALLS: usize = 50;
const LEAKED_MIN: u64 = 40;
const SETTLED_MAX: u64 = 10;

/// How long what has begun may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// How many services run at once.
const AT_ONCE: usize = 2;

/// Sources may be so long, and twins differ in so many lines.
const LINES_MAX: usize = 80;
const CHANGES_MAX: usize = 16;

#[test]
fn leaky_twins_leak_and_repaired_ones_do_not() {
    let pairs = pairs().unwrap();
    assert!(pairs.len() > 30, "only {} pairs", pairs.len());
    let twins = pairs.iter().flat_map(|pair| [(pair, Twin::Leaky), (pair, Twin::Repaired)]);
    check_each(&twins.collect::<Vec<_>>(), |(pair, twin)| {
        let program = pair.program(*twin);
        (program.name.clone(), grows_as_said(pair, &program, *twin))
    });
}

#[test]
fn healthy_services_are_busy_and_do_not_grow() {
    let programs = healthy().unwrap();
    assert!(programs.len() > 3, "only {} services", programs.len());
    check_each(&programs, |program| (program.name.clone(), stays_healthy(program)));
}

#[test]
fn twins_differ_in_the_mistake_alone() {
    for pair in pairs().unwrap() {
        let read = |twin| fs::read_to_string(pair.program(twin).source().unwrap()).unwrap();
        let (leaky, repaired) = (read(Twin::Leaky), read(Twin::Repaired));
        let longest = leaky.lines().count().max(repaired.lines().count());
        assert!(longest < LINES_MAX, "{}: {longest} lines", pair.name);
        let changes = changes(&unmarked(&leaky), &unmarked(&repaired));
        assert!((1..=CHANGES_MAX).contains(&changes), "{}: {changes} changes", pair.name);
        assert!(!repaired.contains("// leak:"), "{}: the repaired twin has marks", pair.name);
    }
}

#[test]
fn every_truth_is_whole() {
    for pair in pairs().unwrap() {
        let (marks, truth) = (pair.marks().unwrap(), &pair.truth);
        for mark in [Mark::Birth, Mark::Cause] {
            assert!(!marks.of(mark).is_empty(), "{}: no {mark:?}", pair.name);
        }
        assert!(!truth.sources.is_empty() && truth.why.ends_with('.'), "{}: {truth:?}", pair.name);
        let known = ["goroutine", "heap", "pid", "jcmd"];
        assert!(truth.sources.iter().all(|it| known.contains(&it.as_str())), "{}", pair.name);
    }
}

/// Checks a few at once; what was wrong of all of them is said at the end.
fn check_each<T: Sync>(all: &[T], check: impl Fn(&T) -> (String, anyhow::Result<String>) + Sync) {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut wrong = Vec::new();
        while let Some(it) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
            let (name, result) = check(it);
            println!("{name:<44} {}", result.as_deref().unwrap_or("WRONG"));
            wrong.extend(result.err().map(|error| format!("{name}: {error:#}")));
        }
        wrong
    };
    let wrong: Vec<String> = thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .flat_map(|thread| {
                thread.join().unwrap_or_else(|_| vec!["a check panicked".to_owned()])
            })
            .collect()
    });
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

fn grows_as_said(pair: &Pair, program: &Program, twin: Twin) -> anyhow::Result<String> {
    let service = program.start()?;
    service.work(WARM_UP)?;
    let look = || Ok(service.measure(&pair.truth.measure)? / pair.truth.unit);
    let before = settled(look)?;
    service.work(CALLS)?;
    let is_expected = |grown| match twin {
        Twin::Leaky => grown >= LEAKED_MIN,
        Twin::Repaired => grown <= SETTLED_MAX,
    };
    let grown = eventually(|| Ok(look()?.saturating_sub(before)), is_expected)?;
    service.stop()?;
    Ok(format!("{before} and {grown} more"))
}

/// Under its own load and ours it has work, and no more of anything than before.
fn stays_healthy(program: &Program) -> anyhow::Result<String> {
    let service = program.start()?;
    service.work(WARM_UP)?;
    let load = service.load(Duration::from_millis(5))?;
    let begun = Instant::now();
    let (mut least, mut most) = (u64::MAX, 0);
    while begun.elapsed() < Duration::from_secs(5) {
        let now = service.measure(&Measure::Goroutines)?;
        (least, most) = (least.min(now), most.max(now));
    }
    drop(load);
    ensure!(least > 10 && most < 300, "between {least} and {most} goroutines");
    service.stop()?;
    Ok(format!("between {least} and {most} goroutines"))
}

/// What is seen when two looks agree.
fn settled(look: impl Fn() -> anyhow::Result<u64>) -> anyhow::Result<u64> {
    let mut last = look()?;
    eventually(&look, |now| std::mem::replace(&mut last, now).abs_diff(now) <= 1)
}

/// What is seen when it is as expected, or else after all patience.
fn eventually(
    look: impl Fn() -> anyhow::Result<u64>,
    mut is_expected: impl FnMut(u64) -> bool,
) -> anyhow::Result<u64> {
    let begun = Instant::now();
    loop {
        let seen = look()?;
        if is_expected(seen) {
            return Ok(seen);
        }
        ensure!(begun.elapsed() < PATIENCE, "it is {seen} after {PATIENCE:?}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// A source without marks, and without the blanks that align comments.
fn unmarked(source: &str) -> Vec<&str> {
    source.lines().map(|line| line.split("// leak:").next().unwrap_or(line).trim_end()).collect()
}

/// How many lines must be taken away or added to make one text of the other.
fn changes(left: &[&str], right: &[&str]) -> usize {
    let mut common = vec![0; right.len() + 1];
    for line in left {
        let mut diagonal = 0;
        for (column, other) in right.iter().enumerate() {
            let above = common[column + 1];
            common[column + 1] =
                if line == other { diagonal + 1 } else { above.max(common[column]) };
            diagonal = above;
        }
    }
    left.len() + right.len() - 2 * common[right.len()]
}

#[test]
fn changes_are_lines_taken_away_and_added() {
    assert_eq!(changes(&["a", "b", "c"], &["a", "c"]), 1);
    assert_eq!(changes(&["a", "b"], &["a", "x"]), 2);
    assert_eq!(changes(&["a"], &["a"]), 0);
}

#[test]
fn a_name_that_is_not_there_is_refused_with_those_that_are() {
    let error = pair("go/none").unwrap_err().to_string();
    assert!(error.contains("go/rows-not-closed"), "{error}");
}

#[test]
fn every_fixture_is_in_the_readme() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let rows = pairs()
        .unwrap()
        .into_iter()
        .map(|pair| format!("| {} | `{}` | `{}` |", pair.truth.trap, pair.name, pair.truth.rule));
    let healthy = healthy().unwrap().into_iter().map(|program| format!("| `{}` |", program.name));
    for row in rows.chain(healthy) {
        assert!(readme.contains(&row), "no row begins with {row}");
    }
}
