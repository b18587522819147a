//! The pool, against a manager that does what the test says.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may fail as tests do")]

mod abandoning;
mod cancelling;
mod keeping;
mod keyed;
mod keyed_room;
mod keyed_schedules;
mod leasing;
mod manager;
mod outages;
mod schedules;
mod troubled_schedules;
