//! Where the names of servers lead. Many clients that are new at once ask for the same one, so it
//! is looked up for all of them together, and what was found holds for a moment.

use std::{
    collections::HashMap,
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use staunch_ledger::State;
use staunch_net::DialError;
use staunch_scope::Wait;
use tokio::{
    net::lookup_host,
    sync::OnceCell,
    time::{Instant, timeout},
};

/// How long an address holds: a server that has moved is found again after that.
const HOLDS: Duration = Duration::from_secs(5);

/// How long nobody asks again for a name that was not found.
const HOLDS_IN_VAIN: Duration = Duration::from_secs(1);

/// The names that were asked for last.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// No more than were asked for within [`HOLDS`], all of them servers of one service.
    known: Mutex<HashMap<String, Arc<Lookup>>>,
}

#[derive(Debug, Default)]
struct Lookup {
    found: OnceCell<Found>,
    /// Somebody was told that it was in vain.
    is_told: AtomicBool,
}

#[derive(Debug)]
struct Found {
    since: Instant,
    /// What went wrong, in words, since everybody who waits is told.
    address: Result<SocketAddr, String>,
}

/// There is no address.
#[derive(Debug)]
pub(super) struct NotFound {
    pub(super) error: DialError,
    /// It is the first to be told of this time.
    pub(super) is_news: bool,
}

impl NotFound {
    /// It was this one's own time, or lack of something, and not what was found for all.
    fn mine(error: DialError) -> NotFound {
        NotFound { error, is_news: true }
    }
}

impl Names {
    /// The address of `name`, a host and a port.
    ///
    /// # Cancel safety
    /// Cancel safe: another one who waits looks it up.
    pub(super) async fn find(&self, name: &str, limit: Duration) -> Result<SocketAddr, NotFound> {
        if let Ok(address) = name.parse() {
            return Ok(address);
        }
        let lookup = self.lookup(name, Instant::now());
        if let Some(found) = lookup.found.get() {
            return lookup.result(name, found);
        }
        let mut found = pin!(timeout(limit, lookup.found.get_or_try_init(|| resolve(name))));
        let mut wait = Wait::new();
        let found = poll_fn(|cx| wait.poll(cx, State::Handshake, |cx| found.as_mut().poll(cx)));
        match found.await {
            Ok(Ok(Ok(found))) => lookup.result(name, found),
            Ok(Ok(Err(error))) => Err(NotFound::mine(error)),
            Ok(Err(_)) => {
                Err(NotFound::mine(DialError::TimedOut { address: name.to_owned(), limit }))
            }
            Err(cause) => Err(NotFound::mine(DialError::Cancelled(cause))),
        }
    }

    fn lookup(&self, name: &str, now: Instant) -> Arc<Lookup> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lookup) = known.get(name).filter(|lookup| lookup.holds(now)) {
            return Arc::clone(lookup);
        }
        known.retain(|_, lookup| lookup.holds(now) && lookup.is_of_use());
        Arc::clone(known.entry(name.to_owned()).insert_entry(Arc::default()).get())
    }
}

impl Lookup {
    fn holds(&self, now: Instant) -> bool {
        self.found.get().is_none_or(|found| {
            let holds = if found.address.is_ok() { HOLDS } else { HOLDS_IN_VAIN };
            now.saturating_duration_since(found.since) < holds
        })
    }

    /// Whether something was found, or somebody still looks.
    fn is_of_use(self: &Arc<Self>) -> bool {
        self.found.initialized() || Arc::strong_count(self) > 1
    }

    fn result(&self, name: &str, found: &Found) -> Result<SocketAddr, NotFound> {
        let address = found.address.clone();
        address.map_err(|why| self.not_found(unresolved(name, io::Error::other(why))))
    }

    fn not_found(&self, error: DialError) -> NotFound {
        NotFound { error, is_news: !self.is_told.swap(true, Ordering::Relaxed) }
    }
}

/// What is for lack of descriptors or memory is an error of its own, which nobody keeps.
async fn resolve(name: &str) -> Result<Found, DialError> {
    let address = match lookup_host(name).await {
        Ok(mut addresses) => addresses.next().ok_or_else(|| "the name has no address".to_owned()),
        Err(error) => {
            let why = error.to_string();
            let error = unresolved(name, error);
            if error.is_local() {
                return Err(error);
            }
            Err(why)
        }
    };
    Ok(Found { since: Instant::now(), address })
}

fn unresolved(name: &str, source: io::Error) -> DialError {
    DialError::Unresolved { address: name.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn what_was_found_holds_for_a_while() {
        let names = Names::default();
        let found = names.find("localhost:80", LIMIT).await.unwrap();
        assert!(found.ip().is_loopback() && found.port() == 80, "{found}");
        let now = Instant::now();
        let lookup = names.lookup("localhost:80", now);
        assert!(lookup.found.initialized(), "the same one");
        assert!(names.lookup("localhost:80", now + HOLDS / 2).found.initialized());
        assert!(!names.lookup("localhost:80", now + HOLDS * 2).found.initialized());
    }

    #[tokio::test]
    async fn what_was_not_found_is_asked_for_again_soon() {
        let names = Names::default();
        let find = || async { names.find("nobody.invalid:80", LIMIT).await.unwrap_err() };
        let (first, second) = (find().await, find().await);
        for NotFound { error, .. } in [&first, &second] {
            let error = error.to_string();
            assert!(error.starts_with("nobody.invalid:80: name not resolved"), "{error}");
        }
        assert_eq!([first.is_news, second.is_news], [true, false], "it speaks against it once");
        let now = Instant::now();
        assert!(names.lookup("nobody.invalid:80", now).found.initialized());
        assert!(!names.lookup("nobody.invalid:80", now + HOLDS / 2).found.initialized());
    }

    #[tokio::test]
    async fn names_that_nobody_asks_for_are_forgotten() {
        let (names, now) = (Names::default(), Instant::now());
        for port in 0..100 {
            drop(names.lookup(&format!("localhost:{port}"), now));
        }
        names.lookup("localhost:80", now + HOLDS);
        assert_eq!(names.known.lock().unwrap().len(), 1);
        names.find("127.0.0.1:80", LIMIT).await.unwrap();
        assert_eq!(names.known.lock().unwrap().len(), 1, "what is no name is not looked up");
    }
}
