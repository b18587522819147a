//! The receive loop: datagrams that are short enough, one at a time, as long as there is room.

use std::{
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::pin,
    sync::Arc,
    task::ready,
    time::Duration,
};

use staunch_ledger::{Seldom, State};
use staunch_scope::{Cancelled, Wait, sleep};
use tokio::{
    io::ReadBuf,
    sync::{OwnedSemaphorePermit, Semaphore},
};

use crate::{
    control::Refuses,
    observe::observe,
    udp::{
        UdpCounts, UdpLimits,
        datagram::{Bound, Datagram, Peer},
        known::Known,
    },
};

/// The state of the loop.
pub(super) struct Receiving<S> {
    bound: Arc<Bound>,
    known: Arc<Known<S>>,
    room: Arc<Semaphore>,
    /// One byte longer than the longest datagram, to tell a longer one.
    memory: Box<[u8]>,
    said: Said,
    refuses: Option<Box<Refuses>>,
    counts: UdpCounts,
}

/// What anybody can have happen, and so is said seldom.
#[derive(Default)]
struct Said {
    oversize: Seldom,
    refused: Seldom,
    evicted: Seldom,
}

/// No datagram is longer (RFC 768 has 16 bits for its length).
const LONGEST: usize = u16::MAX as usize;

/// The pause after a failed receive, so that one that fails for ever does not burn a core.
const PAUSE: Duration = Duration::from_millis(5);

impl<S: Default> Receiving<S> {
    pub(super) fn new(
        bound: Arc<Bound>,
        limits: &UdpLimits,
        known: Arc<Known<S>>,
        (refuses, counts): (Option<Box<Refuses>>, UdpCounts),
    ) -> Receiving<S> {
        let memory = vec![0; limits.datagram.min(LONGEST) + 1].into_boxed_slice();
        bound.account.add_bytes(memory.len() as u64);
        let room = Arc::new(Semaphore::new(limits.in_flight.clamp(1, Semaphore::MAX_PERMITS)));
        let said = Said::default();
        Receiving { bound, known, room, memory, said, refuses, counts }
    }

    /// The next datagram, and its place among those being handled; an error once the task is
    /// asked to stop.
    pub(super) async fn next(&mut self) -> Result<(Datagram<S>, OwnedSemaphorePermit), Cancelled> {
        let permit = self.place().await?;
        loop {
            match self.receive().await? {
                Ok((length, peer)) if length == self.memory.len() => self.too_long(peer),
                Ok((length, address)) => {
                    if let Some(peer) = self.peer(address) {
                        return Ok((self.datagram(length, peer), permit));
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "nothing received");
                    sleep(PAUSE).await?;
                }
            }
        }
    }

    async fn place(&self) -> Result<OwnedSemaphorePermit, Cancelled> {
        let mut wait = Wait::new();
        let mut acquire = pin!(Arc::clone(&self.room).acquire_owned());
        poll_fn(|cx| wait.poll(cx, State::Waiting, |cx| acquire.as_mut().poll(cx)))
            .await?
            .map_err(|_| Cancelled::Requested) // it is never closed
    }

    async fn receive(&mut self) -> Result<io::Result<(usize, SocketAddr)>, Cancelled> {
        let (socket, memory) = (&self.bound.socket, &mut self.memory);
        let mut wait = Wait::new();
        poll_fn(|cx| {
            wait.poll(cx, State::Read, |cx| {
                let mut buffer = ReadBuf::new(memory);
                let peer = ready!(socket.poll_recv_from(cx, &mut buffer));
                peer.map(|peer| (buffer.filled().len(), peer)).into()
            })
        })
        .await
    }

    /// The peer of a datagram, unless it is new and none are taken.
    fn peer(&self, address: SocketAddr) -> Option<Arc<Peer<S>>> {
        if let Some(peer) = self.known.hear(address) {
            return Some(peer);
        }
        if self.refuses.as_ref().is_some_and(|refuses| refuses()) {
            self.refused(address);
            return None;
        }
        let (peer, forgotten) = self.known.meet(address);
        if let Some(forgotten) = forgotten {
            self.evicted(&forgotten);
        }
        Some(peer)
    }

    fn datagram(&self, length: usize, peer: Arc<Peer<S>>) -> Datagram<S> {
        self.counts.count_received();
        let (known, bound) = (Arc::clone(&self.known), Arc::clone(&self.bound));
        Datagram::new(&self.memory[..length], peer, known, bound)
    }

    fn too_long(&self, peer: SocketAddr) {
        self.counts.count_oversize();
        if self.said.oversize.happened(self.known.ledger.now()).is_some() {
            let (limit, count) = (self.memory.len() - 1, self.counts.oversize());
            self.observe(
                "udp-oversize",
                format!("dropped a datagram of more than {limit} bytes from {peer}, {count} so far: raise `datagram`, or make the peer send shorter ones"),
            );
        }
    }

    fn refused(&self, peer: SocketAddr) {
        self.counts.count_refused();
        if self.said.refused.happened(self.known.ledger.now()).is_some() {
            let count = self.counts.refused();
            self.observe(
                "udp-refused",
                format!("dropped a datagram of {peer}, which is new, {count} such so far: no peers are taken for the time being"),
            );
        }
    }

    fn evicted(&self, peer: &Peer<S>) {
        self.counts.count_evicted();
        let now = self.known.ledger.now();
        if self.said.evicted.happened(now).is_some() {
            let (address, count) = (peer.address, self.counts.evicted());
            let silent = now.since(peer.account.progress());
            self.observe(
                "udp-peers-full",
                format!("forgot {address} after {silent:?} of silence to make room, {count} such so far: raise `peers`, or lower `peer_idle`"),
            );
        }
    }

    fn observe(&self, rule: &'static str, text: String) {
        tracing::warn!("{text}");
        observe(self.known.ledger, self.bound.account.id(), rule, text);
    }
}
