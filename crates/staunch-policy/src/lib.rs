//! Whether a request may pass, and what is said beside its answer: decided from its head, before any
//! of its body is read.
//!
//! A [`Policy`] is what a configuration asks of a route's requests. [`Policy::decide`] looks at a
//! request as it is [`Asked`], which is a view that costs nothing to make of whatever has parsed it,
//! and says [`Pass`], with the [`Edit`]s that the heads of request and answer get, or [`Refusal`].
//! Nothing here waits, reads a clock or a socket; where somebody else must be asked first, the verdict
//! is a [`Wait`] with the [`Question`], and goes on when it is [told](Wait::told) the answer.
//!
//! # What holds
//! 1. What cannot be decided is refused: a route is never open because something was down, unless its
//!    configuration says so.
//! 2. Every table has a bound, and what is looked at of a request, too.
//! 3. Who somebody is, the server is told in a header that no client can set.
//! 4. Keys and tokens are in no error, no `Debug` and no refusal.

mod asked;
mod callers;
mod certificate;
mod clients;
mod concurrency;
mod cors;
mod course;
mod edit;
mod forward;
mod headers;
mod jwt;
mod keys;
mod policy;
mod rate;
mod refusal;
mod version;

pub use self::{
    asked::{Asked, Fields, Now},
    concurrency::Permit,
    cors::preflight,
    course::{Pass, Question, Told, Verdict, Wait},
    edit::Edit,
    forward::{Forward, Forwarded},
    jwt::{Jwt, JwtKeySet, ParseKeySetError},
    keys::{NewKey, NoRandomnessError},
    policy::{Policy, PolicyError, identities},
    rate::{Count, Gcra, Rate, Shared, Table},
    refusal::{Reason, Refusal},
};

/// What reads bytes, for `fuzz/` alone.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::jwt::fuzzing::{key_set, token};
}
