//! `[guard]`: a guard as it is configured.

use std::sync::Arc;

use staunch_config::{Guard as Configured, GuardReaction};
use staunch_guard::{Allocator, GuardOptions, Jemalloc, Priority, Reaction, Reactions, Watermarks};

/// What the guard of the process watches, and does.
pub(crate) fn options(configured: &Configured) -> GuardOptions {
    let Configured { every, memory, marks, growth, growth_window, reactions } = configured;
    let listed = |listed: &[GuardReaction]| listed.iter().copied().map(reaction).collect();
    let jemalloc = Jemalloc::new()
        .inspect_err(|error| tracing::warn!(%error, "guard: nothing can be purged"))
        .ok();
    GuardOptions {
        name: "staunch",
        interval: *every,
        own_thread: true,
        memory_limit: memory.map(Into::into),
        marks: Watermarks {
            warn_percent: marks.warn.get(),
            shed_percent: marks.shed.get(),
            refuse_percent: marks.refuse.get(),
            growth_bytes_per_second: growth.get(),
            growth_window: *growth_window,
            ..Watermarks::default()
        },
        reactions: Reactions {
            warn: listed(&reactions.warn),
            shed: listed(&reactions.shed),
            refuse: listed(&reactions.refuse),
        },
        allocator: jemalloc.map(|jemalloc| Arc::new(jemalloc) as Arc<dyn Allocator>),
        ..GuardOptions::default()
    }
}

fn reaction(configured: GuardReaction) -> Reaction {
    match configured {
        GuardReaction::Purge => Reaction::Purge,
        GuardReaction::CloseIdle => Reaction::CloseIdle,
        GuardReaction::RefuseStreams => Reaction::RefuseStreams,
        GuardReaction::ShedLow => Reaction::Shed(Priority::Low),
        GuardReaction::ShedNormal => Reaction::Shed(Priority::Normal),
        GuardReaction::ShedHigh => Reaction::Shed(Priority::High),
        GuardReaction::RefuseConnections => Reaction::RefuseConnections,
    }
}
