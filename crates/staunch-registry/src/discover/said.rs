//! What the log says of a registry that is lost: at once, and again when the reason is another kind of
//! failure, at most once in ten seconds.

use std::mem::{Discriminant, discriminant};

use hyper::StatusCode;
use staunch_http::ClientError;
use staunch_ledger::{Seldom, Stamp};

use super::DiscoveryError;
use crate::ask::AskError;

/// What was said since there is no answer.
#[derive(Debug, Default)]
pub(super) struct Said {
    kind: Option<Kind>,
    seldom: Seldom,
}

/// What two failures have in common that only differ in who was asked, or how far it came.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Other(Discriminant<DiscoveryError>),
    Client(Discriminant<ClientError>),
    Status(StatusCode),
    Ask(Discriminant<AskError>),
    Dns(String),
}

impl Said {
    /// Whether `error` is to be said.
    pub(super) fn is_news(&mut self, error: &DiscoveryError, now: Stamp) -> bool {
        let kind = Kind::of(error);
        if self.kind.as_ref() == Some(&kind) {
            // A file is looked at when it has changed, so that each of its mistakes is another one.
            return matches!(error, DiscoveryError::Line { .. });
        }
        let is_time = self.seldom.happened(now).is_some();
        let is_news = is_time || self.kind.is_none();
        if is_news {
            self.kind = Some(kind);
        }
        is_news
    }

    /// There is an answer. Returns whether the log says that there is none.
    pub(super) fn succeeded(&mut self) -> bool {
        self.kind.take().is_some()
    }
}

impl Kind {
    fn of(error: &DiscoveryError) -> Kind {
        match error {
            DiscoveryError::Ask(AskError::Client(error)) => Kind::Client(discriminant(error)),
            DiscoveryError::Ask(AskError::Status { status, .. }) => Kind::Status(*status),
            DiscoveryError::Ask(error) => Kind::Ask(discriminant(error)),
            DiscoveryError::Dns { reason, .. } => Kind::Dns(reason.clone()),
            other => Kind::Other(discriminant(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn another_reason_is_said_and_not_too_often() {
        let mut said = Said::default();
        let dns =
            |reason: &str| DiscoveryError::Dns { name: "a".to_owned(), reason: reason.to_owned() };
        let line = || DiscoveryError::Line {
            file: "f".to_owned(),
            line: 1,
            written: "x".to_owned(),
            reason: "r".to_owned(),
        };
        let mut at = |seconds, error: DiscoveryError| {
            said.is_news(&error, Stamp::default().plus(Duration::from_secs(seconds)))
        };
        assert!(at(0, DiscoveryError::Empty));
        assert!(!at(20, DiscoveryError::Empty), "it was said");
        assert!(at(40, dns("no answer")), "it is another one");
        assert!(!at(41, dns("SERVFAIL")), "too early");
        assert!(!at(45, dns("no answer")));
        assert!(at(60, dns("SERVFAIL")));
        assert!(at(80, line()));
        assert!(at(80, line()), "each time");
        assert!(said.succeeded() && !said.succeeded());
        let again = Stamp::default().plus(Duration::from_secs(81));
        assert!(said.is_news(&DiscoveryError::Empty, again), "once for each loss");
    }
}
