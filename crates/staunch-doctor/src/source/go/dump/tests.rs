use staunch_diagnosis::Waiting;

use super::*;

const DUMP: &str = "\
SIGQUIT: quit
PC=0x46e4a1 m=0 sigcode=0

goroutine 1 [chan receive, 12 minutes]:
main.main()
\t/app/main.go:40 +0x1d

goroutine 7 [sync.Mutex.Lock]:
internal/sync.(*Mutex).lockSlow(0xc000012340)
\t/go/src/internal/sync/mutex.go:149 +0x15d
sync.(*Mutex).Lock(...)
\t/go/src/sync/mutex.go:46
...additional frames elided...
created by main.main in goroutine 1
\t/app/main.go:30 +0x4f

goroutine 9 [sync.Mutex.Lock]:
internal/sync.(*Mutex).lockSlow(0xc000012340)
\t/go/src/internal/sync/mutex.go:149 +0x15d
sync.(*Mutex).Lock(...)
\t/go/src/sync/mutex.go:46
created by main.main in goroutine 1
\t/app/main.go:30 +0x4f

rax    0xca
exit status 2
";

fn read(text: &str) -> Result<Tasks, GoroutineDumpError> {
    read_goroutine_dump(text.as_bytes(), &GoroutineDumpLimits::default())
}

fn error(text: &str) -> String {
    read(text).unwrap_err().to_string()
}

#[test]
fn goroutines_with_the_same_stack_are_one_group() {
    let tasks = read(DUMP).unwrap();
    assert_eq!(tasks.groups.len(), 2);
    assert!(!tasks.deadlocked);
    let main = &tasks.groups[0];
    assert_eq!(main.state.waiting, Waiting::ChanReceive);
    assert_eq!(main.members[0].waited, Some(Duration::from_mins(12)));
    assert_eq!(main.birth, None);
    let locked = &tasks.groups[1];
    assert_eq!((locked.count, locked.state.waiting), (2, Waiting::Lock));
    assert_eq!(locked.members[1].id, 9);
    assert_eq!(locked.members[1].creator, Some(1));
    assert_eq!(locked.members[1].pointers[0].value, 0xc0_0001_2340);
    assert_eq!(locked.birth.as_ref().unwrap().line, 30);
}

#[test]
fn a_runtime_that_found_a_deadlock_is_believed() {
    let text = format!("fatal error: all goroutines are asleep - deadlock!\n\n{DUMP}");
    assert!(read(&text).unwrap().deadlocked);
}

#[test]
fn lines_may_end_as_on_windows() {
    assert_eq!(read(&DUMP.replace('\n', "\r\n")).unwrap(), read(DUMP).unwrap());
}

#[test]
fn wherever_it_is_cut_it_is_read_or_refused_with_its_line() {
    for end in 0..DUMP.len() {
        match read(&DUMP[..end]) {
            Ok(tasks) => assert!(!tasks.groups.is_empty()),
            Err(GoroutineDumpError::NoGoroutine { .. }) => assert!(end < 90),
            Err(error) => assert!(error.to_string().contains("line "), "{error}"),
        }
    }
}

#[test]
fn what_is_no_dump_is_named() {
    assert!(error("<!DOCTYPE html>\n<html>").contains("begins with `<!DOCTYPE html>`"));
    assert!(error("").contains("0 lines"));
    let within = "goroutine 1 [running]:\nmain.main()\n\t/a.go:1 +0x1\nhello\n";
    assert!(error(within).contains("line 4"), "{}", error(within));
    assert!(error(within).contains("`hello`"));
    let cut = "goroutine 12 [running]:\nmain.main()\n";
    assert!(error(cut).contains("cut off at line 2, within goroutine 12"), "{}", error(cut));
    let bytes = [b"goroutine 1 [running]:\n".as_slice(), &[0xff, 0x00, 0x1b]].concat();
    let error = read_goroutine_dump(bytes.as_slice(), &GoroutineDumpLimits::default()).unwrap_err();
    assert!(error.to_string().contains("line 2"), "{error}");
}

#[test]
fn every_limit_holds() {
    let check = |change: fn(&mut GoroutineDumpLimits), expected: &str| {
        let mut limits = GoroutineDumpLimits::default();
        change(&mut limits);
        let error = read_goroutine_dump(DUMP.as_bytes(), &limits).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check(|it| it.bytes = 100, "more than 100 bytes");
    check(|it| it.line_bytes = 30, "more than 30 bytes in a line");
    check(|it| it.goroutines = 2, "more than 2 goroutines");
    check(|it| it.frames = 1, "more than 1 calls");
    let limits = GoroutineDumpLimits { members_with_pointers: 1, ..GoroutineDumpLimits::default() };
    let tasks = read_goroutine_dump(DUMP.as_bytes(), &limits).unwrap();
    assert!(tasks.groups[1].members[1].pointers.is_empty());
}

#[test]
fn a_line_without_end_is_refused_early() {
    let endless = io::BufReader::new(io::repeat(b'x'));
    let error = read_goroutine_dump(endless, &GoroutineDumpLimits::default()).unwrap_err();
    assert!(matches!(error, GoroutineDumpError::TooLarge { line: 1, .. }), "{error}");
}
