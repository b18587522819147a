//! Why a request does not go on, and what its client is told.

use std::borrow::Cow;

use http::{
    HeaderMap, StatusCode,
    header::{HeaderName, HeaderValue},
};

/// An answer without the server.
#[derive(Clone, Debug)]
#[must_use]
pub struct Refusal {
    /// Its status.
    pub status: StatusCode,
    /// What it is counted by.
    pub reason: Reason,
    /// Its headers, but for the length of its body; `Content-Type` if the body is no plain text.
    pub headers: Box<HeaderMap>,
    /// Its body: a line that says why, or what another service has said.
    pub body: Cow<'static, [u8]>,
}

/// What a request was not handed on for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// Its client's address.
    Client,
    /// Too many in a time.
    Rate,
    /// What requests are counted in cannot be reached.
    RateDown,
    /// Too many at a time.
    Concurrency,
    /// No key, or one that is not known.
    Key,
    /// No certificate, or one of somebody else.
    Certificate,
    /// No token, or one that does not hold.
    Token,
    /// A token that does not say what it must.
    Claim,
    /// The keys that tokens are signed with are not there.
    TokenKeys,
    /// Another service has said no.
    Forward,
    /// That service does not answer.
    ForwardDown,
    /// A page of an origin that may not ask.
    Origin,
    /// No refusal: a browser has asked what it may do.
    Preflight,
    /// The version's time is over.
    Sunset,
}

impl Reason {
    /// All of them, in the order of their numbers.
    pub const ALL: [Reason; 14] = [
        Reason::Client,
        Reason::Rate,
        Reason::RateDown,
        Reason::Concurrency,
        Reason::Key,
        Reason::Certificate,
        Reason::Token,
        Reason::Claim,
        Reason::TokenKeys,
        Reason::Forward,
        Reason::ForwardDown,
        Reason::Origin,
        Reason::Preflight,
        Reason::Sunset,
    ];

    /// For metrics.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Client => "client",
            Reason::Rate => "rate",
            Reason::RateDown => "rate-down",
            Reason::Concurrency => "concurrency",
            Reason::Key => "key",
            Reason::Certificate => "certificate",
            Reason::Token => "token",
            Reason::Claim => "claim",
            Reason::TokenKeys => "token-keys",
            Reason::Forward => "forward",
            Reason::ForwardDown => "forward-down",
            Reason::Origin => "origin",
            Reason::Preflight => "preflight",
            Reason::Sunset => "sunset",
        }
    }
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, reason: Reason, text: &'static str) -> Refusal {
        let body = Cow::Borrowed(text.as_bytes());
        Refusal { status, reason, headers: Box::default(), body }
    }

    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Refusal {
        self.headers.append(name, value);
        self
    }
}
