//! The fixtures are what they say: each leaky service has more of something after every call, by as
//! much as its `truth.toml` says, and its repaired twin has not.

use std::{
    fs,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::ensure;
use staunch_harness::fixture::{
    Language, Mark, Measure, Pair, Program, Twin, healthy, pair, pairs, root,
};

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
fn profiles_show_the_marked_lines() {
    let mut pairs = pairs().unwrap();
    pairs.retain(|pair| shows_lines(&pair.truth.sources, pair.language));
    assert!(pairs.len() > 25, "only {} pairs", pairs.len());
    check_each(&pairs, |pair| (pair.name.clone(), shows_its_lines(pair)));
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

/// Whether a source that is known to a pair names lines: pages of pprof do.
fn shows_lines(sources: &[String], language: Language) -> bool {
    let is_profile = |source: &String| source == "goroutine" || source == "heap";
    language == Language::Go && sources.iter().any(is_profile)
}

/// Of one of the lines where what leaks is born or waits, there is one for nearly every call: among
/// the goroutines, or what was allocated there and lives.
fn shows_its_lines(pair: &Pair) -> anyhow::Result<String> {
    let service = pair.program(Twin::Leaky).with_env("MEMPROFILERATE", "1").start()?;
    let marks = pair.marks()?;
    let folder = marks.file.parent().and_then(|folder| folder.parent()).unwrap_or(&marks.file);
    let name = format!("{}/leaky/main.go", folder.file_name().unwrap_or_default().display());
    let lines = [marks.of(Mark::Birth), marks.of(Mark::Wait)].concat();
    service.work(CALLS)?;
    let ever = pair.truth.measure == Measure::Allocated;
    let look = || {
        let dump = service.dump()?;
        let heap = String::from_utf8(service.page("/debug/pprof/heap?gc=1&debug=1")?)?;
        let shown = |line: &u32| {
            let place = format!("{name}:{line}");
            let blocked = dump.lines().filter(|text| names(text, &place)).count() as u64;
            blocked.max(objects(&heap, &place, ever))
        };
        Ok(lines.iter().map(shown).max().unwrap_or_default())
    };
    let shown = eventually(look, |shown| shown >= LEAKED_MIN)?;
    Ok(format!("{shown} on lines {lines:?}"))
}

/// Whether a line of a profile names a place; `main.go:1` is not in `main.go:12`.
fn names(text: &str, place: &str) -> bool {
    let rest = text.split_once(place).map(|(_, rest)| rest);
    rest.is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_digit()))
}

/// How many objects that were allocated at a place live, or ever lived. An entry of the page begins
/// with `LIVE: BYTES [EVER: BYTES] @`; the lines of its stack follow.
fn objects(heap: &str, place: &str, ever: bool) -> u64 {
    let (mut all, mut entry) = (0, 0);
    for line in heap.lines() {
        if let Some((live, rest)) = line.split_once(" [") {
            let counts = if ever { rest } else { live };
            entry = counts.split(':').next().and_then(|count| count.parse().ok()).unwrap_or(0);
        } else if names(line, place) {
            all += std::mem::take(&mut entry);
        }
    }
    all
}

/// Under its own load and ours it has work, and no more of anything than before.
fn stays_healthy(program: &Program) -> anyhow::Result<String> {
    let service = program.start()?;
    service.work(WARM_UP)?;
    let load = service.load(Duration::from_millis(5))?;
    let begun = Instant::now();
    let running = match program.language {
        Language::Java => Measure::Threads,
        _ => Measure::Goroutines,
    };
    let (mut least, mut most) = (u64::MAX, 0);
    while begun.elapsed() < Duration::from_secs(5) {
        let now = service.measure(&running)?;
        (least, most) = (least.min(now), most.max(now));
    }
    drop(load);
    let told = format!("between {least} and {most} {running:?}");
    ensure!(least > 10 && most < 300, "{told}");
    service.stop()?;
    Ok(told)
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
fn a_place_is_counted_by_entries_of_the_heap() {
    let heap = "heap profile: 1: 2 [3: 4] @ heap/1\n1: 16 [30: 480] @ 0x1\n#\t0x1\tmain.f\ta.go:1\n\
                #\t0x2\tmain.g\ta.go:12\n\n1: 16 [4: 64] @ 0x1 0x3\n#\t0x1\tmain.f\ta.go:1\n";
    assert_eq!((objects(heap, "a.go:1", true), objects(heap, "a.go:1", false)), (34, 2));
    assert_eq!((objects(heap, "a.go:12", true), objects(heap, "a.go:2", true)), (30, 0));
}

/// Otherwise they are to be made again: the source has changed.
#[test]
fn captures_show_the_marked_lines() {
    let shown = [
        ("go/connection-not-closed", "goroutine-2.debug2.txt"),
        ("go/rows-not-closed", "goroutine-2.debug2.txt"),
        ("java/thread-blocked", "jstack-2.txt"),
    ];
    for (name, file) in shown {
        let marks = pair(name).unwrap().marks().unwrap();
        let path = root().join("captures").join(name.replace('/', "-")).join(file);
        let text = fs::read_to_string(path).unwrap();
        let source = marks.file.file_name().unwrap().display();
        for line in marks.of(Mark::Wait) {
            let place = format!("{source}:{line}");
            assert!(text.lines().any(|text| names(text, &place)), "{name}: no {place} in {file}");
        }
    }
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
