//! The one door to atomics and thread-locals, so that loom can stand in for them.
//!
//! Only what a model must see goes through here: slots, free lists and the claim of a shard by
//! a thread. Tables that are process-wide and append-only (sites, reasons, kinds) use `std`
//! directly: they outlive a model's iteration, which loom's types may not.

#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering, fence};
#[cfg(not(loom))]
pub(crate) use std::thread_local;

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering, fence};
/// Loom's own takes no `const` block.
#[cfg(loom)]
macro_rules! loom_thread_local {
    ($($(#[$attribute:meta])* static $name:ident: $type:ty = const { $init:expr };)*) => {
        $(loom::thread_local! { $(#[$attribute])* static $name: $type = $init; })*
    };
}
#[cfg(loom)]
pub(crate) use loom_thread_local as thread_local;
