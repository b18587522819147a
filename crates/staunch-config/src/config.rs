//! The configuration as a whole.

use std::num::NonZeroUsize;
use std::path::Path;

use crate::access_log::AccessLog;
use crate::admin::Admin;
use crate::error::ConfigErrors;
use crate::file;
use crate::guard::Guard;
use crate::listener::{Listener, StreamListener};
use crate::log::Log;
use crate::overlap::Claims;
use crate::policy::Policy;
use crate::process::{Drain, Memory, Patrol, Runtime};
use crate::reader::{self, Section};
use crate::route::{Placed, Route};
use crate::service::Service;
use crate::size::ByteSize;
use crate::together::{self, Read};
use crate::traces::Traces;

/// What `staunch run` runs on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The admin endpoint; `None` if it is switched off.
    pub admin: Option<Admin>,
    /// What is logged, and how.
    pub log: Log,
    /// A line for each request; `None` if there is none.
    pub access_log: Option<AccessLog>,
    /// Spans of requests; `None` if there are none.
    pub traces: Option<Traces>,
    /// Threads.
    pub runtime: Runtime,
    /// How the process stops.
    pub drain: Drain,
    /// Memory shared by all connections.
    pub memory: Memory,
    /// When it takes on less, before memory or descriptors run out; `None` if that is switched off.
    pub guard: Option<Guard>,
    /// The search for leaks that nobody asked for.
    pub patrol: Patrol,
    /// What is served; at least one, each with its own name and address.
    pub listeners: Vec<Listener>,
    /// Which requests of `http` listeners go to which service; at least one for each such listener.
    pub routes: Vec<Route>,
    /// Where requests and connections go to; there is one of each name that is used.
    pub services: Vec<Service>,
    /// What routes ask of their requests; there is one of each name that is used.
    pub policies: Vec<Policy>,
}

impl Config {
    /// The configuration that `staunch run` uses when it is given no file, with every key, its
    /// default and the reason for it.
    pub fn default_text() -> &'static str {
        include_str!("default.toml")
    }

    /// Every table and key of [`default_text`](Config::default_text), as a page of Markdown.
    ///
    /// # Examples
    /// ```
    /// let page = staunch_config::Config::reference();
    /// assert!(page.contains("| `grace` | `\"10s\"` |"));
    /// ```
    pub fn reference() -> String {
        crate::reference::reference(Self::default_text())
    }

    /// The JSON Schema (draft 2020-12) of every file that can be written, for editors.
    ///
    /// # Examples
    /// ```
    /// let schema = staunch_config::Config::schema();
    /// assert_eq!(schema["properties"]["drain"]["properties"]["grace"]["default"], "10s");
    /// ```
    pub fn schema() -> serde_json::Value {
        crate::schema::schema(Self::default_text())
    }

    /// Reads a configuration from `text`. `name` is the name of its file: it stands in front of
    /// each mistake, and relative paths in the text are resolved against its folder.
    ///
    /// # Errors
    /// Every mistake in the text.
    pub fn parse(name: &str, text: &str) -> Result<Self, ConfigErrors> {
        Self::parse_in(folder_of(Path::new(name)), name, text)
    }

    /// Reads a configuration from the file at `path`, which may hold 1 MiB of UTF-8 at most.
    ///
    /// # Errors
    /// Why the file cannot be read, or every mistake in it.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ConfigErrors> {
        let path = path.as_ref();
        let text = file::read(path)?;
        Self::parse_in(folder_of(path), &path.display().to_string(), &text)
    }

    /// How many bytes of [`Memory::buffers`] each of the listeners has that take pooled buffers.
    pub fn buffers_each(&self) -> NonZeroUsize {
        let listeners = self.with_pooled_buffers().count().max(1);
        NonZeroUsize::new(self.memory.buffers.get() / listeners).unwrap_or(NonZeroUsize::MIN)
    }

    /// All that the policies of `route` ask, as one.
    pub fn policy(&self, route: &Route) -> Policy {
        let named = |name: &String| self.policies.iter().find(|policy| policy.name == *name);
        Policy::joined(route.policies.iter().filter_map(named))
    }

    fn with_pooled_buffers(&self) -> impl Iterator<Item = &StreamListener> {
        self.listeners.iter().filter_map(|listener| match listener {
            Listener::Stream(stream) if stream.takes_pooled_buffers() => Some(stream),
            _ => None,
        })
    }

    /// Reports each listener whose share of the buffers does not hold one.
    fn check_shares(&self, section: &Section<'_>) {
        let (all, each) = (self.memory.buffers, self.buffers_each());
        let count = self.with_pooled_buffers().count();
        let short = |stream: &&StreamListener| {
            let buffer = stream.limits.buffer;
            buffer > each && buffer <= all // more than all of them is reported at its key
        };
        for stream in self.with_pooled_buffers().filter(short) {
            let [buffer, all, each] =
                [stream.limits.buffer, all, each].map(|size| ByteSize(size.get() as u64));
            let message = format!(
                "`buffers` in [memory] is {all} for {count} listeners, {each} each: `buffer` of \
                 \"{}\" is {buffer}, which is more",
                stream.name,
            );
            section.report(&section.place("memory"), "memory.buffers", message);
        }
    }

    /// Reports if what the budgets allow is more than the guard does.
    fn check_room(&self, section: &Section<'_>) {
        let Some(limit) = self.guard.as_ref().and_then(|guard| guard.memory) else { return };
        let has_buffers = self.with_pooled_buffers().next().is_some();
        let buffers = if has_buffers { self.memory.buffers.get() as u64 } else { 0 };
        let budgets = (self.memory.bodies.get() as u64).saturating_add(buffers);
        if section.has("memory") && budgets > limit.get() {
            let [budgets, limit] = [budgets, limit.get()].map(ByteSize);
            let message = format!(
                "the budgets in [memory] are {budgets} together, and `memory` in [guard] is {limit}: \
                 leave them out, or write a quarter of it for each"
            );
            section.report(&section.place("memory"), "memory", message);
        }
    }

    fn parse_in(folder: &Path, name: &str, text: &str) -> Result<Self, ConfigErrors> {
        reader::read(name, folder, text, Self::read)
    }

    fn read(section: &mut Section<'_>) -> Option<Self> {
        let mut claims = Claims::default();
        let admin = section.table("admin", |admin| Admin::read(admin, &mut claims));
        let log = section.table("log", Log::read);
        let access_log = section.table("access_log", AccessLog::read);
        let traces = section.table("traces", Traces::read);
        let runtime = section.table("runtime", Runtime::read);
        let drain = section.table("drain", Drain::read);
        let guard = section.table("guard", Guard::read);
        let limit = guard.as_ref().and_then(|guard| guard.memory);
        let memory = section.table("memory", |memory| Memory::read(memory, limit));
        let patrol = section.table("patrol", Patrol::read);
        if !section.has("listener") {
            section.missing("listener", "nothing would be served; write a [[listener]]".to_owned());
        }
        let listeners = section.tables("listener", |listener| {
            let place = listener.place(if listener.has("service") { "service" } else { "name" });
            Listener::read(listener, &memory, &mut claims).map(|listener| (listener, place))
        });
        claims.report_overlaps(section);
        let services = section.tables_if_written("service", |service| {
            let span = service.place("name");
            Service::read(service).map(|service| (service, span))
        });
        let mistakes = section.mistakes();
        let policies = section.tables_if_written("policy", |policy| {
            let span = policy.place("name");
            Policy::read(policy).map(|policy| (policy, span))
        });
        let policies_are_whole = section.mistakes() == mistakes;
        let routes = section.tables_if_written("route", |route| {
            let [name, policies] = ["name", "policies"].map(|it| route.place(it));
            let path = route.path("").trim_end_matches('.').to_owned();
            Route::read(route).map(|route| Placed { route, path, name, policies })
        });
        let (listeners, all_listeners) = those_read(listeners);
        let (routes, all_routes) = those_read(routes);
        let (services, all_services) = those_read(services);
        let (policies, all_policies) = those_read(policies);
        let read = Read {
            listeners: &listeners,
            routes: &routes,
            services: &services,
            policies: &policies,
            are_all: all_listeners && all_routes,
            policies_are_whole,
        };
        together::check(section, &read);
        if !(all_listeners && all_routes && all_services && all_policies) {
            return None;
        }
        let listeners = listeners.into_iter().map(|(listener, _)| listener).collect();
        let routes = routes.into_iter().map(|placed| placed.route).collect();
        let services = services.into_iter().map(|(service, _)| service).collect();
        let policies = policies.into_iter().map(|(policy, _)| policy).collect();
        let config = Self {
            admin,
            log,
            access_log,
            traces,
            runtime,
            drain,
            memory,
            guard,
            patrol,
            listeners,
            routes,
            services,
            policies,
        };
        config.check_shares(section);
        config.check_room(section);
        if let Some(log) = &config.access_log {
            log.check_secrets(section, &config.policies);
        }
        Some(config)
    }
}

/// Those that could be read, and whether that is all.
fn those_read<T>(entries: Vec<Option<T>>) -> (Vec<T>, bool) {
    let all = entries.len();
    let read: Vec<T> = entries.into_iter().flatten().collect();
    let are_all = read.len() == all;
    (read, are_all)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}
