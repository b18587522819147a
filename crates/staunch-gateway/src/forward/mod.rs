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
mod tries;

use std::sync::Arc;

use hyper::{
    Request, Response, StatusCode, Version, body::Body, header::HOST, header::HeaderValue,
};
use staunch_http::RequestBody;
use staunch_scope::Context;
use tokio::time::Instant;

use self::{answer::own, body::upload, target::Target, tries::Tries};
pub(crate) use self::{
    answer::{AnswerBody, allowed},
    budget::Budget,
    failure::Failure,
    headers::{HOPS_MAX, Origin, of_answer, of_request},
    target::rewritten,
    tries::speaks_against,
};
use crate::{
    core::{CoreState, Shared},
    plan::RoutePlan,
    route::{Found, normal},
    tunnel,
    upstream::Upstream,
};

/// A listener's requests on one core.
#[derive(Debug)]
pub(crate) struct Forward {
    pub(crate) core: Arc<Shared>,
    pub(crate) listener: String,
    pub(crate) is_secure: bool,
}

/// Counts a request that its client gives up.
pub(crate) struct Cancelling<'r>(pub(crate) Option<&'r RoutePlan>);

impl Drop for Cancelling<'_> {
    fn drop(&mut self) {
        if let Some(route) = self.0 {
            route.counts.cancelled();
        }
    }
}

impl Forward {
    /// Answers a request.
    ///
    /// # Cancel safety
    /// Dropped before its end, the request to the server is given up.
    pub(crate) async fn answer(&self, request: Request<RequestBody>) -> Response<AnswerBody> {
        let state = self.core.state();
        match self.routed(&state, &request) {
            Err(refusal) => *refusal,
            Ok((route, upstream, target)) => {
                let begun = Instant::now();
                let mut cancelling = Cancelling(Some(route));
                let answer = self.ask(route, upstream, target, request).await;
                cancelling.0 = None;
                route.counts.answered(answer.status(), begun.elapsed());
                answer
            }
        }
    }

    /// Where a request goes.
    fn routed<'s>(
        &self,
        state: &'s CoreState,
        request: &Request<RequestBody>,
    ) -> Result<(&'s RoutePlan, &'s Upstream, Target), Box<Response<AnswerBody>>> {
        let refuse = |status, text: String| Box::new(own(status, text));
        let path = normal(request.uri().path())
            .map_err(|bad| refuse(StatusCode::BAD_REQUEST, bad.to_string()))?;
        let host = target::host(request);
        let found = match state.plan.table(&self.listener) {
            Some(table) => table.find(&host, &path, request.method().as_str(), request.headers()),
            None => Found::Nothing,
        };
        let (route, prefix) = match found {
            Found::Route { route, prefix } => (route, prefix),
            Found::Methods(methods) => return Err(Box::new(answer::not_allowed(methods))),
            Found::Nothing => {
                return Err(refuse(StatusCode::NOT_FOUND, "No route leads there".to_owned()));
            }
        };
        let nothing = || refuse(StatusCode::INTERNAL_SERVER_ERROR, "No such route".to_owned());
        let route = state.plan.routes.get(route).ok_or_else(nothing)?;
        let upstream = state.upstreams.get(route.service).ok_or_else(nothing)?;
        let announced = request.body().size_hint().lower();
        if announced > route.route.body.get() {
            let text =
                format!("The body has {announced} bytes; {} are taken here", route.route.body);
            return Err(refuse(StatusCode::PAYLOAD_TOO_LARGE, text));
        }
        let target = Target::new(&route.route, request.uri(), &path, prefix);
        let target = target.map_err(|_| {
            refuse(StatusCode::BAD_REQUEST, "The path cannot be rewritten".to_owned())
        })?;
        Ok((route, upstream, target))
    }

    async fn ask(
        &self,
        route: &RoutePlan,
        upstream: &Upstream,
        target: Target,
        mut request: Request<RequestBody>,
    ) -> Response<AnswerBody> {
        if tunnel::is_wanted(&request, upstream) {
            return tunnel::open(self, route, upstream, target.uri, request).await;
        }
        let client = staunch_http::peer().map(|peer| peer.ip());
        let host = target::host_header(&request);
        let version = version(request.version());
        let origin = Origin { client, host: host.as_ref(), is_secure: self.is_secure };
        if of_request(request.headers_mut(), version, &origin, traceparent()).is_err() {
            return Failure::Circle.answer();
        }
        let named = route.upstream_host.clone().or(host);
        if let Some(named) = named {
            request.headers_mut().insert(HOST, named);
        }
        let (mut head, body) = request.into_parts();
        head.uri = target.uri;
        head.extensions = hyper::http::Extensions::new();
        let (body, progress) = upload(body, &route.route);
        let tries = Tries { route, upstream, client, progress: progress.as_deref() };
        let answer = tries.answer(Request::from_parts(head, body)).await;
        progress.and_then(|progress| progress.answer()).unwrap_or(answer)
    }
}

pub(crate) fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "2.0",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    }
}

/// The trace that the request belongs to: that of its client, if it has named one.
pub(crate) fn traceparent() -> Option<HeaderValue> {
    HeaderValue::from_bytes(&Context::current().trace_id().to_traceparent()).ok()
}
