//! Those who are asked what a policy wants to know: where a fleet counts, a service that says who
//! may ask, and those who have the keys of tokens. A route that needs none of them never waits
//! here.

mod count;
mod forward;
mod standing;
mod token_keys;

use hyper::header::HeaderValue;
use staunch_http::{Client, ClientOptions, ClientOptionsError, RetryOptions};
use staunch_policy::{Asked, Now, Pass, Policy, Question, Refusal, Told, Verdict, Wait};
use staunch_pool::{HttpOptions, KeyedPoolOptions, PoolOptions};
use staunch_scope::Scope;

use self::count::Counters;
pub(crate) use self::token_keys::{TokenKeys, keep_token_keys};
use crate::plan::{Plan, RoutePlan};

/// Connections to them, on one core.
#[derive(Debug)]
pub(crate) struct Remote {
    counters: Counters,
    /// Only if somebody is asked by it.
    client: Option<Client>,
}

/// What the service that says who may ask is told of a request, beside what policies look at.
#[derive(Clone, Debug)]
pub(crate) struct About<'r> {
    /// Its path, in its one spelling, and its query.
    pub(crate) uri: String,
    /// As the client wrote it.
    pub(crate) host: Option<&'r HeaderValue>,
}

/// Connections to one of them: as many requests as may wait for it at a time.
const CONNECTIONS: usize = 256;

impl Remote {
    /// Those of `plan`; `before` has connections that stay.
    pub(crate) fn new<E: Send + 'static>(
        scope: &Scope<E>,
        plan: &Plan,
        before: Option<&Remote>,
    ) -> Result<Remote, ClientOptionsError> {
        let policies = || plan.routes.iter().filter_map(|route| route.policy.as_ref());
        let known = before.and_then(|before| before.client.clone());
        let client = match known {
            Some(client) => Some(client),
            None if policies().any(|policy| policy.forward().is_some()) => {
                Some(Client::new(scope, options("forward-auth"))?)
            }
            None => None,
        };
        let shared = policies().filter_map(Policy::shared_rate);
        let counters = Counters::new(scope, shared, before.map(|before| &before.counters));
        Ok(Remote { counters, client })
    }

    /// Asks whoever `wait` is about, until the request passes or not.
    ///
    /// # Cancel safety
    /// Dropped before its end, whoever is asked is not waited for; what was counted stays so.
    pub(crate) async fn settle<'p>(
        &self,
        route: &RoutePlan,
        mut wait: Wait<'p>,
        asked: &Asked<'_>,
        about: &About<'_>,
    ) -> Result<Pass<'p>, Refusal> {
        loop {
            let told = match wait.question() {
                Question::Keys(_) => {
                    if let Some(keys) = &route.token_keys {
                        keys.renewed().await;
                    }
                    Told::Keys
                }
                Question::Count { shared, entry } => {
                    Told::Count(self.counters.count(shared, entry).await)
                }
                Question::Forward(to) => Told::Forward(match &self.client {
                    Some(client) => forward::ask(client, to, asked, about).await,
                    None => None,
                }),
            };
            match wait.told(told, asked, Now::read()) {
                Verdict::Pass(pass) => return Ok(pass),
                Verdict::Refuse(refusal) => return Err(refusal),
                Verdict::Wait(further) => wait = further,
            }
        }
    }
}

/// One that neither follows nor repeats more than once, nor decodes: its answers are looked at for
/// their status, or are small.
pub(crate) fn options(name: &'static str) -> ClientOptions {
    let per_key = PoolOptions {
        name,
        max_total: CONNECTIONS,
        max_idle: CONNECTIONS / 4,
        ..PoolOptions::default()
    };
    ClientOptions {
        pool: KeyedPoolOptions { per_key, ..KeyedPoolOptions::default() },
        http: HttpOptions::default(),
        max_redirects: 0,
        retry: RetryOptions { max_retries: 1, ..RetryOptions::default() },
        decode: false,
        ..ClientOptions::default()
    }
}
