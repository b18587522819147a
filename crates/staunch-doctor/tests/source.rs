//! What the source of the Go fixtures tells: for each leaky service the line that is to be changed, and
//! for most of them a patch, which applies and builds. Whether a patched service still leaks is looked
//! at in `fixtures.rs`.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may fail as tests do")]

use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use staunch_diagnosis::{Cause, Confidence, Finding, Fix, Kind, Place, Severity, Wait};
use staunch_doctor::Checkout;
use staunch_harness::fixture::{Mark, Marks, pair, root};
use tempfile::TempDir;

/// The module of all fixtures.
const MODULE: &str = "staunch.example/fixtures";

/// A service, the rule that finds its leak, and whether there is a patch.
const SERVICES: [(&str, &str, bool); 26] = [
    ("body-not-closed", "body-not-closed", true),
    ("body-not-read", "body-not-read", true),
    ("cache-without-ttl", "heap-growth", false),
    ("cancel-not-called", "cancel-not-called", true),
    ("connection-not-closed", "connection-not-closed", true),
    ("context-children", "cancel-not-called", true),
    ("deadline-not-set", "deadline-not-set", false),
    ("defer-before-error-check", "chan-send", true),
    ("defer-evaluated-early", "connection-not-closed", true),
    ("defer-in-loop", "descriptor-not-closed", true),
    ("lease-not-returned", "chan-receive", true),
    ("lock-not-released", "lock", true),
    ("receive-nobody-sends", "chan-receive", true),
    ("request-not-cancelled", "deadline-not-set", true),
    ("rows-not-closed", "rows-not-closed", true),
    ("send-nobody-receives", "chan-send", true),
    ("server-without-timeouts", "server-without-timeouts", true),
    ("slice-holds-buffer", "heap-growth", true),
    ("statement-not-closed", "statement-not-closed", true),
    ("stream-never-ends", "handler-blocked", true),
    ("ticker-not-stopped", "chan-receive", true),
    ("timer-not-stopped", "timer-not-stopped", true),
    ("transaction-not-ended", "transaction-not-ended", true),
    ("transport-per-request", "transport-per-request", false),
    ("unbounded-workers", "unbounded-workers", false),
    ("waitgroup-never-done", "wait-group", true),
];

/// The services as a checkout of their own, with all that they need to be built.
fn checkout() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(root().join("go/go.mod"), folder.path().join("go.mod")).unwrap();
    let services = SERVICES.iter().map(|(name, ..)| format!("{name}/leaky"));
    for name in services.chain(["service", "tinydb"].map(str::to_owned)) {
        fs::create_dir_all(folder.path().join(&name)).unwrap();
        for entry in fs::read_dir(root().join("go").join(&name)).unwrap() {
            let file = entry.unwrap();
            fs::copy(file.path(), folder.path().join(&name).join(file.file_name())).unwrap();
        }
    }
    folder
}

/// The function around a line, as the runtime names it.
fn function(text: &str, line: u32) -> String {
    let lines: Vec<&str> = text.lines().take(line as usize).collect();
    let declared = lines.iter().rev().find_map(|it| it.strip_prefix("func "));
    let declared = declared.unwrap_or_default();
    let (receiver, rest) = match declared.strip_prefix('(') {
        Some(rest) => rest.split_once(") ").unwrap(),
        None => ("", declared),
    };
    let name = rest.split('(').next().unwrap();
    match receiver.split(' ').nth(1).map(|it| it.trim_start_matches('*')) {
        Some(kind) => format!("main.(*{kind}).{name}"),
        None => format!("main.{name}.func1"),
    }
}

/// What the doctor finds of a service, as far as the source needs it.
fn finding(name: &str, rule: &'static str, marks: &Marks) -> Finding {
    let text = fs::read_to_string(&marks.file).unwrap();
    let file = format!("{MODULE}/{name}/leaky/main.go");
    let line = |mark| {
        let lines = marks.of(mark);
        let both = lines.iter().copied().find(|it| marks.of(Mark::Cause).contains(it));
        both.or(lines.first().copied())
    };
    let birth = line(Mark::Birth).map(|line| Place {
        function: function(&text, line),
        file: file.clone(),
        line,
        code: None,
    });
    let wait = line(Mark::Wait).map(|line| Wait {
        function: function(&text, line),
        file: file.clone(),
        line,
        state: String::new(),
        code: None,
    });
    let cause = Cause {
        label: "Label".to_owned(),
        text: "Text".to_owned(),
        file: Some(file),
        line: birth.as_ref().map(|it| it.line),
    };
    Finding {
        id: String::new(),
        rule,
        kind: Kind::Goroutine,
        severity: Severity::Leak,
        confidence: Confidence::new(0.9),
        summary: String::new(),
        count: Vec::new(),
        oldest: None,
        birth,
        wait,
        cause: Some(cause),
        fix: Some(Fix { text: "change it".to_owned(), patch: None, places: Vec::new() }),
        forecast: None,
        evidence: Vec::new(),
        guide: String::new(),
    }
}

fn run(command: &mut Command, input: &str) {
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}\n{input}");
}

#[test]
fn every_leak_is_named_by_its_line_and_patches_build() {
    let folder = checkout();
    let source = Checkout::open(folder.path()).unwrap();
    let mut wrong = Vec::new();
    for (name, rule, is_patched) in SERVICES {
        let marks = pair(&format!("go/{name}")).unwrap().marks().unwrap();
        let mut findings = [finding(name, rule, &marks)];
        let notes = source.explain(&mut findings);
        let [finding] = &findings;
        let cause = finding.cause.as_ref().unwrap();
        let (file, line) = (cause.file.as_ref().unwrap(), cause.line.unwrap_or(0));
        let fix = finding.fix.as_ref().unwrap();
        println!("{name}: {line}: {}; {}", cause.text, fix.text);
        println!("{}", fix.patch.as_deref().unwrap_or_default());
        let is_quoted = finding.birth.iter().all(|it| it.code.is_some())
            && finding.wait.iter().all(|it| it.code.is_some());
        let is_right = marks.is_right(Mark::Cause, file, line)
            && fix.patch.is_some() == is_patched
            && is_quoted
            && notes.is_empty();
        if !is_right {
            wrong.push(format!("{name}: {line} {notes:?}, of {:?}", marks.of(Mark::Cause)));
        }
        if let Some(patch) = &fix.patch {
            run(Command::new("git").args(["apply", "-p1"]).current_dir(folder.path()), patch);
            let path = folder.path().join(name).join("leaky/main.go");
            let again = patched_again(folder.path(), name, rule, &Marks::read(&path).unwrap());
            assert_eq!(again, None, "{name} is patched already");
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    build(folder.path());
}

/// What is proposed for the lines of a service that was patched: their marks are in it.
fn patched_again(folder: &Path, name: &str, rule: &'static str, marks: &Marks) -> Option<String> {
    let mut findings = [finding(name, rule, marks)];
    Checkout::open(folder).unwrap().explain(&mut findings);
    findings[0].fix.as_ref().unwrap().patch.clone()
}

fn build(folder: &Path) {
    run(Command::new("go").args(["vet", "./..."]).current_dir(folder), "");
}

#[test]
fn lines_of_java_are_quoted() {
    let marks = pair("java/lease-not-returned").unwrap().marks().unwrap();
    let source = Checkout::open(marks.file.parent().unwrap()).unwrap();
    let mut found = finding("lease-not-returned", "lease-not-returned", &marks);
    let wait = found.wait.as_mut().unwrap();
    "Stock.java".clone_into(&mut wait.file);
    "Stock.count".clone_into(&mut wait.function);
    found.birth = None;
    let mut findings = [found];
    assert_eq!(source.explain(&mut findings), [""; 0]);
    let code = findings[0].wait.as_ref().unwrap().code.as_ref().unwrap();
    assert!(code.contains("take()"), "{code}");
}

#[test]
fn source_that_is_another_one_gives_a_note_and_no_patch() {
    let folder = checkout();
    let marks = pair("go/rows-not-closed").unwrap().marks().unwrap();
    let path = folder.path().join("rows-not-closed/leaky/main.go");
    let text = fs::read_to_string(&path).unwrap();
    for (changed, expected) in [
        (text.replace("func (p *prices) find", "func (p *prices) look"), "is not at"),
        (text.lines().take(10).collect::<Vec<_>>().join("\n"), "is not at"),
        ("x".repeat(2 << 20), "too long"),
    ] {
        fs::write(&path, changed).unwrap();
        let mut findings = [finding("rows-not-closed", "rows-not-closed", &marks)];
        let notes = Checkout::open(folder.path()).unwrap().explain(&mut findings);
        assert!(notes.iter().any(|it| it.contains(expected)), "{notes:?}");
        assert_eq!(findings[0].birth.as_ref().unwrap().code, None);
        assert_eq!(findings[0].fix.as_ref().unwrap().patch, None);
    }
}

#[test]
fn a_file_of_a_mebibyte_is_looked_at_within_bounds() {
    let folder = tempfile::tempdir().unwrap();
    let lock = "\ta.mu.Lock()\n\tgo func() { c <- 1 }()\n";
    let text = format!("package main\n\nfunc f() {{\n{}}}\n", lock.repeat(27_000));
    assert!(text.len() > 900 << 10 && text.len() <= 1 << 20, "{}", text.len());
    fs::write(folder.path().join("main.go"), text).unwrap();
    let marks = pair("go/lock-not-released").unwrap().marks().unwrap();
    let mut found = finding("lock-not-released", "lock", &marks);
    let wait = found.wait.as_mut().unwrap();
    "main.f".clone_into(&mut wait.function);
    "main.go".clone_into(&mut wait.file);
    wait.line = 4;
    found.birth = None;
    let began = std::time::Instant::now();
    Checkout::open(folder.path()).unwrap().explain(&mut [found.clone()]);
    found.rule = "chan-send";
    found.wait.as_mut().unwrap().line = 5;
    Checkout::open(folder.path()).unwrap().explain(&mut [found]);
    println!("{:?}", began.elapsed());
    assert!(began.elapsed().as_secs() < 60, "{:?}", began.elapsed());
}
