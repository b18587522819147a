//! How many connections a listener has, in all and from each address.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    num::NonZeroU32,
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::limits::Limits;

/// Counts the connections of one listener.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    counts: Mutex<Counts>,
    left: Notify,
}

#[derive(Debug, Default)]
struct Counts {
    live: usize,
    by_source: HashMap<Source, u32>,
}

/// Whom a connection is counted for: an IPv4 address, or the /64 of an IPv6 one, of which a
/// single client has 2^64 addresses (RFC 4291, 2.5.1; RFC 6177). Small, since every connection
/// has one: a /64 is known by its hash, keyed so that nobody can choose whom to be counted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Source(NonZeroU32);

impl Source {
    pub(crate) fn of(ip: IpAddr) -> Source {
        static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        let number = match ip.to_canonical() {
            IpAddr::V4(ip) => ip.to_bits(),
            IpAddr::V6(ip) => KEY.hash_one(ip.to_bits() >> 64) as u32,
        };
        Source(NonZeroU32::new(number).unwrap_or(NonZeroU32::MAX))
    }
}

/// An address has as many connections as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "its address has {most} connections already: raise `connections_per_ip` if one may have more"
)]
pub(crate) struct TooMany {
    most: usize,
}

impl TooMany {
    pub(crate) fn of(limits: &Limits) -> TooMany {
        TooMany { most: limits.connections_per_ip.unwrap_or(usize::MAX) }
    }
}

/// A connection's place in the counts, given up when dropped.
#[derive(Debug)]
pub(crate) struct Admitted {
    /// `None` once a connection has it.
    admission: Option<Arc<Admission>>,
    source: Option<Source>,
}

impl Admission {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn live(&self) -> usize {
        self.counts().live
    }

    /// Waits until fewer than `most` connections are live.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn room(&self, most: Option<usize>) {
        let Some(most) = most else { return };
        let mut has_waited = false;
        while self.live() >= most {
            self.left.notified().await;
            has_waited = true;
        }
        if has_waited {
            // Several may have left at once, and nobody comes for who else is waiting here.
            self.left.notify_one();
        }
    }

    /// A place for a connection from `source`; `None` when that has `most` already.
    pub(crate) fn admit(
        self: &Arc<Self>,
        source: Option<Source>,
        most: Option<usize>,
    ) -> Option<Admitted> {
        let source = source.filter(|_| most.is_some());
        let mut counts = self.counts();
        if let (Some(source), Some(most)) = (source, most) {
            let count = counts.by_source.get(&source).copied().unwrap_or(0);
            if count as usize >= most {
                return None;
            }
            counts.by_source.insert(source, count + 1);
        }
        counts.live += 1;
        Some(Admitted { admission: Some(Arc::clone(self)), source })
    }

    /// Counts a connection that has a place for `source` from now on; not if that has `most`
    /// already.
    pub(crate) fn count_for(&self, source: Source, most: Option<usize>) -> bool {
        let Some(most) = most else { return true };
        let mut counts = self.counts();
        let count = counts.by_source.get(&source).copied().unwrap_or(0);
        if count as usize >= most {
            return false;
        }
        counts.by_source.insert(source, count + 1);
        true
    }

    /// A place without a limit, for a connection that is dialled.
    pub(crate) fn admit_anybody(self: &Arc<Self>) -> Admitted {
        self.counts().live += 1;
        Admitted { admission: Some(Arc::clone(self)), source: None }
    }

    /// Gives up the place of a connection from `source`.
    pub(crate) fn leave(&self, source: Option<Source>) {
        let mut counts = self.counts();
        counts.live -= 1;
        if let Some(source) = source {
            if let Some(count) = counts.by_source.get_mut(&source) {
                *count -= 1;
                if *count == 0 {
                    counts.by_source.remove(&source);
                }
            }
            if counts.by_source.is_empty() {
                counts.by_source = HashMap::new(); // gives its memory back
            }
        }
        drop(counts);
        self.left.notify_one();
    }
}

impl Admitted {
    /// Hands the place over to a connection, which gives it up by [`Admission::leave`].
    pub(crate) fn keep(mut self) -> Option<Source> {
        self.admission = None;
        self.source
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if let Some(admission) = &self.admission {
            admission.leave(self.source);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        task::{Context, Waker},
    };

    use super::*;

    #[test]
    fn a_client_is_one_source() {
        let of = |ip: &str| Source::of(ip.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:2"), "one /64");
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"), "the same client on an IPv6 socket");
    }

    /// Each core waits by itself, and several connections may leave before any of them finds room.
    #[test]
    fn everybody_who_waits_hears_that_there_is_room() {
        let admission = Arc::new(Admission::default());
        let [first, second, third] = [(); 3].map(|()| admission.admit_anybody());
        let (mut a, mut b) = (pin!(admission.room(Some(1))), pin!(admission.room(Some(1))));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(a.as_mut().poll(&mut cx).is_pending() && b.as_mut().poll(&mut cx).is_pending());
        drop(first);
        assert!(a.as_mut().poll(&mut cx).is_pending(), "two are left");
        drop(second);
        assert!(b.as_mut().poll(&mut cx).is_pending(), "one is left");
        drop(third);
        assert!(a.as_mut().poll(&mut cx).is_ready() && b.as_mut().poll(&mut cx).is_ready());
    }
}
