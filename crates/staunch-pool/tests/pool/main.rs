//! The pool, against a manager that does what the test says.

mod abandoning;
mod cancelling;
mod keeping;
mod leasing;
mod manager;
mod schedules;
