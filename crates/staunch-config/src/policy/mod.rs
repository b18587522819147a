//! `[[policy]]`: what is asked of a request before it goes on, and what is said beside its answer.
//!
//! A route names the policies that it has. Each kind of table stands in one of them at most, so
//! that it is plain which one counts; [`Policy::joined`] is all of them together.

mod certificate;
mod clients;
mod cors;
mod date;
mod forward;
mod headers;
mod jwt;
mod keys;
mod rate;
mod version;

use std::num::NonZeroUsize;

pub use self::certificate::ClientCertificate;
pub use self::clients::{Clients, IpRange, ParseIpRangeError};
pub use self::cors::{Cors, OriginPattern, Origins, ParseOriginError};
pub use self::forward::ForwardAuth;
pub(crate) use self::forward::is_url;
pub use self::headers::HeaderEdits;
pub use self::jwt::{ClaimHeader, ClaimMatch, Jwt, JwtAlgorithm, JwtKeys};
pub use self::keys::{ApiKey, ApiKeys, KeyHash, ParseKeyHashError};
pub use self::rate::{Rate, RateBy, RedisUrl, SharedRate, WhenDown};
pub use self::version::ApiVersion;
use crate::listener::name;
use crate::reader::Section;
use crate::reader::kinds::count;

/// What routes can have in common; every part is `None` where nothing of the kind is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Its name: 1 to 32 of a-z, 0-9 and -; no other policy has it.
    pub name: String,
    /// Which addresses may ask.
    pub clients: Option<Clients>,
    /// Who is known by a key.
    pub keys: Option<ApiKeys>,
    /// Who is known by a token.
    pub jwt: Option<Jwt>,
    /// Who is known by the certificate of their connection.
    pub certificate: Option<ClientCertificate>,
    /// Another service that is asked whether a request may pass.
    pub forward: Option<ForwardAuth>,
    /// How many requests come in a time.
    pub rate: Option<Rate>,
    /// How many requests of a route are in flight at a time, until the last byte of their answers.
    pub concurrency: Option<NonZeroUsize>,
    /// Which pages of other origins may ask.
    pub cors: Option<Cors>,
    /// Headers that are set or taken out.
    pub headers: Option<HeaderEdits>,
}

const CONCURRENCY_MAX: usize = 10_000_000;

impl Policy {
    pub(crate) fn read(section: &mut Section<'_>) -> Option<Self> {
        let name = section.required("name", "\"api\"", name);
        let concurrency = section.written("concurrency", count(1..=CONCURRENCY_MAX));
        Some(Self {
            clients: section.table_if_written("clients", |it| Some(Clients::read(it))),
            keys: section.table_if_written("keys", ApiKeys::read),
            jwt: section.table_if_written("jwt", Jwt::read),
            certificate: section
                .table_if_written("certificate", |it| Some(ClientCertificate::read(it))),
            forward: section.table_if_written("forward", ForwardAuth::read),
            rate: section.table_if_written("rate", Rate::read),
            cors: section.table_if_written("cors", Cors::read),
            headers: section.table_if_written("headers", |it| Some(HeaderEdits::read(it))),
            concurrency,
            name: name?,
        })
    }

    /// All of `policies` as one: of each kind the first there is.
    pub fn joined<'p>(policies: impl IntoIterator<Item = &'p Policy>) -> Policy {
        policies.into_iter().fold(Policy::default(), |joined, next| Policy {
            name: if joined.name.is_empty() { next.name.clone() } else { joined.name },
            clients: joined.clients.or_else(|| next.clients.clone()),
            keys: joined.keys.or_else(|| next.keys.clone()),
            jwt: joined.jwt.or_else(|| next.jwt.clone()),
            certificate: joined.certificate.or_else(|| next.certificate.clone()),
            forward: joined.forward.or_else(|| next.forward.clone()),
            rate: joined.rate.or_else(|| next.rate.clone()),
            concurrency: joined.concurrency.or(next.concurrency),
            cors: joined.cors.or_else(|| next.cors.clone()),
            headers: joined.headers.or_else(|| next.headers.clone()),
        })
    }

    /// The kinds that it has, as their tables or keys are called.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = &'static str> {
        [
            ("clients", self.clients.is_some()),
            ("keys", self.keys.is_some()),
            ("jwt", self.jwt.is_some()),
            ("certificate", self.certificate.is_some()),
            ("forward", self.forward.is_some()),
            ("rate", self.rate.is_some()),
            ("concurrency", self.concurrency.is_some()),
            ("cors", self.cors.is_some()),
            ("headers", self.headers.is_some()),
        ]
        .into_iter()
        .filter_map(|(kind, is_there)| is_there.then_some(kind))
    }
}
