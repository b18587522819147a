//! How many connections a listener has, in all and from each address.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

/// Counts the connections of one listener.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    counts: Mutex<Counts>,
    left: Notify,
}

#[derive(Debug, Default)]
struct Counts {
    live: usize,
    by_ip: HashMap<IpAddr, u32>,
}

/// A connection's place in the counts, given up when dropped.
#[derive(Debug)]
pub(crate) struct Admitted {
    /// `None` once a connection has it.
    admission: Option<Arc<Admission>>,
    ip: Option<IpAddr>,
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
        while self.live() >= most {
            self.left.notified().await;
        }
    }

    /// A place for a connection from `ip`; `None` when that address has `most_per_ip` already.
    pub(crate) fn admit(
        self: &Arc<Self>,
        ip: Option<IpAddr>,
        most_per_ip: Option<usize>,
    ) -> Option<Admitted> {
        let ip = ip.filter(|_| most_per_ip.is_some());
        let mut counts = self.counts();
        if let (Some(ip), Some(most)) = (ip, most_per_ip) {
            let count = counts.by_ip.get(&ip).copied().unwrap_or(0);
            if count as usize >= most {
                return None;
            }
            counts.by_ip.insert(ip, count + 1);
        }
        counts.live += 1;
        Some(Admitted { admission: Some(Arc::clone(self)), ip })
    }

    /// A place without a limit, for a connection that is dialled.
    pub(crate) fn admit_anybody(self: &Arc<Self>) -> Admitted {
        self.counts().live += 1;
        Admitted { admission: Some(Arc::clone(self)), ip: None }
    }

    /// Gives up the place of a connection from `ip`.
    pub(crate) fn leave(&self, ip: Option<IpAddr>) {
        let mut counts = self.counts();
        counts.live -= 1;
        if let Some(ip) = ip {
            if let Some(count) = counts.by_ip.get_mut(&ip) {
                *count -= 1;
                if *count == 0 {
                    counts.by_ip.remove(&ip);
                }
            }
            if counts.by_ip.is_empty() {
                counts.by_ip = HashMap::new(); // gives its memory back
            }
        }
        drop(counts);
        self.left.notify_one();
    }
}

impl Admitted {
    /// Hands the place over to a connection, which gives it up by [`Admission::leave`].
    pub(crate) fn keep(mut self) -> Option<IpAddr> {
        self.admission = None;
        self.ip
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if let Some(admission) = &self.admission {
            admission.leave(self.ip);
        }
    }
}
