//! What is asked of a route's requests.

use std::path::PathBuf;

use http::header::{AUTHORIZATION, COOKIE, HeaderName};
use staunch_config::{ApiVersion, Clients, Policy as Configured};

use crate::{
    asked::{Asked, Now},
    callers::Callers,
    certificate::Certificate,
    concurrency::Concurrency,
    cors::Cors,
    course::{self, Verdict},
    forward::Forward,
    headers::Headers,
    jwt::{Jwt, ParseKeySetError},
    keys::ApiKeys,
    rate::{Rate, Shared},
    version::Version,
};

/// What a route asks of its requests. A route that asks nothing has none.
#[derive(Debug)]
pub struct Policy {
    pub(crate) clients: Option<Clients>,
    pub(crate) version: Option<Version>,
    pub(crate) cors: Option<Cors>,
    pub(crate) rate: Option<Rate>,
    pub(crate) keys: Option<ApiKeys>,
    pub(crate) certificate: Option<Certificate>,
    pub(crate) jwt: Option<Jwt>,
    pub(crate) concurrency: Option<Concurrency>,
    pub(crate) forward: Option<Forward>,
    pub(crate) headers: Option<Headers>,
    /// Headers by which the server is told who somebody is by way of other routes.
    pub(crate) foreign: Vec<HeaderName>,
}

/// The headers by which a server is told who somebody is, if `config` is asked. Credentials, which servers
/// check themselves, are none: a client may have its own.
pub fn identities(config: &Configured) -> Vec<HeaderName> {
    let keys = config.keys.iter().map(|keys| &keys.identity);
    let certificate = config.certificate.iter().map(|it| &it.identity);
    let claims = config.jwt.iter().flat_map(|jwt| jwt.headers.iter().map(|it| &it.header));
    let copied = config.forward.iter().flat_map(|forward| &forward.copy);
    let all = keys.chain(certificate).chain(claims).chain(copied);
    let names = all.filter_map(|name| name.parse::<HeaderName>().ok());
    names.filter(|name| ![AUTHORIZATION, COOKIE].contains(name)).collect()
}

/// What a configuration says cannot be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The keys of tokens cannot be read.
    #[error("{path}: cannot be read: {source}", path = path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// They are no keys.
    #[error("{path}: {source}", path = path.display())]
    KeySet {
        /// Which file.
        path: PathBuf,
        /// What is wrong with them.
        source: ParseKeySetError,
    },
    /// All of them are for other algorithms.
    #[error(
        "{path}: has no key for {algorithms}, which `algorithms` names: name another file, or what its \
         keys are for",
        path = path.display()
    )]
    NoKeyFits {
        /// Which file.
        path: PathBuf,
        /// Those that tokens may be signed with.
        algorithms: String,
    },
    /// A value is none that a header can have.
    #[error("`{0}` has a value that no header can have")]
    Value(&'static str),
}

impl Policy {
    /// What `config` and `version` ask of the requests of `route`; `None` if that is nothing. No client can
    /// set the headers that its server is `told` who somebody is by, by whichever route. What
    /// `before`, which was asked until now, knows of clients stays. Reads the file with the keys of
    /// tokens, if there is one, and so blocks for a moment.
    ///
    /// # Errors
    /// [`PolicyError`]
    pub fn new(
        route: &str,
        config: &Configured,
        version: Option<&ApiVersion>,
        told: &[HeaderName],
        before: Option<&Policy>,
    ) -> Result<Option<Policy>, PolicyError> {
        let bare = Configured { name: config.name.clone(), ..Configured::default() };
        let own = identities(config);
        let foreign = told.iter().filter(|name| !own.contains(name)).cloned().collect::<Vec<_>>();
        if *config == bare && version.is_none() && foreign.is_empty() {
            return Ok(None);
        }
        let keys = made("keys", config.keys.as_ref(), ApiKeys::new)?;
        let rate_before = before.and_then(|before| before.rate.as_ref());
        let rate = |rate: &_| Rate::new(rate, (&config.name, route), rate_before);
        let version_before = before.and_then(|before| before.version.as_ref());
        let make_version = |version: &ApiVersion| {
            let same = version_before.filter(|before| before.name() == version.name);
            let names = keys.iter().flat_map(ApiKeys::names);
            Version::new(version, Callers::new(names, same.map(|before| &before.callers)))
        };
        let concurrency_before = before.and_then(|before| before.concurrency.as_ref());
        let jwt_before = before.and_then(|before| before.jwt.as_ref());
        let jwt = config.jwt.as_ref().map(|jwt| Jwt::new(jwt, jwt_before)).transpose()?;
        Ok(Some(Policy {
            clients: config.clients.clone(),
            version: made("version", version, make_version)?,
            cors: made("cors", config.cors.as_ref(), Cors::new)?,
            rate: made("rate", config.rate.as_ref(), rate)?,
            certificate: made("certificate", config.certificate.as_ref(), Certificate::new)?,
            jwt,
            concurrency: config
                .concurrency
                .map(|most| Concurrency::new(most.get(), concurrency_before)),
            forward: made("forward", config.forward.as_ref(), Forward::new)?,
            headers: made("headers", config.headers.as_ref(), Headers::new)?,
            keys,
            foreign,
        }))
    }

    /// What becomes of a request. It neither waits nor blocks.
    pub fn decide(&self, asked: &Asked<'_>, now: Now) -> Verdict<'_> {
        course::decide(self, asked, now)
    }

    /// Whether somebody else may have to be asked: if not, [`decide`](Policy::decide) never says
    /// [`Wait`](Verdict::Wait).
    pub fn may_wait(&self) -> bool {
        let asks_for_keys = self.jwt.as_ref().is_some_and(|jwt| jwt.url().is_some());
        asks_for_keys || self.shared_rate().is_some() || self.forward.is_some()
    }

    /// Whether it refuses anybody.
    pub fn guards(&self) -> bool {
        let Policy { clients, rate, keys, certificate, jwt, concurrency, forward, .. } = self;
        clients.is_some()
            || keys.is_some()
            || certificate.is_some()
            || jwt.is_some()
            || forward.is_some()
            || rate.is_some()
            || concurrency.is_some()
    }

    /// Whether it answers browsers that ask before they ask.
    pub fn answers_preflight(&self) -> bool {
        self.cors.is_some()
    }

    /// The tokens that it takes, whose keys somebody must keep current.
    pub fn jwt(&self) -> Option<&Jwt> {
        self.jwt.as_ref()
    }

    /// Where a fleet counts.
    pub fn shared_rate(&self) -> Option<Shared<'_>> {
        self.rate.as_ref()?.shared()
    }

    /// Who else is asked.
    pub fn forward(&self) -> Option<&Forward> {
        self.forward.as_ref()
    }

    /// The version that is deprecated, and how often it was called by whom since; those without a key
    /// are `""`.
    pub fn deprecated_calls(&self) -> Option<(&str, impl Iterator<Item = (&str, u64)>)> {
        let version = self.version.as_ref()?;
        Some((version.name(), version.callers.read()))
    }
}

fn made<C, T>(
    table: &'static str,
    config: Option<C>,
    make: impl FnOnce(C) -> Option<T>,
) -> Result<Option<T>, PolicyError> {
    config.map(|config| make(config).ok_or(PolicyError::Value(table))).transpose()
}
