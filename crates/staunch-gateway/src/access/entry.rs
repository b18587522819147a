//! What will be said of a request or a connection.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use staunch_scope::{TraceId, is_forced};
use tokio::time::Instant;

use super::Source;
use crate::{
    core::CoreState,
    forward::Failure,
    traces::{Begun, Part},
};

/// What has been noted of a request, or of a connection that is handed on as it is; its line is
/// written when it is dropped.
#[derive(Debug)]
pub(crate) struct Entry {
    source: Arc<Source>,
    /// What was asked for, one after the other, and where each ends. Of a connection: nothing.
    words: Vec<u8>,
    ends: [u32; 3],
    /// Where each of the headers ends that are written as well.
    headers: Vec<u32>,
    version: &'static str,
    client: Option<IpAddr>,
    pub(super) trace: Option<TraceId>,
    /// Of a request that is sampled.
    span: Option<Begun>,
    begun: Instant,
    /// By what it was routed, and the place of its route; or of its upstream.
    found: Option<(Arc<CoreState>, Found)>,
    /// The server that was asked last, by its place in the upstream.
    server: Option<usize>,
    tries: u32,
    status: Option<u16>,
    pub(super) first_byte: Option<Duration>,
    /// Bytes of bodies.
    pub(crate) received: u64,
    pub(crate) sent: u64,
    end: End,
    /// Why no server has answered.
    failure: Option<Failure>,
    is_others: bool,
}

#[derive(Clone, Copy, Debug)]
enum Found {
    Route(usize),
    Upstream(usize),
}

/// How it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With all that was to be said.
    Whole,
    /// Its client left, or was cut.
    Client,
    /// The server broke off when the answer had begun, or could not be reached by a connection.
    Server,
    /// Its client took too long over the body.
    Slow,
    /// The gateway has cut it, since a drain was over.
    Drain,
}

/// What a request asks for, as far as it is told.
pub(crate) struct Asking<'r> {
    pub(crate) method: &'r str,
    pub(crate) host: &'r [u8],
    /// Without the query, in which secrets are sent.
    pub(crate) path: &'r str,
    pub(crate) version: &'static str,
    pub(crate) client: Option<IpAddr>,
}

/// An entry that several have a hand in.
#[derive(Clone, Debug)]
pub(crate) struct Slot(Arc<Mutex<Entry>>);

/// The part of an entry that is with the answer.
#[derive(Debug)]
pub(super) struct Answering(pub(super) Slot);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.note(Entry::may_be_cut);
    }
}

/// Bytes of a word: what is longer is cut.
const WORD_MAX: usize = 4 << 10;

/// Bytes of a header.
const HEADER_MAX: usize = 512;

impl Entry {
    /// Of a request, with its part in a trace; `None` if nothing will be told of it. `header` finds
    /// the value of a header.
    pub(crate) fn request<'h>(
        source: &Arc<Source>,
        asking: &Asking<'_>,
        part: &Part,
        header: impl Fn(&str) -> Option<&'h [u8]>,
    ) -> Option<Entry> {
        let sampled = part.sampled();
        if source.reports.log.is_none() && sampled.is_none() {
            return None;
        }
        let mut entry = Entry::connection(source, asking.client);
        entry.trace = part.trace();
        entry.span = sampled.map(Begun::now);
        entry.version = asking.version;
        let words = [asking.method.as_bytes(), asking.host, asking.path.as_bytes()];
        let room = words.iter().map(|word| word.len()).sum::<usize>();
        entry.words.reserve_exact(room.min(3 * WORD_MAX));
        for (word, end) in words.into_iter().zip(0..) {
            let at = push(&mut entry.words, word, WORD_MAX);
            entry.ends[end] = at;
        }
        for name in source.headers() {
            let at = push(&mut entry.words, header(name).unwrap_or_default(), HEADER_MAX);
            entry.headers.push(at);
        }
        Some(entry)
    }

    /// Of a connection.
    pub(crate) fn connection(source: &Arc<Source>, client: Option<IpAddr>) -> Entry {
        Entry {
            source: Arc::clone(source),
            words: Vec::new(),
            ends: [0; 3],
            headers: Vec::new(),
            version: "",
            client,
            trace: None,
            span: None,
            begun: Instant::now(),
            found: None,
            server: None,
            tries: 0,
            status: None,
            first_byte: None,
            received: 0,
            sent: 0,
            end: End::Client,
            failure: None,
            is_others: false,
        }
    }

    /// It has this route.
    pub(crate) fn routed(&mut self, state: &Arc<CoreState>, route: usize) {
        self.found = Some((Arc::clone(state), Found::Route(route)));
    }

    /// It goes to a server of this upstream, without a route.
    pub(crate) fn leads_to(&mut self, state: &Arc<CoreState>, upstream: usize) {
        self.found = Some((Arc::clone(state), Found::Upstream(upstream)));
    }

    /// This server of its upstream is asked.
    pub(crate) fn asks(&mut self, server: usize) {
        self.server = Some(server);
        self.tries += 1;
        self.failure = None;
    }

    /// The head of its answer is there.
    pub(crate) fn answered(&mut self, status: u16) {
        self.status = Some(status);
        self.first_byte = Some(self.begun.elapsed());
    }

    /// So many bytes have come from its client by now, and gone there.
    pub(crate) fn moved(&mut self, received: u64, sent: u64) {
        (self.received, self.sent) = (received, sent);
    }

    /// No server has answered.
    pub(crate) fn failed(&mut self, failure: Failure) {
        self.failure = Some(failure);
    }

    pub(crate) fn ends(&mut self, end: End) {
        self.end = end;
    }

    /// Whoever has it is being dropped: if that is by force, it has not told its end, and did not
    /// come to its own.
    fn may_be_cut(&mut self) {
        if self.end == End::Client && is_forced() {
            self.end = End::Drain;
        }
    }

    /// Somebody else writes the line.
    pub(crate) fn forgo(mut self) {
        self.is_others = true;
    }

    /// Whether there is nothing about it that somebody will look for.
    pub(super) fn went_well(&self) -> bool {
        self.end == End::Whole && self.status.is_none_or(|status| status < 400)
    }

    pub(crate) fn span(&self) -> Option<&Begun> {
        self.span.as_ref()
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    pub(crate) fn version(&self) -> &'static str {
        self.version
    }

    pub(crate) fn client(&self) -> Option<IpAddr> {
        self.client
    }

    pub(crate) fn status(&self) -> Option<u16> {
        self.status
    }

    pub(crate) fn tries(&self) -> u32 {
        self.tries
    }

    /// Why no server has answered.
    pub(crate) fn failure(&self) -> Option<Failure> {
        self.failure
    }

    pub(crate) fn end(&self) -> End {
        self.end
    }

    pub(crate) fn is_secure(&self) -> bool {
        self.source.is_secure
    }

    pub(crate) fn listener(&self) -> &str {
        &self.source.listener
    }

    /// Method, host and path; `None` of a connection.
    pub(crate) fn asked(&self) -> Option<[&[u8]; 3]> {
        let [first, second, third] = self.ends.map(|end| end as usize);
        let words = [0..first, first..second, second..third].map(|place| self.words.get(place));
        let [Some(method), Some(host), Some(path)] = words else { return None };
        (!method.is_empty()).then_some([method, host, path])
    }

    /// The values of the headers that are written as well.
    pub(super) fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let mut from = self.ends[2] as usize;
        let values = self.headers.iter().map(move |end| {
            let begin = std::mem::replace(&mut from, *end as usize);
            self.words.get(begin..*end as usize).unwrap_or_default()
        });
        let names = self.source.headers().iter().map(String::as_str);
        names.zip(values).filter(|(_, value)| !value.is_empty())
    }

    /// The pattern of its route's paths.
    pub(crate) fn route_path(&self) -> Option<String> {
        match &self.found {
            Some((state, Found::Route(place))) => {
                state.plan.routes.get(*place).map(|route| route.route.path.to_string())
            }
            _ => None,
        }
    }

    /// The names of its route, its service and the server that was asked last.
    pub(crate) fn names(&self) -> [Option<&str>; 3] {
        let Some((state, found)) = &self.found else { return [None; 3] };
        let (route, upstream) = match found {
            Found::Route(place) => match state.plan.routes.get(*place) {
                Some(route) => (Some(route.route.name.as_str()), Some(route.service)),
                None => (None, None),
            },
            Found::Upstream(place) => (None, Some(*place)),
        };
        let service = upstream.and_then(|place| state.plan.services.get(place));
        let server = self.server.and_then(|place| service?.servers.get(place));
        [route, service.map(|it| it.name), server.map(|it| it.name.as_str())]
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if !self.is_others {
            self.may_be_cut();
            self.source.take(self);
        }
    }
}

impl End {
    pub(crate) fn name(self) -> &'static str {
        match self {
            End::Whole => "whole",
            End::Client => "client",
            End::Server => "server",
            End::Slow => "slow",
            End::Drain => "drain",
        }
    }
}

impl Slot {
    pub(super) fn new(entry: Entry) -> Slot {
        Slot(Arc::new(Mutex::new(entry)))
    }

    /// For whoever answers: others may keep their part of it for longer, where it is not known that
    /// the answer was cut.
    pub(super) fn answering(self) -> Answering {
        Answering(self)
    }

    pub(crate) fn note(&self, note: impl FnOnce(&mut Entry)) {
        note(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Adds a word; where it ends.
fn push(words: &mut Vec<u8>, word: &[u8], most: usize) -> u32 {
    words.extend_from_slice(word.get(..most).unwrap_or(word));
    words.len() as u32
}
