//! The pool, against a manager that does what the test says.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod abandoning;
mod cancelling;
mod keeping;
mod keyed;
mod keyed_room;
mod keyed_schedules;
mod leasing;
mod manager;
mod schedules;
mod troubled_schedules;
