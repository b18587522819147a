//! One request: find its route, pick a server, send it there, hand the answer back.
//!
//! Nothing is kept of either body: what has come is handed over when the other side takes it. When
//! the client leaves, all of this is dropped, and with it the request to the server.

mod answer;
mod body;
mod budget;
mod failure;
mod headers;
mod target;
mod trailers;
mod tries;

use std::{sync::Arc, time::Duration};

use hyper::{
    Request, Response, StatusCode, Version,
    body::Body,
    header::{CONNECTION, HOST, HeaderValue},
};
use staunch_http::{Refused, RequestBody};
use staunch_policy::{Asked, Now, Pass, Policy, Verdict, preflight};
use staunch_scope::is_forced;
use tokio::time::Instant;

use self::{answer::own, body::upload, target::Target, tries::Tries};
pub(crate) use self::{
    answer::{AnswerBody, allowed},
    budget::Budget,
    failure::Failure,
    failure::{REASONS, REASONS_OF_SERVERS},
    headers::{HOPS_MAX, Origin, TwoEnds, of_answer, of_request, one_cookie},
    target::{host_of, rewritten},
    tries::{is_to_blame, speaks_against, untaken},
};
use crate::{
    access::{Slot, Source, log_refused},
    accounts,
    core::{CoreState, View},
    plan::{Plan, RoutePlan},
    remote::About,
    route::{Found, Table, normal, other_readings},
    tunnel,
    upstream::Upstream,
};

/// A listener's requests on one core.
#[derive(Debug)]
pub(crate) struct Forward {
    pub(crate) core: Arc<View>,
    pub(crate) listener: String,
    pub(crate) is_secure: bool,
    /// Where what is logged of requests goes, if it is.
    pub(crate) access: Option<Arc<Source>>,
}

/// Counts a request that its client gives up.
pub(crate) struct Cancelling<'r>(pub(crate) Option<&'r RoutePlan>);

impl Drop for Cancelling<'_> {
    fn drop(&mut self) {
        if let Some(route) = self.0.filter(|_| !is_forced()) {
            route.counts.cancelled();
        }
    }
}

/// The answer to a request that goes nowhere.
struct Unrouted {
    /// Its route, if that is what refuses it.
    place: Option<usize>,
    answer: Box<Response<AnswerBody>>,
}

impl Unrouted {
    fn of(answer: Response<AnswerBody>) -> Unrouted {
        Unrouted { place: None, answer: Box::new(answer) }
    }

    fn by(self, place: usize) -> Unrouted {
        Unrouted { place: Some(place), ..self }
    }
}

impl Forward {
    /// Answers a request.
    ///
    /// # Cancel safety
    /// Dropped before its end, the request to the server is given up.
    pub(crate) async fn answer(&self, request: Request<RequestBody>) -> Response<AnswerBody> {
        let state = self.core.state();
        let slot = request.extensions().get::<Slot>();
        match self.routed(&state, &request) {
            Err(Unrouted { place, answer }) => {
                let route = place.and_then(|place| state.plan.routes.get(place));
                if let (Some(slot), Some(place)) = (slot, place) {
                    slot.note(|entry| entry.routed(&state, place));
                }
                let counts = route.map_or(&state.plan.unrouted, |route| &route.counts);
                counts.answered(answer.status(), Duration::ZERO);
                *answer
            }
            Ok((place, route, upstream, target)) => {
                if let Some(slot) = slot {
                    slot.note(|entry| entry.routed(&state, place));
                }
                let begun = Instant::now();
                let mut cancelling = Cancelling(Some(route));
                let answer = match &route.policy {
                    None => self.ask(route, upstream, target, request, None).await,
                    Some(policy) => {
                        let found = (route, policy, upstream);
                        self.ask_if_admitted(&state, found, target, request).await
                    }
                };
                cancelling.0 = None;
                route.counts.answered(answer.status(), begun.elapsed());
                answer
            }
        }
    }

    /// Counts and logs a request whose head is not what it may be, which has been answered so.
    pub(crate) fn refused(&self, refused: &Refused<'_>) {
        self.core.state().plan.unrouted.answered(refused.status, Duration::ZERO);
        if let Some(source) = &self.access {
            log_refused(source, refused);
        }
    }

    /// Where a request goes.
    fn routed<'s>(
        &self,
        state: &'s CoreState,
        request: &Request<RequestBody>,
    ) -> Result<(usize, &'s RoutePlan, &'s Upstream, Target), Unrouted> {
        let refuse = |status, text: String| Unrouted::of(own(status, text));
        let path = normal(request.uri().path())
            .map_err(|bad| refuse(StatusCode::BAD_REQUEST, bad.to_string()))?;
        let host = target::host(request);
        let found = match state.plan.table(&self.listener) {
            Some(table) => find(&state.plan, table, &host, &path, request),
            None => Found::Nothing,
        };
        let (place, prefix) = match found {
            Found::Route { route, prefix } => (route, prefix),
            Found::Methods(methods) => return Err(Unrouted::of(answer::not_allowed(methods))),
            Found::Nothing => {
                return Err(refuse(StatusCode::NOT_FOUND, "No route leads there".to_owned()));
            }
        };
        let leads_elsewhere = |reading: &String| {
            let table = state.plan.table(&self.listener);
            let found = table.map(|it| find(&state.plan, it, &host, reading, request));
            matches!(found, Some(Found::Route { route, .. }) if route != place && state.plan.guards(route))
        };
        if other_readings(&path).iter().any(leads_elsewhere) {
            let text =
                "The path can be read as that of another route: write `/` as it is, and no `;`";
            return Err(refuse(StatusCode::BAD_REQUEST, text.to_owned()));
        }
        let nothing = || refuse(StatusCode::INTERNAL_SERVER_ERROR, "No such route".to_owned());
        let route = state.plan.routes.get(place).ok_or_else(nothing)?;
        let upstream = state.upstreams.get(route.service).ok_or_else(nothing)?;
        let announced = request.body().size_hint().lower();
        if announced > route.route.body.get() {
            let text =
                format!("The body has {announced} bytes; {} are taken here", route.route.body);
            return Err(refuse(StatusCode::PAYLOAD_TOO_LARGE, text).by(place));
        }
        let target = Target::new(&route.route, request.uri(), &path, prefix);
        let target = target.map_err(|_| {
            refuse(StatusCode::BAD_REQUEST, "The path cannot be rewritten".to_owned()).by(place)
        })?;
        Ok((place, route, upstream, target))
    }

    /// [`ask`](Self::ask), if the route's policy lets the request pass.
    async fn ask_if_admitted(
        &self,
        state: &CoreState,
        (route, policy, upstream): (&RoutePlan, &Policy, &Upstream),
        target: Target,
        request: Request<RequestBody>,
    ) -> Response<AnswerBody> {
        let names = staunch_http::peer_names();
        let asked = Asked {
            names: names.as_deref(),
            client: staunch_http::peer().map(|peer| peer.ip()),
            is_secure: self.is_secure,
            method: request.method().as_str(),
            fields: request.headers(),
        };
        let verdict = match policy.decide(&asked, Now::read()) {
            Verdict::Pass(pass) => Ok(pass),
            Verdict::Refuse(refusal) => Err(refusal),
            Verdict::Wait(wait) => {
                let host = target::host_header(&request);
                let about = About { uri: said(request.uri()), host: host.as_ref() };
                state.remote.settle(route, wait, &asked, &about).await
            }
        };
        match verdict {
            Ok(pass) => self.ask(route, upstream, target, request, Some(pass)).await,
            Err(refusal) => {
                route.counts.refused(refusal.reason);
                answer::refused(refusal)
            }
        }
    }

    async fn ask(
        &self,
        route: &RoutePlan,
        upstream: &Upstream,
        target: Target,
        request: Request<RequestBody>,
        mut pass: Option<Pass<'_>>,
    ) -> Response<AnswerBody> {
        let permit = pass.as_mut().and_then(Pass::take_permit);
        let mut answer = if tunnel::is_wanted(&request, upstream) {
            let pass = pass.as_ref();
            tunnel::open(self, route, upstream, target.uri, request, (pass, permit)).await
        } else {
            let answer = self.exchange(route, upstream, target, request, pass.as_ref()).await;
            answer.map(|body| body.holding(permit))
        };
        if let Some(pass) = pass {
            pass.answer(&mut |edit| {
                answer.body_mut().decided(edit.name());
                edit.apply(answer.headers_mut());
            });
        }
        answer
    }

    async fn exchange(
        &self,
        route: &RoutePlan,
        upstream: &Upstream,
        target: Target,
        mut request: Request<RequestBody>,
        pass: Option<&Pass<'_>>,
    ) -> Response<AnswerBody> {
        let client = staunch_http::peer().map(|peer| peer.ip());
        let host = target::host_header(&request);
        let is_http2 = request.version() == Version::HTTP_2;
        let version = version(request.version());
        let origin = Origin { client, host: host.as_ref(), is_secure: self.is_secure };
        if of_request(request.headers_mut(), version, &origin).is_err() {
            return gives_up(route, request.extensions().get(), Failure::Circle);
        }
        let (has_body, mut decided) = (!request.body().is_end_stream(), Vec::new());
        if let Some(pass) = pass {
            pass.request(&mut |edit| {
                if has_body {
                    decided.push(edit.name().clone());
                }
                edit.apply(request.headers_mut());
            });
        }
        let named = route.upstream_host.clone().or(host);
        if let Some(named) = named {
            request.headers_mut().insert(HOST, named);
        }
        let (mut head, body) = request.into_parts();
        let what = [head.method.as_str(), " ", head.uri.path()];
        let account = Arc::new(accounts::exchange(&route.route.name, &what));
        head.uri = target.uri;
        let slot = head.extensions.remove::<Slot>();
        head.extensions = hyper::http::Extensions::new();
        let (body, progress) = upload((body, decided), &route.route, slot.clone(), &account);
        let slot = slot.as_ref();
        let progress_of = progress.as_deref();
        let tries = Tries { route, upstream, client, progress: progress_of, slot, account };
        let answer = tries.answer(Request::from_parts(head, body)).await;
        let Some(progress) = progress else { return answer };
        let mut answer = progress.answer().unwrap_or(answer);
        if progress.over().is_none() && !is_http2 {
            // Its client may be sending what nobody will read.
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }
}

/// The path and query of a request as routes and servers see them, so that whoever is asked about it judges the
/// same ones.
fn said(uri: &hyper::Uri) -> String {
    let path = normal(uri.path()).unwrap_or_default(); // a bad one has no route
    match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.into_owned(),
    }
}

/// The answer to a request that no server has answered.
pub(crate) fn gives_up(
    route: &RoutePlan,
    slot: Option<&Slot>,
    failure: Failure,
) -> Response<AnswerBody> {
    route.counts.failed(failure);
    if let Some(slot) = slot {
        slot.note(|entry| entry.failed(failure));
    }
    failure.answer()
}

/// The route of a request; of a browser that asks before it asks, that of what it asks for, if
/// there its answer is ours to give.
fn find(
    plan: &Plan,
    table: &Table,
    host: &str,
    path: &str,
    request: &Request<RequestBody>,
) -> Found {
    let (method, headers) = (request.method().as_str(), request.headers());
    if let Some(asked_for) = preflight(method, headers) {
        let found = table.find(host, path, asked_for, headers);
        if let Found::Route { route, .. } = found
            && let Some(policy) = plan.routes.get(route).and_then(|route| route.policy.as_ref())
            && policy.answers_preflight()
        {
            return found;
        }
    }
    table.find(host, path, method, headers)
}

pub(crate) fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "2.0",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    }
}
