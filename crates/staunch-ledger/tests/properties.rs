//! Whatever is done to accounts, on whatever thread: afterwards the ledger shows exactly what a
//! plain map would hold.
#![cfg(not(loom))]

use std::{collections::HashMap, net::SocketAddr, thread, time::Duration};

use proptest::prelude::*;
use staunch_ledger::{
    Account, Deadline, Detector, Entry, EntryId, Kind, Label, Ledger, Obligation, State,
};

/// What a thread does. The number picks one of the accounts it holds, modulo their count.
#[derive(Clone, Debug)]
enum Step {
    Open(Kind, Promise),
    Child(usize, Kind, Promise),
    Change(usize, Change),
    Close(usize),
}

#[derive(Clone, Debug)]
enum Change {
    Label(String),
    Peer(SocketAddr),
    AddBytes(u32),
    SubBytes(u32),
    Touch,
    BeginPoll,
    State(State),
    Fd(i32),
    Promise(Promise),
}

#[derive(Clone, Copy, Debug)]
enum Promise {
    EndsWithParent,
    EndsAfter(Duration),
    ProgressWithin(Duration),
    Perpetual(&'static str),
}

/// What each thread does between two ticks of the clock.
type Round = Vec<Vec<Step>>;

/// What a thread holds: accounts, and what the ledger should show for each.
type Held = Vec<(Account, Model)>;

/// An entry as a plain value; times count from the start of the test.
#[derive(Debug)]
struct Model {
    kind: Kind,
    parent: Option<EntryId>,
    born: Duration,
    progress: Duration,
    promise: Promise,
    promised: Duration,
    amount: i64,
    label: Label,
    state: State,
    fd: Option<i32>,
}

const TICK: Duration = Duration::from_secs(1);

proptest! {
    #[test]
    fn a_ledger_shows_what_a_map_would_hold(rounds in rounds()) {
        let ledger = Ledger::new();
        ledger.advance_clock(Duration::ZERO);
        let mut held = vec![Held::new(), Held::new(), Held::new()];
        let mut now = Duration::ZERO;
        for round in rounds {
            held = do_round(*ledger, now, held, round);
            check(*ledger, now, &held);
            ledger.advance_clock(TICK);
            now += TICK;
            check(*ledger, now, &held);
            held.rotate_left(1); // the next round goes on with what other threads began
        }
        held.clear();
        check(*ledger, now, &held);
    }
}

fn rounds() -> impl Strategy<Value = Vec<Round>> {
    let steps = prop::collection::vec(step(), 0..40);
    prop::collection::vec(prop::collection::vec(steps, 3), 1..4)
}

fn step() -> impl Strategy<Value = Step> {
    let n = any::<usize>;
    prop_oneof![
        2 => (kind(), promise()).prop_map(|(kind, promise)| Step::Open(kind, promise)),
        1 => (n(), kind(), promise()).prop_map(|(n, kind, promise)| Step::Child(n, kind, promise)),
        4 => (n(), change()).prop_map(|(n, change)| Step::Change(n, change)),
        2 => n().prop_map(Step::Close),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        "\\PC{0,40}".prop_map(Change::Label),
        any::<([u8; 4], u16)>().prop_map(|peer| Change::Peer(peer.into())),
        any::<([u16; 8], u16)>().prop_map(|peer| Change::Peer(peer.into())),
        any::<u32>().prop_map(Change::AddBytes),
        any::<u32>().prop_map(Change::SubBytes),
        Just(Change::Touch),
        Just(Change::BeginPoll),
        prop::sample::select(&State::ALL[..]).prop_map(Change::State),
        (0..=i32::MAX).prop_map(Change::Fd),
        promise().prop_map(Change::Promise),
    ]
}

fn kind() -> impl Strategy<Value = Kind> {
    prop::sample::select(&[Kind::CONNECTION, Kind::TASK, Kind::BODY][..])
}

fn promise() -> impl Strategy<Value = Promise> {
    let delay = || (0..3_000_u64).prop_map(Duration::from_millis);
    prop_oneof![
        Just(Promise::EndsWithParent),
        delay().prop_map(Promise::EndsAfter),
        delay().prop_map(Promise::ProgressWithin),
        prop::sample::select(&["one reason", "another reason"][..]).prop_map(Promise::Perpetual),
    ]
}

/// Runs each thread's steps on what it holds.
fn do_round(ledger: Ledger, now: Duration, held: Vec<Held>, round: Round) -> Vec<Held> {
    thread::scope(|scope| {
        let work = |(mut held, steps): (Held, Vec<Step>)| {
            scope.spawn(move || {
                for step in steps {
                    do_step(ledger, now, &mut held, step);
                }
                held
            })
        };
        let threads: Vec<_> = held.into_iter().zip(round).map(work).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    })
}

/// Does a step to the ledger and to the model.
fn do_step(ledger: Ledger, now: Duration, held: &mut Held, step: Step) {
    let count = held.len();
    match step {
        Step::Open(kind, promise) => {
            let account = ledger.open(kind, promise.obligation());
            held.push((account, Model::new(kind, None, promise, now)));
        }
        Step::Child(n, kind, promise) if count > 0 => {
            let parent = &held[n % count].0;
            let model = Model::new(kind, Some(parent.id()), promise, now);
            let account = parent.child(kind, promise.obligation());
            held.push((account, model));
        }
        Step::Change(n, change) if count > 0 => {
            let (account, model) = &mut held[n % count];
            change.make_on(account);
            model.make(change, now);
        }
        Step::Close(n) if count > 0 => drop(held.swap_remove(n % count)),
        Step::Child(..) | Step::Change(..) | Step::Close(_) => {}
    }
}

/// The ledger shows what the models say, and nothing else.
fn check(ledger: Ledger, now: Duration, held: &[Held]) {
    let models: HashMap<EntryId, &Model> =
        held.iter().flatten().map(|(account, model)| (account.id(), model)).collect();
    let snapshot = ledger.snapshot();
    assert_eq!(snapshot.entries().len(), models.len());
    assert_eq!(ledger.live(), models.len());
    for entry in snapshot.entries() {
        let model = models.get(&entry.id()).expect("an entry without an account");
        let orphan = model.parent.is_some_and(|parent| !models.contains_key(&parent));
        model.check(entry, now, orphan);
    }
    let (overdue, detector) = snapshot.overdue();
    let broken = snapshot.entries().iter().filter(|entry| entry.overdue_by().is_some());
    assert_eq!((overdue.len(), detector), (broken.count(), Detector::Awake));
}

impl Promise {
    fn obligation(self) -> Obligation {
        match self {
            Promise::EndsWithParent => Obligation::EndsWithParent,
            Promise::EndsAfter(delay) => Obligation::EndsBy(Deadline::after(delay)),
            Promise::ProgressWithin(limit) => Obligation::ProgressWithin(limit),
            Promise::Perpetual(reason) => Obligation::Perpetual(reason),
        }
    }
}

impl Change {
    fn make_on(&self, account: &Account) {
        match self {
            Change::Label(text) => account.label(text),
            Change::Peer(peer) => account.peer(*peer),
            Change::AddBytes(bytes) => account.add_bytes(u64::from(*bytes)),
            Change::SubBytes(bytes) => account.sub_bytes(u64::from(*bytes)),
            Change::Touch => account.touch(),
            Change::BeginPoll => drop(account.begin_poll()),
            Change::State(state) => account.set_state(*state),
            Change::Fd(fd) => account.set_fd(*fd),
            Change::Promise(promise) => account.set_obligation(promise.obligation()),
        }
    }
}

impl Model {
    fn new(kind: Kind, parent: Option<EntryId>, promise: Promise, now: Duration) -> Model {
        Model {
            kind,
            parent,
            born: now,
            progress: now,
            promise,
            promised: now,
            amount: 0,
            label: Label::None,
            state: State::Open,
            fd: None,
        }
    }

    fn make(&mut self, change: Change, now: Duration) {
        match change {
            Change::Label(text) if text.is_empty() => self.label = Label::None,
            Change::Label(text) => self.label = Label::Text(text.into()),
            Change::Peer(SocketAddr::V4(peer)) => self.label = Label::Peer(peer),
            Change::Peer(peer) => self.label = Label::Text(peer.to_string().into()),
            Change::AddBytes(bytes) => self.amount += i64::from(bytes),
            Change::SubBytes(bytes) => self.amount -= i64::from(bytes),
            Change::Touch => self.progress = now,
            Change::BeginPoll => {
                self.amount += 1;
                self.progress = now;
                self.state = State::Running;
            }
            Change::State(state) => self.state = state,
            Change::Fd(fd) => self.fd = Some(fd),
            Change::Promise(promise) => {
                (self.promise, self.promised) = (promise, now);
                if matches!(promise, Promise::ProgressWithin(_)) {
                    self.progress = now;
                }
            }
        }
    }

    fn check(&self, entry: &Entry, now: Duration, orphan: bool) {
        assert_eq!(
            (entry.kind(), entry.parent(), entry.is_orphan(), entry.state(), entry.fd()),
            (self.kind, self.parent, orphan, self.state, self.fd),
        );
        assert_eq!(
            (entry.age(), entry.without_progress(), entry.overdue_by()),
            (now.abs_diff(self.born), now.abs_diff(self.progress), self.overdue_by(now, orphan)),
        );
        let (bytes, polls) = match self.kind {
            Kind::TASK => (0, self.amount.cast_unsigned()),
            _ => (self.amount.max(0).cast_unsigned(), 0),
        };
        assert_eq!((entry.bytes(), entry.polls()), (bytes, polls));
        assert_eq!(*entry.label(), self.label);
        if !matches!(self.promise, Promise::EndsAfter(_)) {
            assert_eq!(entry.obligation(), self.promise.obligation());
        }
    }

    fn overdue_by(&self, now: Duration, orphan: bool) -> Option<Duration> {
        let late = match self.promise {
            Promise::EndsWithParent => return orphan.then(|| now.abs_diff(self.progress)),
            Promise::EndsAfter(delay) => now.checked_sub(self.promised + delay),
            Promise::ProgressWithin(limit) => now.checked_sub(self.progress + limit),
            Promise::Perpetual(_) => None,
        };
        late.filter(|late| !late.is_zero())
    }
}
