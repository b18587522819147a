//! What all ledgers of a process share. Alone in its binary, so that nobody else's ledgers and
//! kinds come between.
#![cfg(not(loom))]

use std::time::Duration;

use staunch_ledger::{Detector, Kind, Ledger, Obligation, Observation};

#[test]
fn a_ledger_is_used_again_once_it_is_empty() {
    let first = Ledger::new();
    let handle = *first;
    let left = first.open(Kind::BODY, Obligation::ProgressWithin(Duration::from_secs(1)));
    drop(first);
    assert_ne!(*Ledger::new(), handle, "an entry lives in it");

    handle.advance_clock(Duration::from_hours(1));
    let born_at = std::panic::Location::caller();
    let text = "a leftover of the last owner".to_owned();
    handle.observe(Observation { rule: "test", kind: Kind::BODY, born_at, text, at: handle.now() });
    let stale = left.id();
    drop(left);

    let both = [Ledger::new(), Ledger::new()];
    let again = both.iter().find(|ledger| ***ledger == handle).expect("it is empty now");
    assert_eq!((again.live(), again.births(Kind::BODY), again.unrecorded()), (0, 0, 0));
    assert!(again.observations().is_empty() && again.observation_counts().is_empty());
    assert!(again.now().since(Ledger::global().now()) < Duration::from_mins(1), "the real clock");
    let snapshot = again.snapshot();
    let (overdue, detector) = snapshot.overdue();
    assert_eq!((overdue.len(), detector), (0, Detector::Awake));
    let next = again.open(Kind::BODY, Obligation::EndsWithParent);
    assert!(!again.is_live(stale) && next.id() != stale, "ids go on");
}

#[test]
fn a_process_has_room_for_64_kinds() {
    let names = (0..64).map(|n| &*format!("kind-{n}").leak());
    let built_in = Kind::all().count();
    let (registered, refused): (Vec<_>, Vec<_>) = names.map(Kind::user).partition(Result::is_ok);
    assert_eq!((registered.len(), refused.len()), (64 - built_in, built_in));

    let error = refused.into_iter().find_map(Result::err).expect("one was refused");
    assert!(error.to_string().contains("at most 64 kinds"), "{error}");
    assert!(Kind::user("kind-0").is_ok(), "known names stay known");

    let ledger = Ledger::global();
    let last = registered.into_iter().flatten().last().expect("one was registered");
    let _account = ledger.open(last, Obligation::EndsWithParent);
    assert_eq!((ledger.births(last), Kind::all().count()), (1, 64));
}
