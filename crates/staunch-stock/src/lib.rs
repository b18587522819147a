//! A bounded stock of things that tasks take and give back: connections, buffers.
//!
//! What is idle lies on shelves, one for each thread, so that two threads do not write the same
//! line of memory for each loan; a thread whose shelf is empty takes from the others. Who finds
//! nothing anywhere stands in one line, and is served in its turn: while the sign says that there
//! is a line, what comes back is handed to whoever waits for longest, and nobody else takes
//! anything. Only who had read the sign just before it went up may still take one thing.
//!
//! Pure: nothing is made or ended here, no clock is read, and wakers are handed to the caller, to
//! be woken after the locks are released.
//!
//! # What holds
//! 1. Things that are idle or lent, and places for new ones, are never more than
//!    [`most`](Limits::most).
//! 2. While somebody stands in line, nothing is idle but for the moment in which it is handed over,
//!    and no place is free but those that were [kept back](Stock::keep_place_back): then something is
//!    lent, or a place.
//! 3. Whoever stands first in line has looked at every shelf after hanging out the sign, and
//!    whoever puts something on a shelf looks at the sign after that. Both go through the shelf's
//!    lock, so one of them sees the other.
//! 4. A lock of a shelf or a turn is the last that is taken; the desk's may be held meanwhile. Who
//!    locks all shelves does so in their order, and holds no other shelf's.
//!
//! Checked by loom models (`tests/loom.rs` says how to run them) and, through the pool that is
//! built on it, by random schedules against a list.

mod line;
mod shelf;
mod stock;
mod sync;

pub use crate::{
    line::{Answer, Turn},
    stock::{Ask, Count, Given, Grant, Limits, Order, Settled, Stock},
};

/// For models: which shelf this thread uses.
#[cfg(loom)]
pub fn sit_at_shelf(number: usize) {
    sync::NUMBER.with(|own| own.set(number));
}
