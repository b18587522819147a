//! The console's table of contents: every path, what it takes and what makes its page.

use bytes::Bytes;
use hyper::Method;
use staunch_scope::Blocking;

use crate::{
    console::Shared, findings, guards, health, index, ledger, metrics, pools, profiles,
    query::Query, refusal::Refusal, reply::Reply, sockets,
};

/// A path of the console.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) path: &'static str,
    /// What it shows, for people.
    pub(crate) about: &'static str,
    /// The names of its query's parameters.
    pub(crate) parameters: &'static [&'static str],
    /// Whether it takes POST too.
    posts: bool,
    pub(crate) page: Page,
}

/// How the page of a route is made.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Page {
    /// At once, and for everybody: for probes, which have no token.
    Open(fn(&Shared) -> Reply),
    /// On a thread where it may block.
    Guarded(fn(&Visit<'_>) -> Result<Reply, Refusal>),
    /// The same, and nothing can go wrong.
    Sure(fn(&Visit<'_>) -> Reply),
}

impl Page {
    pub(crate) fn make(self, visit: &Visit<'_>) -> Result<Reply, Refusal> {
        match self {
            Page::Open(page) => Ok(page(visit.shared)),
            Page::Guarded(page) => page(visit),
            Page::Sure(page) => Ok(page(visit)),
        }
    }
}

/// One request for a guarded page.
pub(crate) struct Visit<'v> {
    pub(crate) shared: &'v Shared,
    pub(crate) query: &'v Query,
    pub(crate) method: &'v Method,
    pub(crate) body: Bytes,
    /// The work on the page; asked to stop when the client has left.
    pub(crate) work: &'v Blocking,
}

/// In the order in which they are shown.
pub(crate) static ROUTES: &[Route] = &[
    get("/", "this list", &[], Page::Sure(index::index)),
    get(
        "/debug/findings",
        "what leaks, and the line; format=text for people",
        findings::PARAMETERS,
        Page::Guarded(findings::findings),
    ),
    get("/debug/pprof/", "the profiles", &[], Page::Sure(profiles::index)),
    get(
        "/debug/pprof/goroutine",
        "the tasks, as goroutines",
        &["debug"],
        Page::Guarded(profiles::goroutine),
    ),
    get("/debug/pprof/heap", "memory in use", &["gc"], Page::Guarded(profiles::heap)),
    get("/debug/pprof/allocs", "all memory ever allocated", &[], Page::Guarded(profiles::allocs)),
    get(
        "/debug/pprof/profile",
        "where CPU time goes, for some seconds",
        &["seconds"],
        Page::Guarded(profiles::profile),
    ),
    get("/debug/pprof/cmdline", "the command line", &[], Page::Sure(profiles::cmdline)),
    post("/debug/pprof/symbol", "the names of addresses", &[], Page::Sure(profiles::symbol)),
    get(
        "/debug/ledger",
        "everything live: groups and entries",
        ledger::PARAMETERS,
        Page::Guarded(ledger::ledger),
    ),
    post(
        "/debug/ledger/sites",
        "the lines that open entries; POST at=FILE:LINE and escalate=1 to record backtraces",
        ledger::SITES_PARAMETERS,
        Page::Guarded(ledger::sites),
    ),
    get(
        "/debug/sockets",
        "the sockets, as the kernel sees them",
        sockets::PARAMETERS,
        Page::Guarded(sockets::sockets),
    ),
    get(
        "/debug/pools",
        "the connection pools, and who has their connections",
        &[],
        Page::Guarded(pools::pools),
    ),
    #[cfg(feature = "http-client")]
    get(
        "/debug/http-clients",
        "the HTTP clients: what became of their requests, and of the bodies of the answers",
        &[],
        Page::Guarded(crate::clients::clients),
    ),
    get(
        "/debug/guard",
        "memory and fds against their limits, and who was refused",
        &[],
        Page::Guarded(guards::guards),
    ),
    get("/metrics", "metrics for Prometheus", &[], Page::Guarded(metrics::metrics)),
    get("/healthz", "whether the process answers", &[], Page::Open(health::healthz)),
    get("/readyz", "whether it wants traffic", &[], Page::Open(health::readyz)),
];

const fn get(
    path: &'static str,
    about: &'static str,
    parameters: &'static [&'static str],
    page: Page,
) -> Route {
    Route { path, about, parameters, posts: false, page }
}

const fn post(
    path: &'static str,
    about: &'static str,
    parameters: &'static [&'static str],
    page: Page,
) -> Route {
    Route { path, about, parameters, posts: true, page }
}

impl Route {
    pub(crate) fn find(path: &str) -> Option<&'static Route> {
        ROUTES.iter().find(|route| route.path == path)
    }

    /// The methods it takes, as the `Allow` header lists them.
    pub(crate) fn methods(&self) -> &'static str {
        if self.posts { "GET, HEAD, POST" } else { "GET, HEAD" }
    }

    pub(crate) fn takes(&self, method: &Method) -> bool {
        matches!(*method, Method::GET | Method::HEAD) || self.posts && method == Method::POST
    }

    /// Its line in a list.
    pub(crate) fn line(&self) -> String {
        format!("  {:<24} {}\n", self.path, self.about)
    }
}
