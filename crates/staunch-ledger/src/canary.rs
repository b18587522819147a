//! One deliberate leak per ledger, to prove that whoever looks for leaks is awake.
//!
//! The canary is an ordinary entry with a deadline before its birth, so the rule that finds overdue
//! entries must find it, by the same path as any other. It carries a flag that keeps it off the
//! user's counts. A diagnosis that does not find it is not worth its silence: its detector is
//! broken, and it says so ([`Detector`](crate::Detector)).

use std::panic::Location;

use crate::{
    kind::Kind,
    ledger::{EntryId, Ledger},
    obligation::{Deadline, Obligation},
    slot::{HIDDEN, Record},
};

pub(crate) fn hide(ledger: Ledger) -> EntryId {
    let account = ledger.open_flagged(
        Location::caller(),
        Kind::OTHER,
        Obligation::EndsBy(Deadline::PASSED),
        None,
        HIDDEN,
    );
    account.label("staunch's canary: a leak on purpose");
    let id = account.id();
    #[expect(clippy::disallowed_methods, reason = "the one leak there is meant to be")]
    std::mem::forget(account);
    id
}

pub(crate) fn is_hidden(record: &Record) -> bool {
    record.flags & HIDDEN != 0
}
