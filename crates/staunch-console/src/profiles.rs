//! `/debug/pprof/`: profiles that `go tool pprof` reads, under the paths and with the headers of
//! Go's `net/http/pprof`.

mod builder;
mod cpu;
mod goroutine;
mod heap;
mod place;
mod sampler_files;
mod source;
mod symbol;

use std::os::unix::ffi::OsStringExt;

use staunch_ledger::Kind;

use crate::{
    index::page,
    reply::{self, Reply},
    route::{ROUTES, Visit},
};

pub use self::sampler_files::release_sampler_files;
pub(crate) use self::{
    cpu::profile,
    goroutine::goroutine,
    heap::{allocs, heap},
    symbol::symbol,
};

pub(crate) fn index(visit: &Visit<'_>) -> Reply {
    let snapshot = visit.shared.ledger.snapshot();
    let tasks = snapshot.entries().iter().filter(|entry| entry.kind() == Kind::TASK).count();
    let own = ROUTES.iter().filter_map(|route| {
        let name = route.path.strip_prefix("/debug/pprof/").filter(|name| !name.is_empty())?;
        let about = match name {
            "goroutine" => format!("{} ({tasks})", route.about),
            _ => route.about.to_owned(),
        };
        Some((route.path.to_owned(), about))
    });
    let texts = [("debug=1", "the tasks, grouped"), ("debug=2", "the tasks, one by one")];
    let texts = texts.map(|(query, about)| {
        (format!("/debug/pprof/goroutine?{query}"), format!("{about}, as text ({tasks})"))
    });
    reply::html(page("Profiles", own.chain(texts)))
}

/// The arguments of the process, separated by NUL.
pub(crate) fn cmdline(_: &Visit<'_>) -> Reply {
    let arguments: Vec<Vec<u8>> = std::env::args_os().map(OsStringExt::into_vec).collect();
    reply::text(arguments.join(&b'\0'))
}
