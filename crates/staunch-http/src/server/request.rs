//! What every request begins with: an account below its connection's, and a context with a deadline
//! and a trace id.

use std::{panic::Location, time::Duration};

use hyper::{Request, StatusCode, header::HeaderName};
use staunch_ledger::{Account, Deadline, EntryId, Kind, Ledger, Obligation, Observation};
use staunch_scope::{Context, Piece, TraceId};
use tokio::time::Instant;

use super::{
    body::RequestBody,
    link::Link,
    refused::{Hears, Refused},
    socket::Transport,
};
use crate::limits::HttpLimits;

/// The header of W3C Trace Context.
static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Whose requests they are, and what they may cost: known before there is one.
#[derive(Clone, Copy)]
pub(super) struct Origin<'l> {
    /// Where it is noted what became of the connection.
    pub(super) notes: Notes,
    limits: &'l HttpLimits,
    hears: &'l Hears,
}

/// The requests of one connection, while there are any.
pub(super) struct Requests<'l> {
    origin: Origin<'l>,
    connection: EntryId,
    context: Context,
}

impl<'l> Origin<'l> {
    pub(super) fn new(
        born_at: &'static Location<'static>,
        ledger: Ledger,
        limits: &'l HttpLimits,
        hears: &'l Hears,
    ) -> Origin<'l> {
        Origin { notes: Notes { born_at, ledger }, limits, hears }
    }
}

impl<'l> Requests<'l> {
    /// Those that come by a connection of the running task.
    pub(super) fn of(origin: Origin<'l>, transport: &impl Transport) -> Requests<'l> {
        let connection = transport.account().id();
        let context = Link::context(transport.peer(), transport.peer_names());
        Requests { origin, connection, context }
    }

    pub(super) fn limits(&self) -> &'l HttpLimits {
        self.origin.limits
    }

    /// Tells whoever wants to know that a request was refused.
    pub(super) fn refused(&self, status: StatusCode, asked: Option<&Request<RequestBody>>) {
        let peer = Link::peer(&self.context);
        self.origin.hears.tell(&Refused { status, peer, asked });
    }

    pub(super) fn notes(&self) -> Notes {
        self.origin.notes
    }

    /// Opens the account of a request that came at `begun`, whose handler may take until `limit`: until
    /// all of its answer is made, or it is given up.
    pub(super) fn begin<B>(&self, request: &Request<B>, begun: Instant, limit: Duration) -> Piece {
        let Notes { born_at, ledger } = self.origin.notes;
        let obligation = Obligation::EndsBy(Deadline::after(limit));
        let parent = Some(self.connection);
        let account = ledger.open_at(born_at, Kind::REQUEST, obligation, parent);
        label(&account, request);
        let given = request.headers().get(&TRACEPARENT);
        let trace = given.and_then(|header| TraceId::from_traceparent(header.as_bytes()));
        let trace = trace.unwrap_or_else(|| TraceId::derived(account.id().number()));
        Piece::new(account, self.context.for_request(trace, begun.checked_add(limit)))
    }
}

/// What became of a connection, on the ledger.
#[derive(Clone, Copy)]
pub(super) struct Notes {
    born_at: &'static Location<'static>,
    ledger: Ledger,
}

impl Notes {
    pub(super) fn observe(&self, rule: &'static str, text: String) {
        let at = self.ledger.now();
        let (kind, born_at) = (Kind::CONNECTION, self.born_at);
        self.ledger.observe(Observation { rule, kind, born_at, text, at });
    }

    /// The client did not take what there was for it.
    pub(super) fn stalled(&self, limit: Duration, what: &str) {
        let text = format!("nothing of an answer was taken for {limit:?} (`stream_stall`): {what}");
        self.observe("stream-stall", text);
    }
}

/// Method and path. Not the query, in which secrets are sent.
fn label<B>(account: &Account, request: &Request<B>) {
    let (method, path) = (request.method().as_str(), request.uri().path());
    account.label_with(&[method, " ", path]);
}
