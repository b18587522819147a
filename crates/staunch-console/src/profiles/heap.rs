//! `/debug/pprof/heap` and `/debug/pprof/allocs`: jemalloc's own sampling of allocations.
//!
//! jemalloc samples an allocation once in so many bytes (`lg_prof_sample`) and dumps, for each
//! stack, what is in use and what was ever allocated there. Both pages are the one dump, as they
//! are in Go: they differ in the measure that tools show first.

#[cfg(feature = "jemalloc")]
mod dump;

use crate::{refusal::Refusal, reply::Reply, route::Visit};

pub(crate) fn heap(visit: &Visit<'_>) -> Result<Reply, Refusal> {
    visit.query.flag("gc")?; // Go collects garbage first; there is none
    taken("heap", Shown::InUse)
}

pub(crate) fn allocs(_: &Visit<'_>) -> Result<Reply, Refusal> {
    taken("allocs", Shown::Allocated)
}

/// Which measure tools show first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    InUse,
    Allocated,
}

#[cfg(not(feature = "jemalloc"))]
fn taken(_: &'static str, _: Shown) -> Result<Reply, Refusal> {
    Err(Refusal::NotActive(
        "This program was built without heap profiles: build it with the feature `jemalloc` of \
         staunch-console, and with tikv_jemallocator::Jemalloc as its global allocator.",
    ))
}

#[cfg(feature = "jemalloc")]
fn taken(name: &'static str, shown: Shown) -> Result<Reply, Refusal> {
    let dump = dump::Dump::take()?;
    if shown == Shown::Allocated && !dump.knows_all_ever_allocated() {
        return Err(Refusal::NotActive(
            "jemalloc forgets what is freed: start the process with \
             _RJEM_MALLOC_CONF=prof:true,prof_accum:true",
        ));
    }
    let built = dump.build(shown);
    backtrace::clear_symbol_cache(); // tens of MiB, which nobody needs until the next profile
    built.reply(name)
}
