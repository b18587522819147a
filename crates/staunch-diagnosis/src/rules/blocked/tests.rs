use std::sync::Arc;

use super::*;
use crate::{Frame, Member, Pointer, Snapshot, State, TaskGroup, Tasks};

const MIN: f64 = 0.7;

/// `main.f:12`: a call of `main.f` on line 12 of `app/main.go`.
fn frame(text: &str) -> Frame {
    let (function, line) = text.rsplit_once(':').unwrap();
    let line = line.parse().unwrap();
    Frame { function: function.into(), file: "app/main.go".into(), line }
}

/// Goroutines with these ids; the last of `calls` is the outermost, `birth` may be empty.
fn group(ids: &[u64], waiting: Waiting, calls: &[&str], birth: &str) -> TaskGroup {
    let frames: Arc<[Frame]> = calls.iter().map(|it| frame(it)).collect();
    let birth = (!birth.is_empty()).then(|| frame(birth));
    let members = ids.iter().map(|&id| Member { id, ..Member::default() }).collect();
    let state = State { waiting, text: format!("{waiting:?}").into() };
    TaskGroup { state, frames, birth, labels: Vec::new(), count: ids.len() as u64, members }
}

/// The main goroutine, which writes the dump: the program is no service.
fn dumper() -> TaskGroup {
    group(&[1], Waiting::Running, &["runtime/pprof.writeGoroutine:1", "main.main:9"], "")
}

/// A connection of a server between two requests.
fn connection(id: u64) -> TaskGroup {
    let calls =
        ["internal/poll.runtime_pollWait:1", "net.(*conn).Read:2", "net/http.(*conn).serve:3"];
    group(&[id], Waiting::Io, &calls, "net/http.(*Server).Serve:4")
}

fn tasks(groups: Vec<TaskGroup>) -> Snapshot {
    Snapshot { tasks: Some(Tasks { groups, ..Tasks::default() }), ..Snapshot::default() }
}

/// One look at the groups, without others.
fn look(groups: Vec<TaskGroup>) -> Vec<Finding> {
    find(&History::single(tasks(groups)), MIN)
}

fn looks(instants: Vec<Vec<TaskGroup>>) -> Vec<Finding> {
    let mut history = History::new();
    for (groups, at) in instants.into_iter().zip(0..) {
        history.add(Duration::from_secs(10 * at), tasks(groups));
    }
    find(&history, MIN)
}

fn rules(findings: &[Finding]) -> Vec<&str> {
    findings.iter().map(|finding| finding.rule).collect()
}

fn locked(ids: &[u64]) -> TaskGroup {
    let calls =
        ["sync.(*Mutex).lockSlow:1", "sync.(*Mutex).Lock:2", "main.(*Store).put:12", "main.work:8"];
    group(ids, Waiting::Lock, &calls, "main.start:5")
}

fn receiver(ids: &[u64]) -> TaskGroup {
    group(ids, Waiting::ChanReceive, &["main.listen.func1:20"], "main.listen:18")
}

fn selecting(ids: &[u64]) -> TaskGroup {
    group(ids, Waiting::Select, &["main.(*Store).watch:30"], "main.New:28")
}

#[test]
fn a_lock_out_of_reach_is_a_finding_with_its_lines() {
    let findings = look(vec![dumper(), locked(&[7])]);
    assert_eq!(rules(&findings), ["lock"]);
    let finding = &findings[0];
    let (birth, wait) = (finding.birth.as_ref().unwrap(), finding.wait.as_ref().unwrap());
    assert_eq!((birth.function.as_str(), birth.line), ("main.start", 5));
    assert_eq!((wait.function.as_str(), wait.line), ("main.(*Store).put", 12));
    assert_eq!(finding.fix.as_ref().unwrap().places[0].line, 12);
    assert!(
        finding.summary.starts_with("1 goroutine of main.work, started at app/main.go:5, waits")
    );
}

#[test]
fn whoever_is_alive_may_give_a_lock_back() {
    for waiting in [Waiting::Runnable, Waiting::Sleep] {
        let holder = group(&[9], waiting, &["main.(*Store).flush:40"], "main.start:6");
        assert_eq!(look(vec![dumper(), locked(&[7]), holder]), []);
    }
    let stranger =
        group(&[9], Waiting::Sleep, &["time.Sleep:1", "example.com/x.loop:3"], "main.main:6");
    assert_eq!(rules(&look(vec![dumper(), locked(&[7]), stranger])), ["lock"]);
    assert_eq!(look(vec![dumper(), locked(&[7]), connection(9)]), [], "a handler may");
}

#[test]
fn a_lock_that_is_waited_for_long_is_a_finding_in_a_server_too() {
    let waited = |minutes| {
        let mut group = locked(&[7]);
        group.members[0].waited = Some(Duration::from_mins(minutes));
        look(vec![dumper(), connection(9), group])
    };
    assert_eq!(waited(3), []);
    let findings = waited(6);
    assert_eq!(rules(&findings), ["lock"]);
    assert_eq!(findings[0].oldest, Some(Duration::from_mins(6)));
}

#[test]
fn senders_that_trickle_in_and_are_never_served_are_a_finding_in_a_server() {
    let senders = |minutes: &[u64]| {
        let ids: Vec<u64> = (7..).take(minutes.len()).collect();
        let mut group = group(&ids, Waiting::ChanSend, &["main.handle.func1:5"], "main.handle:4");
        for (member, minutes) in group.members.iter_mut().zip(minutes) {
            member.waited = Some(Duration::from_mins(*minutes));
        }
        let busy = super::tests::group(&[99], Waiting::Runnable, &["main.handle:9"], "main.main:1");
        look(vec![dumper(), connection(500), busy, group])
    };
    assert_eq!(rules(&senders(&[9, 7, 4, 1, 0])), ["chan-send"]);
    assert_eq!(senders(&[9, 9, 9, 9, 9]), [], "sources that nobody asks");
    assert_eq!(senders(&[3, 2, 1, 0, 0]), [], "not for long");
}

#[test]
fn many_receivers_may_wait_for_a_clock() {
    assert_eq!(rules(&look(vec![dumper(), receiver(&[7])])), ["chan-receive"]);
    let crowd: Vec<u64> = (7..27).collect();
    assert_eq!(look(vec![dumper(), receiver(&crowd)]), []);
    // The same crowd, of whom all since the first birth are still here.
    let survivors: Vec<u64> = (0..25).map(|it| 7 + 20 * it).collect();
    assert_eq!(rules(&look(vec![dumper(), receiver(&survivors)])), ["chan-receive"]);
    let mut anonymous = receiver(&crowd);
    anonymous.members.clear();
    assert_eq!(look(vec![dumper(), anonymous]), []);
    // Each started by another goroutine: none of them is one of many.
    let mut group = receiver(&[7, 8]);
    group.members.iter_mut().zip(3..).for_each(|(member, id)| member.creator = Some(id));
    assert_eq!(rules(&look(vec![dumper(), group])), ["chan-receive"]);
}

#[test]
fn where_main_waits_a_receiver_is_a_daemon() {
    let main = group(&[1], Waiting::ChanReceive, &["main.main:9"], "");
    assert_eq!(look(vec![main, receiver(&[7])]), []);
}

#[test]
fn a_select_counts_if_it_belongs_to_a_deadlock() {
    assert_eq!(look(vec![dumper(), selecting(&[8])]), []);
    let findings = look(vec![dumper(), selecting(&[8]), locked(&[7])]);
    let mut found = rules(&findings);
    found.sort_unstable();
    assert_eq!(found, ["lock", "select"]);
}

fn pile(count: u64, base: u64) -> TaskGroup {
    let ids: Vec<u64> = (base..base + count).collect();
    receiver(&ids)
}

#[test]
fn what_piles_up_is_a_finding_even_in_a_server() {
    let piling = [2, 9, 20].map(|count| vec![dumper(), connection(500), pile(count, 7)]);
    let findings = looks(piling.to_vec());
    assert_eq!(rules(&findings), ["chan-receive"]);
    assert_eq!(findings[0].count, [2, 9, 20]);
    assert_eq!(findings[0].severity, Severity::Critical);
    assert!(findings[0].forecast.as_ref().unwrap().starts_with("54 more a minute"));
}

#[test]
fn who_still_worked_at_the_first_look_may_pile_up_later() {
    let searching = |ids: &[u64]| {
        group(ids, Waiting::Sleep, &["time.Sleep:1", "main.find.func1:18"], "main.find:24")
    };
    let sending =
        |ids: &[u64]| group(ids, Waiting::ChanSend, &["main.find.func1:25"], "main.find:24");
    let server = || vec![dumper(), connection(500)];
    let first = [server(), vec![searching(&[7, 8])]].concat();
    let second = [server(), vec![sending(&[7, 8]), searching(&[9, 10])]].concat();
    let ids: Vec<u64> = (7..15).collect();
    let third = [server(), vec![sending(&ids), searching(&[16])]].concat();
    assert_eq!(rules(&looks(vec![first, second, third])), ["chan-send"]);
}

#[test]
fn what_comes_and_goes_does_not_pile_up() {
    let busy = [(2, 7), (9, 100), (20, 200)];
    let busy = busy.map(|(count, base)| vec![dumper(), connection(500), pile(count, base)]);
    assert_eq!(looks(busy.to_vec()), []);
    let first_seen = [0, 0, 20].map(|count| vec![dumper(), connection(500), pile(count, 7)]);
    assert_eq!(looks(first_seen.to_vec()), [], "nobody has been seen to stay");
    let few = [1, 2, 3].map(|count| vec![dumper(), connection(500), pile(count, 7)]);
    assert_eq!(looks(few.to_vec()), [], "parts of a service that start late");
    let full = [10, 16, 16].map(|count| vec![dumper(), connection(500), pile(count, 7)]);
    assert_eq!(looks(full.to_vec()), [], "a pool that has reached its size");
}

#[test]
fn without_ids_growth_must_be_seen_longer() {
    let anonymous = |counts: &[u64]| {
        let instants = counts.iter().map(|&count| {
            let mut group = pile(count, 7);
            group.members.clear();
            vec![dumper(), connection(500), group]
        });
        looks(instants.collect())
    };
    assert_eq!(anonymous(&[2, 9, 20]), []);
    assert_eq!(rules(&anonymous(&[2, 9, 20, 30, 44])), ["chan-receive"]);
}

#[test]
fn as_many_more_connections_explain_receivers() {
    let websockets = [2, 9, 20].map(|count| {
        let mut groups = vec![dumper(), pile(count, 7)];
        groups.extend((0..count).map(|it| connection(500 + it)));
        groups
    });
    assert_eq!(looks(websockets.to_vec()), []);
}

#[test]
fn connections_do_not_explain_locks_nor_the_word_of_the_runtime() {
    let instants = |group: fn(&[u64]) -> TaskGroup| {
        let instants = [2, 9, 20].map(|count| {
            let ids: Vec<u64> = (7..7 + count).collect();
            let mut groups = vec![dumper(), group(&ids)];
            groups.extend((0..count).map(|it| connection(500 + it)));
            groups
        });
        looks(instants.to_vec())
    };
    assert_eq!(rules(&instants(locked)), ["lock"]);
    let leaked = |ids: &[u64]| {
        let mut group = selecting(ids);
        group.state.text = "select (leaked)".into();
        group
    };
    assert_eq!(rules(&instants(leaked)), ["select"]);
    let supervisors = |ids: &[u64]| {
        let calls = ["sync.(*WaitGroup).Wait:1", "main.proxy.func1:9"];
        group(ids, Waiting::WaitGroup, &calls, "main.proxy:5")
    };
    assert_eq!(instants(supervisors), []);
}

#[test]
fn a_server_loop_in_the_same_place_may_serve_another_request() {
    let handlers = |ids: &[u64]| {
        let calls = ["main.handle:50", "net/http.(*conn).serve:3"];
        group(ids, Waiting::ChanSend, &calls, "net/http.(*Server).Serve:4")
    };
    let busy = [&[7, 8][..], &[7, 8, 9, 10], &[7, 8, 9, 10, 11, 12]];
    let busy = busy.map(|ids| vec![dumper(), connection(500), handlers(ids)]);
    assert_eq!(looks(busy.to_vec()), []);
}

#[test]
fn handlers_that_wait_for_a_lock_are_a_finding_if_none_of_them_moves() {
    let handlers = |ids: &[u64]| {
        let calls = ["sync.(*Mutex).Lock:2", "main.pay:50", "net/http.(*conn).serve:3"];
        group(ids, Waiting::Lock, &calls, "net/http.(*Server).Serve:4")
    };
    let look = |ids: &[u64]| vec![dumper(), connection(500), handlers(ids)];
    let stuck = [&[7, 8][..], &[7, 8, 9, 10], &[7, 8, 9, 10, 11, 12, 13]];
    assert_eq!(rules(&looks(stuck.map(look).to_vec())), ["lock"]);
    let moving = [&[7, 8][..], &[7, 9, 10, 11], &[7, 9, 10, 11, 12, 13, 14]];
    assert_eq!(looks(moving.map(look).to_vec()), []);
}

#[test]
fn a_nil_channel_is_never_sent_on_by_design() {
    let nil = |text: &str| {
        let mut group = group(&[7], Waiting::NilChan, &["main.f:3"], "main.g:2");
        group.state.text = text.into();
        look(vec![dumper(), connection(9), group])
    };
    assert_eq!(rules(&nil("chan send (nil chan)")), ["nil-chan"]);
    assert_eq!(nil("chan receive (nil chan)"), []);
}

#[test]
fn select_without_cases_is_a_finding_if_it_multiplies() {
    let stuck = |ids: &[u64]| group(ids, Waiting::SelectNoCases, &["main.f:3"], "main.g:2");
    let main = || group(&[1], Waiting::SelectNoCases, &["main.main:3"], "");
    assert_eq!(look(vec![main(), connection(9), stuck(&[7])]), []);
    assert_eq!(rules(&look(vec![main(), connection(9), stuck(&[7, 8])])), ["select-no-cases"]);
}

#[test]
fn what_waits_within_a_library_is_not_judged_here() {
    let calls = ["net/http.(*persistConn).roundTrip:1", "net/http.(*Client).Do:2", "main.fetch:3"];
    let groups = [1, 5, 9].map(|count| {
        let ids: Vec<u64> = (10..10 + count).collect();
        vec![dumper(), group(&ids, Waiting::Select, &calls, "main.g:2")]
    });
    assert_eq!(looks(groups.to_vec()), []);
}

#[test]
fn the_word_of_the_runtime_is_taken() {
    let main = group(&[1], Waiting::ChanReceive, &["main.main:9"], "");
    let mut snapshot = tasks(vec![main]);
    assert_eq!(find(&History::single(snapshot.clone()), MIN), []);
    snapshot.tasks.as_mut().unwrap().deadlocked = true;
    let findings = find(&History::single(snapshot), MIN);
    assert_eq!(rules(&findings), ["chan-receive"]);
    assert!(findings[0].confidence.value() > 0.95);

    let mut leaked = selecting(&[8]);
    leaked.state.text = "select (leaked)".into();
    assert_eq!(rules(&look(vec![dumper(), connection(9), leaked])), ["select"]);
}

#[test]
fn an_instant_without_tasks_is_passed_over() {
    let mut history = History::single(tasks(vec![dumper(), locked(&[7])]));
    history.add(Duration::from_secs(9), Snapshot { resident: Some(1), ..Snapshot::default() });
    assert_eq!(rules(&find(&history, MIN)), ["lock"]);
}

#[test]
fn threads_of_a_jvm_are_not_judged_here() {
    let mut snapshot = tasks(vec![dumper(), locked(&[7])]);
    snapshot.tasks.as_mut().unwrap().runtime = Runtime::Jvm;
    assert_eq!(find(&History::single(snapshot), MIN), []);
}

#[test]
fn loops_that_multiply_are_a_finding_unless_they_only_sleep_long() {
    let sleepers = |main: TaskGroup, nanos: u64| {
        let instants = [3, 6, 9].map(|count| {
            let ids: Vec<u64> = (7..7 + count).collect();
            let mut group =
                group(&ids, Waiting::Sleep, &["time.Sleep:1", "main.poll:4"], "main.g:2");
            let pointer = Pointer { frame: 0, argument: 0, certain: true, value: nanos };
            group.members.iter_mut().for_each(|it| it.pointers.push(pointer));
            vec![main.clone(), group]
        });
        looks(instants.to_vec())
    };
    assert_eq!(rules(&sleepers(dumper(), 1_000_000)), ["endless"]);
    assert_eq!(sleepers(dumper(), 60_000_000_000), []);
    let service = group(&[1], Waiting::Io, &["net.(*TCPListener).Accept:1", "main.main:9"], "");
    assert_eq!(sleepers(service, 1_000_000), [], "a pool may grow with its load");
}

#[test]
fn an_id_does_not_change_with_counts() {
    let id = |ids: &[u64]| look(vec![dumper(), locked(ids)])[0].id.clone();
    assert_eq!(id(&[7]), id(&[9, 30, 31]));
    let other =
        group(&[7], Waiting::Lock, &["main.(*Store).put:12", "main.work:8"], "main.start:6");
    assert_ne!(id(&[7]), look(vec![dumper(), other])[0].id);
}

fn labels(groups: Vec<TaskGroup>) -> Vec<String> {
    let groups = [vec![dumper()], groups].concat();
    look(groups).into_iter().map(|finding| finding.cause.unwrap().label).collect()
}

#[test]
fn causes_are_named_by_what_belongs_together() {
    let lock =
        |call: &str| group(&[7], Waiting::Lock, &["sync.(*Mutex).Lock:1", call], "main.start:5");
    let (a, b) = ("main.(*Store).put:12", "main.(*Store).get:19");
    assert_eq!(labels(vec![lock(a)]), ["Double locking"]);
    assert_eq!(labels(vec![lock(a), lock(b)]), ["AB-BA deadlock"; 2]);
    let read = group(&[8], Waiting::ReadLock, &["sync.(*RWMutex).RLock:1", a], "main.start:5");
    let write = group(&[9], Waiting::Lock, &["sync.(*RWMutex).Lock:1", b], "main.start:6");
    assert_eq!(labels(vec![read, write]), ["RWR deadlock"; 2]);
    let send = group(&[8], Waiting::ChanSend, &["main.(*Store).notify:33"], "main.start:7");
    assert_eq!(labels(vec![lock(a), send]), ["Channel & Lock"; 2]);
    let context = group(&[8], Waiting::ChanReceive, &["main.awaitDone:3"], "main.DialContext:2");
    assert_eq!(labels(vec![context]), ["Channel & Context"]);
}

#[test]
fn who_waits_for_what_it_started_is_a_victim() {
    let parent =
        group(&[7], Waiting::WaitGroup, &["sync.(*WaitGroup).Wait:1", "main.all:9"], "main.main:3");
    let child =
        group(&[8], Waiting::Cond, &["sync.(*Cond).Wait:1", "main.all.func1:7"], "main.all:6");
    assert_eq!(labels(vec![parent.clone(), child]), ["Condition Variable"; 2]);
    assert_eq!(labels(vec![parent]), ["Misuse WaitGroup"]);
}

#[test]
fn every_rule_has_its_page() {
    let all = [
        Waiting::ChanSend,
        Waiting::ChanReceive,
        Waiting::NilChan,
        Waiting::Select,
        Waiting::SelectNoCases,
        Waiting::Lock,
        Waiting::WaitGroup,
        Waiting::Cond,
        Waiting::Semaphore,
        Waiting::Sleep,
    ];
    for waiting in all {
        let name = rule(waiting).name;
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/guide/findings");
        let page = std::fs::read_to_string(format!("{folder}/{name}.md")).unwrap_or_default();
        assert!(page.starts_with(&format!("# `{name}`")), "{name}");
    }
}

/// What a heap keeps of one allocation each of so many objects.
fn with_heap(mut snapshot: Snapshot, sites: &[(&[&str], u64)]) -> Snapshot {
    let site = |(calls, size): &(&[&str], u64)| crate::HeapSite {
        frames: calls.iter().map(|it| frame(it)).collect(),
        live_bytes: 0,
        live_objects: 0,
        allocated_bytes: 10 * size,
        allocated_objects: 10,
    };
    let sites = sites.iter().map(site).collect();
    snapshot.heap = Some(Heap { sites, ..Heap::default() });
    snapshot
}

fn fix_lines(snapshot: Snapshot) -> Vec<u32> {
    let findings = find(&History::single(snapshot), MIN);
    findings[0].fix.as_ref().unwrap().places.iter().map(|it| it.line).collect()
}

#[test]
fn a_heap_shows_where_the_channel_was_made() {
    let sender = group(&[7], Waiting::ChanSend, &["main.find.func1:20"], "main.find:18");
    let seen = || tasks(vec![dumper(), sender.clone()]);
    let made: (&[&str], u64) = (&["runtime.makechan:1", "main.find:16", "main.main:5"], 96);
    let large: (&[&str], u64) = (&["main.find:17"], 4096);
    let behind: (&[&str], u64) = (&["main.find:19"], 96);
    assert_eq!(fix_lines(with_heap(seen(), &[made, large, behind])), [20, 16]);
    assert_eq!(fix_lines(with_heap(seen(), &[large, behind])), [20]);
    assert_eq!(fix_lines(seen()), [20]);
}

#[test]
fn a_heap_shows_who_called_for_what_carries_a_context() {
    let calls = ["main.(*Tx).awaitDone:42"];
    let waiting = group(&[7], Waiting::ChanReceive, &calls, "main.(*DB).begin:32");
    let seen = || tasks(vec![dumper(), waiting.clone()]);
    let started: (&[&str], u64) = (&["main.(*DB).begin:32", "main.place:71"], 16);
    let other: (&[&str], u64) = (&["main.(*DB).begin:30", "main.other:80"], 16);
    assert_eq!(fix_lines(with_heap(seen(), &[other, started])), [42, 71]);
}

/// Receivers that wait for one ticker, which serves the first of them.
fn queue(first: u64, last: u64) -> Vec<TaskGroup> {
    let ids: Vec<u64> = (first..=last).collect();
    vec![connection(2), receiver(&ids)]
}

#[test]
fn a_queue_that_is_served_too_slowly_is_not_abandoned() {
    let growing = |gone: u64| looks(vec![queue(10, 40), queue(10, 70), queue(10 + gone, 100)]);
    assert_eq!(rules(&growing(0)), ["chan-receive"]);
    assert_eq!(rules(&growing(1)), ["chan-receive"], "one is chance");
    assert_eq!(rules(&growing(3)), [""; 0], "first come, first served");
    let ids: Vec<u64> = (10..=97).chain(std::iter::once(101)).collect();
    let abandoned = vec![queue(10, 40), queue(10, 100), vec![connection(2), receiver(&ids)]];
    assert_eq!(rules(&looks(abandoned)), [""; 0], "it does not grow");
}

#[test]
fn no_weight_of_a_receive_alone_decides() {
    // A tenth up or down must not turn a single fact into a finding or out of it.
    let confidence = |groups| look(groups).first().map_or(0.0, |it| it.confidence.value());
    assert!(confidence(vec![dumper(), receiver(&[7])]) >= MIN + 0.05);
}
