//! Deliberate leaks, hidden on every ledger, to prove that whoever looks for leaks is awake.
//!
//! A canary is an ordinary entry that has broken its promise since before its birth, one for each
//! promise that can be broken, so the rule that finds overdue entries must find all of them, by
//! the same path as any other. They carry a flag that keeps them off the user's counts. A
//! diagnosis that misses one is not worth its silence: its detector is broken, and it says so
//! ([`Detector`](crate::Detector)).

use std::{panic::Location, time::Duration};

use crate::{
    account::Account,
    clock::Stamp,
    kind::Kind,
    ledger::{EntryId, Ledger},
    obligation::{Deadline, Obligation},
    slot::{HIDDEN, Record},
};

/// How many a ledger hides.
pub(crate) const COUNT: usize = 3;

pub(crate) fn hide(ledger: Ledger) {
    // The first canary takes the slot of the entry it is an orphan of, and keeps it for good: no
    // later entry can have the parent's id.
    let parent = open(ledger, Obligation::EndsWithParent, None).id();
    let canaries: [Account; COUNT] = [
        open(ledger, Obligation::EndsWithParent, Some(parent)),
        open(ledger, Obligation::EndsBy(Deadline::PASSED), None),
        open(ledger, Obligation::ProgressWithin(Duration::ZERO), None),
    ];
    #[expect(clippy::disallowed_methods, reason = "the only leaks there are meant to be")]
    canaries.into_iter().for_each(std::mem::forget);
}

fn open(ledger: Ledger, obligation: Obligation, parent: Option<EntryId>) -> Account {
    let account = ledger.open_flagged(Location::caller(), Kind::OTHER, obligation, parent, HIDDEN);
    account.label("staunch's canary: a leak on purpose");
    account.touch_at(Stamp(0));
    account
}

pub(crate) fn is_hidden(record: &Record) -> bool {
    record.flags & HIDDEN != 0
}
