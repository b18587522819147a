//! Memory follows the entries that live at once, not those that were ever born. Alone in its
//! binary: it measures the process.
#![cfg(not(loom))]

use std::{
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use staunch_kernel::Process;
use staunch_ledger::{Account, Kind, Ledger, Obligation};

/// 10^8 where it counts. Unoptimized, a hundredth of that takes as long.
const BIRTHS: u64 = if cfg!(debug_assertions) { 1_000_000 } else { 100_000_000 };

/// Entries on their way from the thread of their birth to that of their death.
const ON_THE_WAY_MAX: usize = 1024;

#[test]
fn memory_is_flat_however_many_are_born() {
    let ledger = Ledger::new();
    churn(*ledger, BIRTHS / 100);
    let early = rss_bytes();
    churn(*ledger, BIRTHS - BIRTHS / 100);
    let late = rss_bytes();

    assert_eq!((ledger.births(Kind::BODY), ledger.live(), ledger.unrecorded()), (BIRTHS, 0, 0));
    let growth = late.saturating_sub(early);
    assert!(growth < 1 << 20, "{early} bytes after 1 % of the births, {late} after all");
}

/// Two threads give birth. Every fourth entry ends on the other thread, every 16th has a text.
fn churn(ledger: Ledger, births: u64) {
    let (to_left, from_right) = sync_channel(ON_THE_WAY_MAX);
    let (to_right, from_left) = sync_channel(ON_THE_WAY_MAX);
    thread::scope(|scope| {
        let left = scope.spawn(move || live_and_die(ledger, births / 2, &to_right, &from_right));
        live_and_die(ledger, births - births / 2, &to_left, &from_left);
        left.join().expect("no panic");
    });
}

fn live_and_die(
    ledger: Ledger,
    births: u64,
    outbox: &SyncSender<Account>,
    inbox: &Receiver<Account>,
) {
    for n in 0..births {
        let account = ledger.open(Kind::BODY, Obligation::EndsWithParent);
        if n % 16 == 0 {
            account.label("GET /some/route");
        }
        if n % 4 == 0 {
            // Ends here if too many are on their way, or the other thread is done.
            drop(outbox.try_send(account));
            drop(inbox.try_recv());
        }
    }
}

fn rss_bytes() -> u64 {
    let status = Process::current().status().expect("/proc/self/status");
    status.rss_bytes.expect("a process has memory")
}
