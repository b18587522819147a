//! What a client asks for: read, routed and admitted, all at once, so that nothing of what it said
//! need be kept.

use std::{borrow::Cow, net::IpAddr, sync::Arc, time::Duration};

use httparse::Header;
use hyper::{
    StatusCode,
    header::{ALLOW, HeaderValue, RETRY_AFTER},
};
use staunch_guard::{Admission, Priority, Refused};
use staunch_http::{Transport, wire::clear_room};
use staunch_ledger::{Account, Deadline, Kind, Obligation};
use staunch_policy::{self as policy, Fields, Now, Permit, Policy, Verdict};
use staunch_scope::TraceId;
use tokio::time::Instant;

use super::{
    Fast,
    answer::Own,
    client::Client,
    edits::Edits,
    outgoing::{self, Address},
    plain::{self, Plain, Said},
};
use crate::{
    access::{Asking, Entry},
    core::CoreState,
    forward::rewritten,
    plan::RoutePlan,
    route::{Found, Headers, has_other_readings, normal},
    traces::{Part, Traces},
};

/// A request that has a server; its head is with its client's connection.
pub(crate) struct Asked {
    /// By what it was routed: a new plan changes nothing for it.
    pub(crate) state: Arc<CoreState>,
    /// Its places in the plan's routes, and in the core's upstreams.
    pub(crate) route: usize,
    pub(crate) upstream: usize,
    pub(crate) begun: Instant,
    pub(crate) is_head: bool,
    pub(crate) is_idempotent: bool,
    /// Its client says no more after it.
    pub(crate) is_last: bool,
    /// Bytes of its body.
    pub(crate) body: u64,
    pub(crate) account: Account,
    pub(crate) admission: Option<Admission>,
    /// What its policy changes in the head of its answer.
    pub(crate) edits: Edits,
    /// It counts as in flight as long as this is there.
    _permit: Option<Permit>,
}

/// What a policy changes in the heads of a request and its answer.
#[derive(Default)]
struct BothEdits {
    request: Edits,
    answer: Edits,
}

/// What is to be done with what a client has said.
pub(crate) enum Judged {
    Ask(Asked),
    /// It is told this, whatever body it sends: whether to a `HEAD`, and whether it says no more.
    Tell {
        own: Own,
        is_head: bool,
        is_last: bool,
    },
    /// The head has not come whole.
    Part,
    /// It is for the long way, from its first byte on.
    Other,
}

/// What is left of a request's way to its server.
enum Routed<'s> {
    To { route: usize, upstream: usize, plan: &'s RoutePlan, prefix: usize },
    Nowhere(Own),
    Other,
}

/// What an HTTP/2 client says first (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// So many bytes are of no method of HTTP/1.
const PREFACE_TOLD: usize = "PRI ".len();

/// A request may take so much longer than its limits before it counts as overdue: whoever ends it
/// must be given the time to.
const OVERDUE: Duration = Duration::from_secs(5);

impl<S> Fast<S> {
    /// Judges what the client has said. Of a request with a server the head for it is written, and
    /// what follows is kept.
    pub(super) fn judge<T: Transport>(&self, client: &mut Client<'_, T>, said: &[u8]) -> Judged {
        if PREFACE.starts_with(said) {
            // Of HTTP/2, unless it is a POST or the like so far.
            return if said.len() < PREFACE_TOLD { Judged::Part } else { Judged::Other };
        }
        let mut room = plain::room();
        let plain = match Plain::read(said, &mut room, &self.limits) {
            Said::Plain(plain) => plain,
            Said::Part => return Judged::Part,
            Said::Other => return Judged::Other,
        };
        let part = self.part(&plain);
        client.entry = self.entry(client.ip, &plain, &part).map(Box::new);
        let judged = self.request(client, &plain, &part);
        if matches!(judged, Judged::Other) {
            if let Some(entry) = client.entry.take() {
                entry.forgo();
            }
        } else {
            client.begun = client.begun.saturating_add(1);
            client.unread = plain.body;
            client.said.clear();
            client.said.extend_from_slice(said.get(plain.lines.head.len()..).unwrap_or_default());
        }
        judged
    }

    fn request<T: Transport>(
        &self,
        client: &mut Client<'_, T>,
        plain: &Plain<'_, '_>,
        part: &Part,
    ) -> Judged {
        // Perhaps a browser asks what it may ask for; and the long way knows that this is no proxy.
        if matches!(plain.method, "OPTIONS" | "CONNECT") {
            return Judged::Other;
        }
        let is_head = plain.method == "HEAD";
        let is_last = plain.is_last || client.begun.saturating_add(1) >= self.limits.requests;
        let tell = |own| Judged::Tell { own, is_head, is_last };
        let (path, query) = match plain.target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (plain.target, None),
        };
        let state = self.forward.core.state();
        let goes_nowhere = |own: Own| {
            state.plan.unrouted.answered(own.status, Duration::ZERO);
            tell(own)
        };
        let path = match normal(path) {
            Ok(path) => path,
            Err(bad) => return goes_nowhere(Own::new(StatusCode::BAD_REQUEST, bad.to_string())),
        };
        if has_other_readings(&path) {
            return Judged::Other; // which looks whether they lead elsewhere
        }
        let (route, upstream, route_plan, prefix) = match self.route(&state, plain, &path) {
            Routed::To { route, upstream, plan, prefix } => (route, upstream, plan, prefix),
            Routed::Nowhere(own) => return goes_nowhere(own),
            Routed::Other => return Judged::Other,
        };
        let may_wait = route_plan.policy.as_ref().is_some_and(Policy::may_wait);
        if plain.body > route_plan.route.body.get() || may_wait {
            return Judged::Other; // which refuses it, or asks others whether it may pass
        }
        let admission = match self.admit(plain) {
            Ok(admission) => admission,
            Err(refused) => return tell(refusal(&refused)),
        };
        client.note(|entry| entry.routed(&state, route));
        let (permit, edits) = match self.permitted(client, plain, route_plan) {
            Ok(permitted) => permitted,
            Err(own) => return tell(own),
        };
        let account = self.open(client, plain, &path, route_plan);
        let rewritten = rewritten(&route_plan.route, &path, prefix);
        let host = route_plan.upstream_host.as_ref().map(HeaderValue::as_bytes);
        let to = Address {
            path: rewritten.as_deref().unwrap_or(&path),
            query,
            host: host.unwrap_or(plain.host.as_bytes()),
        };
        clear_room(&mut client.asking);
        let introduction = &client.introduction;
        let asking = &mut client.asking;
        outgoing::write(asking, plain, &to, introduction, &edits.request, part);
        Judged::Ask(Asked {
            route,
            upstream,
            begun: Instant::now(),
            is_head,
            is_idempotent: is_idempotent(plain.method),
            is_last,
            body: plain.body,
            account,
            admission,
            edits: edits.answer,
            _permit: permit,
            state,
        })
    }

    fn part(&self, plain: &Plain<'_, '_>) -> Part {
        let traces = self.forward.access.as_ref().and_then(|source| source.traces());
        Part::new(traces.map(Traces::config), plain.traceparent, TraceId::random)
    }

    fn entry(&self, client: Option<IpAddr>, plain: &Plain<'_, '_>, part: &Part) -> Option<Entry> {
        let source = self.forward.access.as_ref()?;
        let asking = Asking {
            method: plain.method,
            host: plain.host.as_bytes(),
            path: plain.target.split('?').next().unwrap_or_default(),
            version: "1.1",
            client,
        };
        let fields = FieldsOf(plain.lines.headers);
        Entry::request(source, &asking, part, |name| fields.first(name))
    }

    fn route<'s>(&self, state: &'s CoreState, plain: &Plain<'_, '_>, path: &str) -> Routed<'s> {
        let Some(table) = state.plan.table(&self.forward.listener) else {
            return Routed::Nowhere(nowhere());
        };
        let host = host(plain.host);
        let (route, prefix) = match table.find(&host, path, plain.method, plain.lines.headers) {
            Found::Route { route, prefix } => (route, prefix),
            Found::Methods(methods) => return Routed::Nowhere(not_allowed(methods)),
            Found::Nothing => return Routed::Nowhere(nowhere()),
        };
        let found = state.plan.routes.get(route);
        let found = found.and_then(|plan| Some((plan, state.upstreams.get(plan.service)?)));
        match found {
            Some((plan, upstream)) if upstream.is_direct() => {
                Routed::To { route, upstream: plan.service, plan, prefix }
            }
            _ => Routed::Other,
        }
    }

    fn admit(&self, plain: &Plain<'_, '_>) -> Result<Option<Admission>, Refused> {
        let Some(guard) = &self.guard else { return Ok(None) };
        let admission = if plain.is_stream {
            guard.admit_stream(Priority::Normal)
        } else {
            guard.admit(Priority::Normal)
        };
        admission.map(Some)
    }

    /// Asks the route's policy, if it has one, which neither waits nor blocks.
    fn permitted<T: Transport>(
        &self,
        client: &Client<'_, T>,
        plain: &Plain<'_, '_>,
        plan: &RoutePlan,
    ) -> Result<(Option<Permit>, BothEdits), Own> {
        let Some(policy) = &plan.policy else { return Ok(Default::default()) };
        let names = client.io.peer_names();
        let fields = FieldsOf(plain.lines.headers);
        let asked = policy::Asked {
            client: client.ip,
            is_secure: self.forward.is_secure,
            names: names.as_deref(),
            method: plain.method,
            fields: &fields,
        };
        match policy.decide(&asked, Now::read()) {
            Verdict::Pass(mut pass) => {
                let request = Edits::of_request(&pass);
                let answer = Edits::of_answer(&pass);
                Ok((pass.take_permit(), BothEdits { request, answer }))
            }
            Verdict::Refuse(refusal) => {
                plan.counts.refused(refusal.reason);
                plan.counts.answered(refusal.status, Duration::ZERO);
                Err(refusal.into())
            }
            Verdict::Wait(_) => {
                let own = "A policy would have to wait"; // which it has said it does not
                Err(Own::new(StatusCode::INTERNAL_SERVER_ERROR, own))
            }
        }
    }

    /// The request's account: method and path, but not the query, in which secrets are sent.
    fn open<T: Transport>(
        &self,
        client: &Client<'_, T>,
        plain: &Plain<'_, '_>,
        path: &str,
        plan: &RoutePlan,
    ) -> Account {
        let body_time = if plain.body > 0 { plan.route.body_time } else { Duration::ZERO };
        let limit = plan.route.timeout.map(|limit| limit.saturating_add(body_time + OVERDUE));
        let obligation = limit
            .map_or(Obligation::EndsWithParent, |limit| Obligation::EndsBy(Deadline::after(limit)));
        let connection = client.io.account();
        let parent = Some(connection.id());
        let ledger = connection.ledger();
        let account = ledger.open_at(self.born_at, Kind::REQUEST, obligation, parent);
        account.label_routed(&plan.route.name, &[plain.method, " ", path]);
        account
    }
}

/// In lower case and without its port, as routes have it.
fn host(said: &str) -> Cow<'_, str> {
    let name = said.split(':').next().unwrap_or_default();
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

fn nowhere() -> Own {
    Own::new(StatusCode::NOT_FOUND, "No route leads there")
}

fn not_allowed(methods: Vec<String>) -> Own {
    let allowed = crate::forward::allowed(methods);
    let own = Own::new(StatusCode::METHOD_NOT_ALLOWED, format!("Allowed here: {allowed}"));
    match HeaderValue::try_from(allowed) {
        Ok(allowed) => own.with(ALLOW, allowed),
        Err(_) => own,
    }
}

fn refusal(refused: &Refused) -> Own {
    let after = refused.retry_after;
    let text = format!("This service has too much to do. Try again in {after:?}.");
    let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
    Own::new(StatusCode::SERVICE_UNAVAILABLE, text).with(RETRY_AFTER, HeaderValue::from(seconds))
}

/// Whether it does the same when it is sent twice (RFC 9110, 9.2.2).
fn is_idempotent(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "PUT" | "DELETE" | "OPTIONS" | "TRACE")
}

/// A request's headers, as policies look at them.
struct FieldsOf<'b, 'h>(&'h [Header<'b>]);

impl Fields for FieldsOf<'_, '_> {
    fn first(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find(|it| it.name.eq_ignore_ascii_case(name)).map(|it| it.value)
    }

    fn all(&self, name: &str, each: &mut dyn FnMut(&[u8])) {
        let its = self.0.iter().filter(|it| it.name.eq_ignore_ascii_case(name));
        its.for_each(|it| each(it.value));
    }
}

impl Headers for [Header<'_>] {
    fn has(&self, name: &str, value: Option<&[u8]>) -> bool {
        let mut its = self.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
        let first = its.next();
        first
            .is_some_and(|one| value.is_none_or(|value| value == one.value && its.next().is_none()))
    }
}
