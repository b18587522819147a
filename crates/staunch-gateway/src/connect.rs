//! A connection of its own to the first server that takes one: for what is handed on as it is, and
//! for requests that lead to another protocol.

use std::net::IpAddr;

use staunch_ledger::Account;
use staunch_net::DialError;
use tokio::time::Instant;

use crate::{
    balance::InFlight,
    forward::Failure,
    link::{Carries, Link},
    upstream::{Server, Upstream},
};

/// For whom a connection is.
pub(crate) struct Connect<'c> {
    pub(crate) upstream: &'c Upstream,
    pub(crate) client: Option<IpAddr>,
    pub(crate) carries: Carries,
    /// That of the exchange.
    pub(crate) account: &'c Account,
}

/// A connection, and what it is counted by. `R` is its place among those that its server may have.
pub(crate) struct Connected<'c, R> {
    pub(crate) link: Link,
    pub(crate) server: &'c Server,
    pub(crate) in_flight: InFlight,
    pub(crate) room: R,
}

/// No server has taken it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("no server of the service is well")]
    NoServer,
    #[error("its servers have as many connections as they may have")]
    Busy,
    #[error(transparent)]
    Dial(#[from] DialError),
}

impl<'c> Connect<'c> {
    /// Dials one server after the other, as often as the service's tries and their budget allow. A server
    /// of which `room` has none is passed over. `asks` is told which one is dialled.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn first<R>(
        self,
        room: impl Fn(&Server) -> Option<R>,
        mut asks: impl FnMut(usize),
    ) -> Result<Connected<'c, R>, ConnectError> {
        let Connect { upstream, client, carries, account } = self;
        let plan = &upstream.plan;
        plan.budget.deposit();
        let (mut avoided, mut full) = (Vec::new(), Vec::new());
        let (mut tries, mut last) = (0, ConnectError::Busy);
        loop {
            let next = upstream.pick(&avoided, client, Instant::now());
            let (index, server) = next.ok_or(ConnectError::NoServer)?;
            let Some(room) = room(server) else {
                if full.contains(&index) {
                    return Err(last);
                }
                avoided.push(index);
                full.push(index);
                continue;
            };
            asks(index);
            account.set_upstream(&server.plan.name);
            let in_flight = server.begin(Instant::now());
            let error = match upstream.dial(server, carries).await {
                Ok(link) => return Ok(Connected { link, server, in_flight, room }),
                Err(error) => error,
            };
            let failure = Failure::of_dial(&error);
            if failure.is_servers() {
                plan.unanswered(&server.plan, failure, &error, Instant::now());
            }
            avoided.push(index);
            tries += 1;
            let may_again = failure != Failure::Ours && tries < plan.service.retry.tries.get();
            last = error.into();
            if !may_again || !plan.budget.withdraw() {
                return Err(last);
            }
        }
    }
}

impl ConnectError {
    pub(crate) fn failure(&self) -> Failure {
        match self {
            ConnectError::NoServer => Failure::NoServer,
            ConnectError::Busy => Failure::Busy,
            ConnectError::Dial(error) => Failure::of_dial(error),
        }
    }
}
