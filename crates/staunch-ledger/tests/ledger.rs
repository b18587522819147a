//! What the ledger promises, one promise a test, each on a ledger of its own.
#![cfg(not(loom))]

use std::{
    cell::RefCell,
    collections::HashSet,
    panic::Location,
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use staunch_ledger::{
    Account, Deadline, Detector, Entry, EntryId, Kind, Label, Ledger, Look,
    MAX_BACKTRACES_PER_SITE, MAX_ESCALATED, MAX_LABEL_BYTES, MAX_OBSERVATIONS, Obligation,
    Observation, Patrol, Site, State, sites,
};

const SECOND: Duration = Duration::from_secs(1);

/// The only entry there is.
fn only(ledger: Ledger) -> Entry {
    let snapshot = ledger.snapshot();
    let [entry] = snapshot.entries() else { panic!("not one entry: {:?}", snapshot.entries()) };
    entry.clone()
}

/// The entry of an account that is open.
fn entry(account: &Account) -> Entry {
    account.ledger().entry(account.id()).expect("an open account has an entry")
}

/// Ids of the overdue entries, by a search that was awake.
fn overdue(ledger: Ledger) -> Vec<EntryId> {
    let snapshot = ledger.snapshot();
    let (entries, detector) = snapshot.overdue();
    assert_eq!(detector, Detector::Awake);
    entries.iter().map(|entry| entry.id()).collect()
}

/// Runs `f` on a thread that has ended, with its thread-locals, when this returns.
fn on_a_thread<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    thread::scope(|scope| scope.spawn(f).join()).expect("the thread does not panic")
}

// --- entries ---

#[test]
fn an_entry_lives_from_open_to_drop() {
    let ledger = Ledger::new();
    let account = ledger.open(Kind::FILE, Obligation::EndsWithParent);
    let line = line!() - 1;

    assert_eq!((ledger.live(), ledger.births(Kind::FILE)), (1, 1));
    assert!(ledger.is_live(account.id()));
    let seen = only(*ledger);
    assert_eq!((seen.id(), seen.kind(), seen.parent()), (account.id(), Kind::FILE, None));
    assert_eq!((seen.born_at().file(), seen.born_at().line()), (file!(), line));

    let id = account.id();
    drop(account);
    assert_eq!((ledger.live(), ledger.births(Kind::FILE)), (0, 1));
    assert!(!ledger.is_live(id) && ledger.entry(id).is_none());
    assert!(ledger.snapshot().entries().is_empty());
}

#[test]
fn an_entry_can_be_opened_for_another_line() {
    #[track_caller]
    fn wrapper(ledger: Ledger, parent: &Account) -> Account {
        let line = Location::caller();
        ledger.open_at(line, Kind::BODY, Obligation::EndsWithParent, Some(parent.id()))
    }
    let ledger = Ledger::new();
    let parent = ledger.open(Kind::CONNECTION, Obligation::EndsWithParent);
    let body = wrapper(*ledger, &parent);
    assert_eq!(entry(&body).born_at().line(), line!() - 1);
    assert_eq!(entry(&body).parent(), Some(parent.id()));
}

#[test]
fn ids_are_never_given_again() {
    let ledger = Ledger::new();
    let open = || ledger.open(Kind::OTHER, Obligation::EndsWithParent);
    let ids: HashSet<EntryId> = (0..1000).map(|_| open().id()).collect();
    assert_eq!(ids.len(), 1000, "one slot, a thousand tenants");

    let account = open();
    let id = account.id();
    assert_eq!(EntryId::from_number(id.number()), id);
    assert!(ids.iter().all(|old| !ledger.is_live(*old) && ledger.entry(*old).is_none()));
}

#[test]
fn numbers_that_are_no_ids_name_nothing() {
    let ledger = Ledger::new();
    drop(ledger.open(Kind::OTHER, Obligation::EndsWithParent));
    let account = ledger.open(Kind::OTHER, Obligation::EndsWithParent);
    let number = account.id().number();
    drop(account);
    // The slot's generation while it is free, a slot and a shard that never were, nonsense.
    let free = number + (1 << 32);
    for number in [free, number | 0x3F_FFFF, number | 0xFFC0_0000, 0, u64::MAX] {
        let id = EntryId::from_number(number);
        assert!(!ledger.is_live(id) && ledger.entry(id).is_none(), "{id}");
    }
}

#[test]
fn bytes_add_up_and_never_go_below_zero() {
    let ledger = Ledger::new();
    let buffer = ledger.open(Kind::BUFFER, Obligation::EndsWithParent);
    buffer.add_bytes(4096);
    buffer.add_bytes(1);
    buffer.sub_bytes(97);
    assert_eq!((entry(&buffer).bytes(), entry(&buffer).polls()), (4000, 0));
    buffer.sub_bytes(5000);
    assert_eq!(entry(&buffer).bytes(), 0);
    buffer.add_bytes(1500);
    assert_eq!(entry(&buffer).bytes(), 500, "the account stays exact");
}

#[test]
fn every_state_is_shown_and_found_by_its_name() {
    let ledger = Ledger::new();
    let account = ledger.open(Kind::STREAM, Obligation::EndsWithParent);
    assert_eq!(entry(&account).state(), State::Open);
    for state in State::ALL {
        account.set_state(state);
        assert_eq!((account.state(), entry(&account).state()), (state, state));
        assert_eq!(State::find(state.name()), Some(state));
    }
}

#[test]
fn a_task_counts_its_polls() {
    let ledger = Ledger::new();
    let task = ledger.open(Kind::TASK, Obligation::EndsWithParent);
    ledger.advance_clock(SECOND);
    for _ in 0..3 {
        assert_eq!(task.begin_poll(), ledger.now());
    }
    let seen = entry(&task);
    assert_eq!((seen.polls(), seen.bytes(), seen.state()), (3, 0, State::Running));
    assert_eq!((seen.age(), seen.without_progress()), (SECOND, Duration::ZERO));
}

#[test]
fn bytes_of_a_task_do_no_harm() {
    let ledger = Ledger::new();
    let task = ledger.open(Kind::TASK, Obligation::EndsWithParent);
    task.sub_bytes(1);
    task.begin_poll();
    assert_eq!((entry(&task).bytes(), entry(&task).polls()), (0, 0));
}

#[test]
fn an_entry_names_its_fd() {
    let ledger = Ledger::new();
    let account = ledger.open(Kind::FILE, Obligation::EndsWithParent);
    assert_eq!(entry(&account).fd(), None);
    account.set_fd(0);
    assert_eq!(entry(&account).fd(), Some(0));
    account.set_fd(i32::MAX);
    assert_eq!(entry(&account).fd(), Some(i32::MAX));
    account.set_fd(-1);
    assert_eq!(entry(&account).fd(), Some(i32::MAX), "no fd is negative");
}

#[test]
fn a_program_names_kinds_of_its_own() {
    let kind = Kind::user("ledger-test-session").unwrap();
    assert_eq!(Kind::find("ledger-test-session"), Some(kind));
    assert_eq!(Kind::user("connection").unwrap(), Kind::CONNECTION);
    assert!(Kind::all().any(|known| known == kind));

    let ledger = Ledger::new();
    let session = ledger.open(kind, Obligation::EndsWithParent);
    assert_eq!(entry(&session).kind().name(), "ledger-test-session");
    assert_eq!((ledger.births(kind), ledger.births(Kind::OTHER)), (1, 0));
}

// --- labels ---

#[test]
fn a_label_is_what_was_set_last() {
    let ledger = Ledger::new();
    let account = ledger.open(Kind::CONNECTION, Obligation::EndsWithParent);
    let text = |text: &str| Label::Text(text.into());
    let label = || entry(&account).label().clone();

    assert_eq!(label(), Label::None);
    account.label("GET /first");
    assert_eq!(label(), text("GET /first"));
    account.label("a shorter one");
    account.label("GET /a-longer-one");
    assert_eq!(label(), text("GET /a-longer-one"));
    account.peer("203.0.113.9:4711".parse().unwrap());
    assert_eq!(label(), Label::Peer("203.0.113.9:4711".parse().unwrap()));
    account.peer("[2001:db8::7]:4711".parse().unwrap());
    assert_eq!(label(), text("[2001:db8::7]:4711"));
    account.label("");
    assert_eq!(label(), Label::None);
}

#[test]
fn a_label_keeps_as_much_text_as_it_can() {
    let ledger = Ledger::new();
    let account = ledger.open(Kind::LEASE, Obligation::EndsWithParent);
    let kept = |text: &str| {
        account.label(text);
        entry(&account).label().to_string()
    };
    for length in [1, 7, 8, 9, MAX_LABEL_BYTES - 1, MAX_LABEL_BYTES] {
        let text = "x".repeat(length);
        assert_eq!(kept(&text), text);
    }
    let long = "SELECT ü".repeat(100);
    let cut = kept(&long);
    assert!(cut.len() <= MAX_LABEL_BYTES && cut.len() > MAX_LABEL_BYTES - 8, "{cut}");
    assert!(long.starts_with(cut.strip_suffix('…').expect("an ellipsis")), "{cut}");
}

#[test]
fn labels_go_with_their_entries() {
    let ledger = Ledger::new();
    for round in 0..100 {
        let labelled = ledger.open(Kind::BODY, Obligation::EndsWithParent);
        labelled.label(&format!("round {round}"));
        drop(labelled);
        let bare = ledger.open(Kind::BODY, Obligation::EndsWithParent);
        assert_eq!(*entry(&bare).label(), Label::None, "nothing of the last tenant's");
    }
}

// --- promises ---

#[test]
fn a_child_is_overdue_once_its_parent_is_gone() {
    let ledger = Ledger::new();
    let parent = ledger.open(Kind::SCOPE, Obligation::EndsWithParent);
    let child = parent.child(Kind::TASK, Obligation::EndsWithParent);
    let grandchild = child.child(Kind::LEASE, Obligation::EndsWithParent);
    assert_eq!(entry(&child).parent(), Some(parent.id()));
    assert!(!entry(&child).is_orphan());
    assert_eq!(overdue(*ledger), []);

    drop(parent);
    assert!(entry(&child).is_orphan() && !entry(&grandchild).is_orphan());
    assert_eq!(overdue(*ledger), [child.id()]);
    drop(child);
    assert_eq!(overdue(*ledger), [grandchild.id()]);
}

#[test]
fn the_next_tenant_of_a_parents_slot_is_not_the_parent() {
    let ledger = Ledger::new();
    let parent = ledger.open(Kind::SCOPE, Obligation::EndsWithParent);
    let child = parent.child(Kind::TASK, Obligation::EndsWithParent);
    drop(parent);
    let _stranger = ledger.open(Kind::SCOPE, Obligation::EndsWithParent);
    assert_eq!(overdue(*ledger), [child.id()]);
}

#[test]
fn an_entry_is_overdue_after_its_deadline() {
    let ledger = Ledger::new();
    ledger.advance_clock(Duration::ZERO);
    let after = ledger.open(Kind::LEASE, Obligation::EndsBy(Deadline::after(SECOND * 2)));
    let deadline = Deadline::at(Instant::now() + Duration::from_hours(1));
    let at = ledger.open(Kind::LEASE, Obligation::EndsBy(deadline));

    ledger.advance_clock(SECOND * 2);
    assert_eq!(overdue(*ledger), []);
    ledger.advance_clock(SECOND * 3);
    assert_eq!(overdue(*ledger), [after.id()]);
    assert_eq!(entry(&after).overdue_by(), Some(SECOND * 3));
    after.touch();
    assert_eq!(overdue(*ledger), [after.id()], "progress does not move a deadline");

    ledger.advance_clock(Duration::from_hours(1));
    assert_eq!(overdue(*ledger), [after.id(), at.id()], "the longest overdue comes first");
}

#[test]
fn an_entry_without_progress_is_overdue() {
    let ledger = Ledger::new();
    ledger.advance_clock(Duration::ZERO);
    let stream = ledger.open(Kind::STREAM, Obligation::ProgressWithin(SECOND * 10));
    for _ in 0..5 {
        ledger.advance_clock(SECOND * 10);
        assert_eq!(overdue(*ledger), []);
        stream.touch();
        assert_eq!(stream.progress(), ledger.now());
    }
    ledger.advance_clock(SECOND * 11);
    assert_eq!(entry(&stream).overdue_by(), Some(SECOND));
    assert_eq!(
        (entry(&stream).age(), entry(&stream).without_progress()),
        (SECOND * 61, SECOND * 11)
    );
    stream.touch();
    assert_eq!(overdue(*ledger), []);
}

#[test]
fn what_is_perpetual_is_never_overdue_and_says_why() {
    let ledger = Ledger::new();
    let listener = ledger.open(Kind::LISTENER, Obligation::Perpetual("serves until shutdown"));
    ledger.advance_clock(Duration::from_hours(365 * 24));
    assert_eq!(overdue(*ledger), []);
    let obligation = entry(&listener).obligation();
    assert_eq!(obligation, Obligation::Perpetual("serves until shutdown"));
    assert_eq!(obligation.to_string(), "perpetual: serves until shutdown");
}

#[test]
fn a_promise_can_change() {
    let ledger = Ledger::new();
    ledger.advance_clock(Duration::ZERO);
    let stream = ledger.open(Kind::STREAM, Obligation::EndsBy(Deadline::after(SECOND)));
    ledger.advance_clock(SECOND * 2);
    assert_eq!(overdue(*ledger), [stream.id()]);
    stream.set_obligation(Obligation::EndsBy(Deadline::after(SECOND)));
    assert_eq!(overdue(*ledger), [], "counted from the change");
    stream.set_obligation(Obligation::Perpetual("a stream of events"));
    ledger.advance_clock(SECOND * 60);
    assert_eq!(overdue(*ledger), []);
}

// --- snapshots ---

#[test]
fn groups_are_by_kind_line_and_state_the_largest_first() {
    let ledger = Ledger::new();
    ledger.advance_clock(Duration::ZERO);
    let open = |kind| ledger.open(kind, Obligation::ProgressWithin(SECOND));
    let mut bodies: Vec<Account> = (0..3).map(|_| open(Kind::BODY)).collect();
    ledger.advance_clock(SECOND * 3);
    bodies.extend((0..2).map(|_| open(Kind::BODY)));
    let _lease = open(Kind::LEASE);
    let elsewhere = ledger.open(Kind::BODY, Obligation::EndsWithParent);
    bodies[0].set_state(State::Write);
    bodies[1].touch();
    for body in &bodies {
        body.add_bytes(10);
    }

    let groups = ledger.snapshot().groups();
    let facts: Vec<_> = groups.iter().map(|group| (group.kind, group.state, group.count)).collect();
    assert_eq!(groups.len(), 4, "{groups:?}");
    assert_eq!(facts[0], (Kind::BODY, State::Open, 4));
    assert!(facts[1..].contains(&(Kind::BODY, State::Write, 1)), "{facts:?}");
    assert!(facts[1..].contains(&(Kind::LEASE, State::Open, 1)), "{facts:?}");
    let largest = &groups[0];
    assert_eq!((largest.bytes, largest.overdue), (40, 1));
    assert_eq!((largest.oldest, largest.stalest), (SECOND * 3, SECOND * 3));
    assert!(groups.iter().any(|group| group.born_at == entry(&elsewhere).born_at()));
}

#[test]
fn the_canary_is_found_by_every_search_and_seen_by_nobody() {
    let ledger = Ledger::new();
    assert_eq!(overdue(*ledger), [], "awake from the first moment on, and nothing else to find");
    assert_eq!((ledger.live(), ledger.births(Kind::OTHER)), (0, 0));
    let snapshot = ledger.snapshot();
    assert!(snapshot.entries().is_empty() && snapshot.groups().is_empty());
    assert_eq!((snapshot.unrecorded(), ledger.unrecorded()), (0, 0));
}

#[test]
fn a_snapshot_stays_as_it_was_taken() {
    let ledger = Ledger::new();
    let account = ledger.open(Kind::BODY, Obligation::EndsWithParent);
    account.add_bytes(1);
    let snapshot = ledger.snapshot();
    account.add_bytes(1);
    drop(account);
    assert_eq!(snapshot.entries()[0].bytes(), 1);
    assert!(snapshot.taken() <= ledger.now());
}

// --- escalation ---

#[test]
fn an_escalated_site_records_the_backtrace_of_each_birth() {
    let ledger = Ledger::new();
    let open = || ledger.open(Kind::LEASE, Obligation::EndsWithParent);
    let line = line!() - 1;
    let first = open();
    let site: &Site = sites()
        .find(|site| site.location().file() == file!() && site.location().line() == line)
        .expect("a line that opened an entry is a site");
    assert!(!site.is_escalated() && site.backtraces().is_empty(), "presence is free");

    site.escalate();
    site.escalate();
    let later: Vec<Account> = (0..=MAX_BACKTRACES_PER_SITE).map(|_| open()).collect();
    let backtraces = site.backtraces();
    let recorded: Vec<EntryId> = backtraces.iter().map(|(id, _)| *id).collect();
    let latest: Vec<EntryId> = later[1..].iter().map(Account::id).collect();
    assert_eq!(recorded, latest, "the latest births, not {first:?}");
    let frames = backtraces[0].1.to_string();
    assert!(frames.contains("an_escalated_site_records"), "{frames}");
    assert_eq!(entry(&first).site().location(), site.location());

    site.calm();
    drop(open());
    assert!(!site.is_escalated() && site.backtraces().is_empty());
}

// --- observations ---

#[test]
fn the_latest_observations_are_kept_and_all_are_counted() {
    let ledger = Ledger::new();
    let observe = |rule, text: String| {
        let born_at = Location::caller();
        ledger.observe(Observation { rule, kind: Kind::TASK, born_at, text, at: ledger.now() });
    };
    assert!(ledger.observations().is_empty());
    observe("forced", "cut after 10 s".into());
    for number in 0..MAX_OBSERVATIONS + 5 {
        observe("blocked-worker", format!("poll {number}"));
    }
    let kept = ledger.observations();
    assert_eq!(kept.len(), MAX_OBSERVATIONS);
    assert_eq!((kept[0].text.as_str(), kept[0].rule), ("poll 5", "blocked-worker"));
    assert!(kept[0].to_string().starts_with("blocked-worker: task born at "), "{}", kept[0]);
    let counts = ledger.observation_counts();
    assert_eq!(counts, [("forced", 1), ("blocked-worker", MAX_OBSERVATIONS as u64 + 5)]);
}

// --- the current ledger ---

#[test]
fn the_current_ledger_is_the_one_entered_last() {
    assert_eq!(Ledger::current(), Ledger::global());
    let (outer, inner) = (Ledger::new(), Ledger::new());
    assert_ne!(*outer, *inner);
    {
        let _outer = outer.enter();
        assert_eq!(Ledger::current(), *outer);
        {
            let _inner = inner.enter();
            assert_eq!(Ledger::current(), *inner);
            assert_eq!(on_a_thread(Ledger::current), Ledger::global(), "of this thread only");
        }
        assert_eq!(Ledger::current(), *outer);
        let account = Ledger::current().open(Kind::OTHER, Obligation::EndsWithParent);
        assert_eq!((account.ledger(), inner.live()), (*outer, 0));
    }
    assert_eq!(Ledger::current(), Ledger::global());
}

#[test]
fn a_thread_works_on_two_ledgers_at_once() {
    let ledgers = [Ledger::new(), Ledger::new()];
    let accounts: Vec<Account> =
        (0..100).map(|n| ledgers[n % 2].open(Kind::BODY, Obligation::EndsWithParent)).collect();
    assert_eq!(ledgers.each_ref().map(|ledger| ledger.live()), [50, 50]);
    drop(accounts);
    assert_eq!(ledgers.each_ref().map(|ledger| ledger.live()), [0, 0]);
}

// --- threads ---

#[test]
fn an_account_can_end_on_any_thread() {
    let ledger = Ledger::new();
    for round in 0..50_u64 {
        let accounts: Vec<Account> = (0..100)
            .map(|_| ledger.open(Kind::LEASE, Obligation::EndsWithParent))
            .inspect(|account| account.label("ends elsewhere"))
            .collect();
        on_a_thread(move || drop(accounts));
        assert_eq!((ledger.live(), ledger.births(Kind::LEASE)), (0, (round + 1) * 100));
    }
    let reused = ledger.open(Kind::LEASE, Obligation::EndsWithParent);
    assert!(place(reused.id()).1 < 128, "{reused:?}: freed slots come back");
}

#[test]
fn an_account_outlives_the_thread_that_opened_it() {
    let owned = Ledger::new();
    let ledger = *owned;
    let open = || ledger.open(Kind::TASK, Obligation::EndsWithParent);
    let left = on_a_thread(open);
    let next = on_a_thread(open);
    assert_ne!(left.id(), next.id());
    left.label("of a thread that is gone");
    assert_eq!(ledger.live(), 2);
    drop((left, next));
    assert_eq!(ledger.live(), 0);
}

#[test]
fn accounts_may_end_and_begin_while_a_thread_ends() {
    /// Opens, labels and closes as its thread ends; the ledger's own thread-locals may be gone.
    struct Last(Ledger, #[expect(dead_code, reason = "held for its drop")] Account);
    impl Drop for Last {
        fn drop(&mut self) {
            let late = self.0.open(Kind::OTHER, Obligation::EndsWithParent);
            late.label("born in a thread-local's destructor");
            assert_eq!(
                self.0.entry(late.id()).expect("it lives").label(),
                &Label::Text("born in a thread-local's destructor".into())
            );
        }
    }
    thread_local! {
        static KEPT: RefCell<Option<Last>> = const { RefCell::new(None) };
    }
    let ledger = Ledger::new();
    // Destructors run in the order of first use, or in reverse: try both.
    for keep_first in [true, false] {
        let ledger = *ledger;
        on_a_thread(move || {
            let open = || Last(ledger, ledger.open(Kind::OTHER, Obligation::EndsWithParent));
            if keep_first {
                KEPT.with_borrow_mut(|kept| *kept = Some(open()));
            } else {
                let last = open();
                KEPT.set(Some(last));
            }
        });
        assert_eq!(ledger.live(), 0);
    }
    assert_eq!(ledger.unrecorded(), 0);
    assert_eq!(ledger.births(Kind::OTHER), 2 * 2, "two a thread");
}

#[test]
fn threads_that_come_and_go_share_shards() {
    let owned = Ledger::new();
    let ledger = *owned;
    let open = || ledger.open(Kind::TASK, Obligation::EndsWithParent).id();
    let shards: HashSet<u32> = (0..3000).map(|_| place(on_a_thread(open)).0).collect();
    assert!(shards.len() <= 3, "{shards:?}");
    assert_eq!((ledger.births(Kind::TASK), ledger.unrecorded(), ledger.live()), (3000, 0, 0));
}

#[test]
fn births_beyond_the_last_shard_work_and_are_counted() {
    const THREADS: usize = 1040;
    let owned = Ledger::new();
    let ledger = *owned;
    let barrier = Barrier::new(THREADS);
    let live = thread::scope(|scope| {
        let work = || {
            let account = ledger.open(Kind::TASK, Obligation::EndsWithParent);
            account.label("perhaps unrecorded");
            account.add_bytes(1);
            account.touch();
            account.begin_poll();
            let child = account.child(Kind::BODY, Obligation::EndsWithParent);
            barrier.wait();
            let live = ledger.live();
            barrier.wait();
            drop(child);
            live
        };
        let spawn = |_| thread::Builder::new().stack_size(128 << 10).spawn_scoped(scope, work);
        let threads: Vec<_> = (0..THREADS).map(|n| spawn(n).expect("a thread")).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).max()
    });
    let unrecorded = ledger.unrecorded();
    assert!(unrecorded >= 2 * (THREADS as u64 - 1024), "{unrecorded}");
    assert_eq!(live.map(|live| live as u64), Some(2 * THREADS as u64 - unrecorded));
    assert_eq!((ledger.snapshot().unrecorded(), ledger.live()), (unrecorded, 0));
    assert_eq!(overdue(ledger), []);
}

/// The shard and the index of a slot, as its id shows them.
fn place(id: EntryId) -> (u32, u32) {
    let text = id.to_string();
    let parts: Vec<u32> = text.split('.').filter_map(|part| part.parse().ok()).collect();
    (parts[0], parts[1])
}

// --- patrol ---

/// A patrol and a site of its own, whose entries are promised to make progress every second.
fn patrolled(ledger: Ledger) -> (Patrol, Box<dyn Fn() -> Account>) {
    let open = move || ledger.open(Kind::LEASE, Obligation::ProgressWithin(SECOND));
    (Patrol::new(ledger), Box::new(open))
}

/// Time passes, and the patrol looks.
fn look_after(ledger: Ledger, patrol: &mut Patrol, time: Duration) -> Look {
    ledger.advance_clock(time);
    let look = patrol.look();
    assert_eq!(look.detector, Detector::Awake);
    look
}

#[test]
fn a_patrol_suspects_who_is_overdue_at_two_looks_in_a_row() {
    let ledger = Ledger::new();
    let (mut patrol, open) = patrolled(*ledger);
    let [slow, leaked] = [open(), open()];
    let late = look_after(*ledger, &mut patrol, SECOND * 3 / 2);
    assert!(late.suspects.is_empty(), "perhaps only late: {late:?}");
    slow.touch();

    let look = look_after(*ledger, &mut patrol, SECOND / 2);
    let [suspicion] = &look.suspects[..] else { panic!("{look:?}") };
    let site = entry(&leaked).site();
    assert_eq!((suspicion.site, suspicion.count, suspicion.worst.id()), (site, 1, leaked.id()));
    let text = suspicion.to_string();
    for part in ["lease born at", "ledger.rs", "1 overdue, the worst by 1s", "progress within 1s"] {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
    assert_eq!(ledger.observation_counts(), [("overdue", 1)]);
    assert_eq!(ledger.observations()[0].born_at, site.location());

    let again = look_after(*ledger, &mut patrol, SECOND);
    assert!(again.suspects.is_empty(), "it was told once: {again:?}");
    assert_eq!(ledger.observation_counts(), [("overdue", 1)]);
}

/// Neither how long it was idle before its owner ended nor how busy it is since counts.
#[test]
fn an_orphan_is_suspected_at_its_second_look() {
    let ledger = Ledger::new();
    let mut patrol = Patrol::new(*ledger);
    let owner = ledger.open(Kind::SCOPE, Obligation::EndsWithParent);
    let orphan = owner.child(Kind::TASK, Obligation::EndsWithParent);
    look_after(*ledger, &mut patrol, SECOND * 3600);
    drop(owner);
    let first = look_after(*ledger, &mut patrol, SECOND);
    assert!(first.suspects.is_empty(), "perhaps it is just about to end: {first:?}");
    orphan.touch();
    ledger.advance_clock(SECOND);
    orphan.touch();
    let second = patrol.look();
    let [suspicion] = &second.suspects[..] else { panic!("{second:?}") };
    assert_eq!(suspicion.worst.id(), orphan.id());
}

#[test]
fn every_suspect_is_told_and_only_so_many_are_escalated() {
    #[track_caller]
    fn lease(ledger: Ledger) -> Account {
        ledger.open(Kind::LEASE, Obligation::ProgressWithin(SECOND))
    }
    let ledger = Ledger::new();
    let l = *ledger;
    let mut patrol = Patrol::new(l);
    let leaked = [
        lease(l),
        lease(l),
        lease(l),
        lease(l),
        lease(l),
        lease(l),
        lease(l),
        lease(l),
        lease(l),
        lease(l),
        lease(l),
        lease(l),
        lease(l),
        lease(l),
        lease(l),
        lease(l),
        lease(l),
        lease(l),
        lease(l),
        lease(l),
        lease(l),
        lease(l),
        lease(l),
        lease(l),
        lease(l),
        lease(l),
        lease(l),
        lease(l),
        lease(l),
        lease(l),
        lease(l),
        lease(l),
        lease(l),
        lease(l),
    ]; // each at a column of its own
    look_after(*ledger, &mut patrol, SECOND * 2);
    let look = look_after(*ledger, &mut patrol, SECOND);
    assert_eq!(look.suspects.len(), leaked.len());
    assert_eq!(ledger.observation_counts(), [("overdue", leaked.len() as u64)]);
    let escalated = look.suspects.iter().filter(|suspicion| suspicion.site.is_escalated());
    assert_eq!(escalated.count(), MAX_ESCALATED);
    assert!(look_after(*ledger, &mut patrol, SECOND).suspects.is_empty(), "each is told once");
}

#[test]
fn a_suspected_site_records_backtraces_until_it_has_been_clean_for_a_while() {
    let ledger = Ledger::new();
    let (mut patrol, open) = patrolled(*ledger);
    let leaked = open();
    let site = entry(&leaked).site();
    look_after(*ledger, &mut patrol, SECOND * 2);
    look_after(*ledger, &mut patrol, SECOND * 2);
    assert!(site.is_escalated());
    let caught = open();
    assert_eq!(site.backtraces()[0].0, caught.id());

    drop((leaked, caught));
    let looks = (1..20).find(|_| {
        let calmed = look_after(*ledger, &mut patrol, SECOND).calmed;
        assert!(calmed.is_empty() || calmed == [site]);
        !calmed.is_empty()
    });
    assert_eq!(looks, Some(6));
    assert!(!site.is_escalated() && site.backtraces().is_empty());
}

#[test]
fn a_patrol_that_ends_leaves_escalated_only_what_others_did() {
    let ledger = Ledger::new();
    let ours = ledger.open(Kind::LEASE, Obligation::ProgressWithin(SECOND));
    let other = ledger.open(Kind::LEASE, Obligation::ProgressWithin(SECOND));
    let (by_us, by_others) = (entry(&ours).site(), entry(&other).site());
    assert!(by_others.escalate() && !by_others.escalate());
    let mut patrol = Patrol::new(*ledger);
    look_after(*ledger, &mut patrol, SECOND * 2);
    assert_eq!(look_after(*ledger, &mut patrol, SECOND * 2).suspects.len(), 2);
    assert!(by_us.is_escalated() && by_others.is_escalated());
    drop(patrol);
    assert!(!by_us.is_escalated() && by_others.is_escalated());
    by_others.calm();
}

#[test]
fn a_new_promise_to_make_progress_counts_from_now_on() {
    let ledger = Ledger::new();
    let account = ledger.open(Kind::STREAM, Obligation::EndsWithParent);
    ledger.advance_clock(SECOND * 10);
    account.set_obligation(Obligation::ProgressWithin(SECOND));
    assert_eq!(overdue(*ledger), []);
    ledger.advance_clock(SECOND * 2);
    assert_eq!(overdue(*ledger), [account.id()]);
}
