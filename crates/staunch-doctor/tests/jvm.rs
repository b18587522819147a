//! The doctor on the Java services of `fixtures/`: saved files of them, and each of them live under a
//! small load. It names a marked line of every leaky twin, of some of them if the JVM records, and finds
//! nothing of a repaired or a healthy one.

use std::{
    pin::pin,
    process::Command,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use staunch_diagnosis::{Finding, Options};
use staunch_doctor::{Format, Known, Plan, Report, Target, watch};
use staunch_harness::fixture::{Language, Mark, Marks, Program, Twin, healthy, pair, pairs, root};
use staunch_scope::Context;

/// Leaky twins of which something is found, but no marked line unless it is recorded: the rule, and why not.
const NO_LINE: [(&str, &str, &str); 4] = [
    ("java/body-not-closed", "fd-growth", "no thread is left of a request that leaked"),
    ("java/close-wait", "close-wait", "the kernel knows no line"),
    ("java/map-without-expiry", "cache-without-expiry", "a histogram knows classes and no lines"),
    ("java/stream-not-closed", "fd-growth", "no thread is left of a request that leaked"),
];

/// Where a line is named if a look happens to see it, for an idle thread does not know who made its pool.
const SOMETIMES: (&str, &str) = ("java/executor-per-request", "thread-growth");

/// Calls before the first look: what a service builds up once is there then.
const WARM_UP: usize = 16;
/// One call in each of these, while it is watched.
const CALLS_EVERY: Duration = Duration::from_millis(50);
/// Eight looks or so: one takes its time while the machine is busy.
const PERIOD: Duration = Duration::from_secs(9);
const EVERY: Duration = Duration::from_secs(1);

/// One call in each of these while a JVM records, which samples one object in some hundred KiB.
const RECORDED_CALLS_EVERY: Duration = Duration::from_millis(20);
/// The same where each call leaks so much that a heap of 64 MiB would not last.
const RECORDED_LARGE_CALLS_EVERY: Duration = Duration::from_millis(70);
/// To begin a recording takes its time as well.
const RECORDED_PERIOD: Duration = Duration::from_secs(14);

/// A recording is a sample: of objects as small as a stream, one may have none on a busy machine.
const RECORDINGS: usize = 3;

/// How many services run at once.
const AT_ONCE: usize = 2;
/// Held by the test whose services those are.
static ALONE: Mutex<()> = Mutex::new(());

fn report(targets: Vec<Target>, records: bool) -> anyhow::Result<Report> {
    let context = Context::background();
    let seen = runtime()?.block_on(watch(plan(targets, records), &context, |_| ()))?;
    Ok(Report::of(&seen, &Options::default(), &Known::default()))
}

fn plan(targets: Vec<Target>, records: bool) -> Plan {
    let period = if records { RECORDED_PERIOD } else { PERIOD };
    Plan { targets, period, every: EVERY, headers: Vec::new(), records }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

fn captures(folder: &str, names: &[&str]) -> Vec<Target> {
    let file = |name: &&str| Target::File(root().join("captures").join(folder).join(name));
    names.iter().map(file).collect()
}

/// The marked line that a finding names.
fn named(finding: &Finding, marks: &Marks) -> Option<(Mark, u32)> {
    let wait = finding.wait.iter().map(|it| (&it.file, it.line));
    let birth = finding.birth.iter().map(|it| (&it.file, it.line));
    let fix = finding.fix.iter().flat_map(|it| &it.places).map(|it| (&it.file, it.line));
    let mut places = wait.chain(birth).chain(fix);
    places.find_map(|(file, line)| {
        let all = [Mark::Birth, Mark::Wait, Mark::Cause];
        let mark = all.into_iter().find(|mark| marks.is_right(*mark, file, line))?;
        Some((mark, line))
    })
}

#[test]
fn saved_threads_name_the_line() {
    let files = ["jstack-0.txt", "jstack-1.txt", "jstack-2.txt"];
    let report = report(captures("java-thread-blocked", &files), false).unwrap();
    let [finding] = report.findings() else { panic!("{:?}", report.findings()) };
    assert_eq!((finding.rule, &finding.count[..]), ("thread-blocked", &[2, 6, 10][..]));
    let marks = pair("java/thread-blocked").unwrap().marks().unwrap();
    assert_eq!(named(finding, &marks).map(|it| it.0), Some(Mark::Wait), "{finding:?}");
}

#[test]
fn saved_sockets_of_two_instants_are_known_again() {
    let report = report(captures("java-close-wait", &["ss-1.txt", "ss-2.txt"]), false).unwrap();
    let [finding] = report.findings() else { panic!("{:?}", report.findings()) };
    assert_eq!((finding.rule, &finding.count[..]), ("close-wait", &[6, 10][..]));
    assert!(finding.evidence.iter().any(|it| it.starts_with("6 of 10 ")), "{finding:?}");
}

#[test]
fn saved_sockets_and_classes_are_one_history() {
    let files = [0, 1, 2].map(|at| [format!("ss-{at}.txt"), format!("histogram-{at}.txt")]);
    let files: Vec<&str> = files.iter().flatten().map(String::as_str).collect();
    let report = report(captures("java-close-wait", &files), false).unwrap();
    let [finding] = report.findings() else { panic!("{:?}", report.findings()) };
    assert_eq!((finding.rule, &finding.count[..]), ("close-wait", &[2, 6, 10][..]));
}

#[test]
fn leaky_services_are_named_and_others_are_silent() {
    let mut pairs = pairs().unwrap();
    pairs.retain(|pair| pair.language == Language::Java);
    assert!(pairs.len() >= 8, "only {} pairs", pairs.len());
    let mut checks: Vec<(Program, Option<Marks>)> = Vec::new();
    for pair in &pairs {
        checks.push((pair.program(Twin::Leaky), Some(pair.marks().unwrap())));
        checks.push((pair.program(Twin::Repaired), None));
    }
    let healthy = healthy().unwrap().into_iter().filter(|it| it.language == Language::Java);
    checks.extend(healthy.map(|program| (program, None)));
    check_each(&checks, |(program, marks)| {
        let report = examine(program)?;
        match marks {
            Some(marks) => is_found(&program.name, report.findings(), marks),
            None => is_silent(report.findings()),
        }
    });
}

/// What cannot have a line without is recorded, and has one.
#[test]
fn leaks_that_are_recorded_are_named_and_others_are_silent() {
    let mut checks: Vec<(Program, Option<Marks>)> = Vec::new();
    for name in NO_LINE.iter().map(|it| it.0).chain([SOMETIMES.0]) {
        let pair = pair(name).unwrap();
        checks.push((pair.program(Twin::Leaky), Some(pair.marks().unwrap())));
        checks.push((pair.program(Twin::Repaired), None));
    }
    let healthy = healthy().unwrap().into_iter().filter(|it| it.language == Language::Java);
    checks.extend(healthy.map(|program| (program, None)));
    check_each(&checks, |(program, marks)| {
        let is_large = program.name.starts_with("java/body-not-closed");
        let every = if is_large { RECORDED_LARGE_CALLS_EVERY } else { RECORDED_CALLS_EVERY };
        let Some(marks) = marks else { return is_silent(recorded(program, every)?.findings()) };
        let tries = (1..=RECORDINGS).map(|_| is_named(&recorded(program, every)?, marks));
        let mut last = Err(anyhow::anyhow!("nothing was tried"));
        for tried in tries {
            last = tried;
            if last.is_ok() {
                break;
            }
        }
        last
    });
}

fn recorded(program: &Program, calls_every: Duration) -> anyhow::Result<Report> {
    let report = examine_by(program, calls_every, true)?;
    let text = report.write(Format::Text);
    ensure!(!text.contains("nothing recorded"), "{text}");
    Ok(report)
}

/// One finding, and a marked line.
fn is_named(report: &Report, marks: &Marks) -> anyhow::Result<String> {
    let [finding] = report.findings() else {
        bail!("{} findings: {:#?}", report.findings().len(), report.findings())
    };
    let (mark, line) = named(finding, marks).with_context(|| format!("{finding:#?}"))?;
    let recorded = finding.evidence.iter().find(|it| it.starts_with("recorded: "));
    Ok(format!("{}, {mark:?} on line {line}: {recorded:?}", finding.rule))
}

/// Whoever ends a watch, and however, there is no recording left.
#[test]
fn a_recording_is_stopped_when_the_watch_is() {
    let program = pair("java/map-without-expiry").unwrap().program(Twin::Repaired);
    let service = program.start().unwrap();
    let target = || vec![Target::Process(service.pid())];
    let recordings = || {
        let check = Command::new("jcmd").args([&service.pid().to_string(), "JFR.check"]).output();
        String::from_utf8(check.unwrap().stdout).unwrap()
    };
    runtime().unwrap().block_on(async {
        let (context, enough) = Context::background().with_cancel();
        let begun = Arc::new(tokio::sync::Notify::new());
        let looks = Arc::clone(&begun);
        let mut watching = pin!(watch(plan(target(), true), &context, move |_| looks.notify_one()));
        tokio::select! {
            seen = &mut watching => panic!("it has 14 s: {seen:?}"),
            () = begun.notified() => {}
        }
        assert!(recordings().contains("name=staunch-"), "{}", recordings());
        enough.cancel();
        let seen = watching.await.unwrap();
        assert_eq!(seen[0].history.instants().len(), 2, "{:?}", seen[0].notes);
        assert!(!recordings().contains("staunch-"), "{}", recordings());

        let begun = Arc::new(tokio::sync::Notify::new());
        let looks = Arc::clone(&begun);
        let context = Context::background();
        let dropped = watch(plan(target(), true), &context, move |_| looks.notify_one());
        tokio::select! {
            seen = dropped => panic!("it has 14 s: {seen:?}"),
            () = begun.notified() => {}
        }
    });
    assert!(!recordings().contains("staunch-"), "{}", recordings());
    service.stop().unwrap();
}

/// Watches a service under a small load.
fn examine(program: &Program) -> anyhow::Result<Report> {
    examine_by(program, CALLS_EVERY, false)
}

fn examine_by(program: &Program, calls_every: Duration, records: bool) -> anyhow::Result<Report> {
    let service = program.start()?;
    service.work(WARM_UP)?;
    let load = service.load(calls_every)?;
    let report = report(vec![Target::Process(service.pid())], records)?;
    drop(load);
    let text = report.write(Format::Text);
    ensure!(!text.contains("without threads and classes"), "{text}");
    service.stop()?;
    Ok(report)
}

/// One finding, which names a marked line, or is of the rule that is listed.
fn is_found(name: &str, findings: &[Finding], marks: &Marks) -> anyhow::Result<String> {
    let [finding] = findings else { bail!("{} findings: {findings:#?}", findings.len()) };
    let summary = &finding.summary;
    let listed = NO_LINE.iter().find(|(pair, ..)| name.starts_with(pair));
    match (named(finding, marks), listed) {
        (Some(_), Some((.., why))) => {
            bail!("it names a line now: take it from the list, which says `{why}`: {summary}")
        }
        (None, Some((_, rule, why))) => {
            ensure!(finding.rule == *rule, "not {rule}: {finding:#?}");
            Ok(format!("{rule}, no line, for {why}: {summary}"))
        }
        (Some((mark, line)), None) => {
            Ok(format!("{}, {mark:?} on line {line}: {summary}", finding.rule))
        }
        (None, None) => {
            let is_known = name.starts_with(SOMETIMES.0) && finding.rule == SOMETIMES.1;
            ensure!(is_known, "no marked line: {finding:#?}");
            Ok(format!("{}, no line this time: {summary}", finding.rule))
        }
    }
}

fn is_silent(findings: &[Finding]) -> anyhow::Result<String> {
    ensure!(findings.is_empty(), "{findings:#?}");
    Ok("nothing".to_owned())
}

/// Checks a few at once; what was wrong of all of them is said at the end.
fn check_each<M: Sync>(
    all: &[(Program, M)],
    check: impl Fn(&(Program, M)) -> anyhow::Result<String> + Sync,
) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut wrong = Vec::new();
        while let Some(it) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
            let result = check(it).with_context(|| it.0.name.clone());
            println!("{:<36} {}", it.0.name, result.as_deref().unwrap_or("WRONG"));
            wrong.extend(result.err().map(|error| format!("{error:#}")));
        }
        wrong
    };
    let wrong: Vec<String> = thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        let ended = threads.into_iter().map(thread::ScopedJoinHandle::join);
        ended.flat_map(|it| it.unwrap_or_else(|_| vec!["a check panicked".to_owned()])).collect()
    });
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
}
