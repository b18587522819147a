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

use staunch_ledger::{Stamp, State};
use staunch_scope::{Cancelled, Wait, sleep};
use tokio::{
    io::ReadBuf,
    sync::{OwnedSemaphorePermit, Semaphore},
};

use crate::{
    observe::observe,
    udp::{
        UdpLimits, UdpServed,
        datagram::{Bound, Datagram, Peer},
        known::Known,
    },
};

/// The state of the loop.
pub(super) struct Receiving<'a, S> {
    bound: Arc<Bound>,
    known: &'a Known<S>,
    room: Arc<Semaphore>,
    /// One byte longer than the longest datagram, to tell a longer one.
    memory: Box<[u8]>,
    oversize_said: Seldom,
    evicted_said: Seldom,
    served: &'a mut UdpServed,
}

/// No datagram is longer (RFC 768 has 16 bits for its length).
const LONGEST: usize = u16::MAX as usize;

/// The pause after a failed receive, so that one that fails for ever does not burn a core.
const PAUSE: Duration = Duration::from_millis(5);

impl<'a, S: Default> Receiving<'a, S> {
    pub(super) fn new(
        bound: Arc<Bound>,
        limits: &UdpLimits,
        known: &'a Known<S>,
        served: &'a mut UdpServed,
    ) -> Receiving<'a, S> {
        let memory = vec![0; limits.datagram.min(LONGEST) + 1].into_boxed_slice();
        bound.account.add_bytes(memory.len() as u64);
        let room = Arc::new(Semaphore::new(limits.in_flight.clamp(1, Semaphore::MAX_PERMITS)));
        let (oversize_said, evicted_said) = Default::default();
        Receiving { bound, known, room, memory, oversize_said, evicted_said, served }
    }

    /// The next datagram, and its place among those being handled; an error once the task is
    /// asked to stop.
    pub(super) async fn next(&mut self) -> Result<(Datagram<S>, OwnedSemaphorePermit), Cancelled> {
        let permit = self.place().await?;
        loop {
            match self.receive().await? {
                Ok((length, peer)) if length == self.memory.len() => self.too_long(peer),
                Ok((length, peer)) => return Ok((self.datagram(length, peer), permit)),
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

    fn datagram(&mut self, length: usize, peer: SocketAddr) -> Datagram<S> {
        self.served.received += 1;
        let (peer, forgotten) = self.known.hear(peer);
        if let Some(forgotten) = forgotten {
            self.evicted(&forgotten);
        }
        Datagram::new(&self.memory[..length], peer, Arc::clone(&self.bound))
    }

    fn too_long(&mut self, peer: SocketAddr) {
        self.served.oversize += 1;
        if self.oversize_said.is_time(self.known.ledger.now()) {
            let (limit, count) = (self.memory.len() - 1, self.served.oversize);
            self.observe(
                "udp-oversize",
                format!("dropped a datagram of more than {limit} bytes from {peer}, {count} so far: raise `datagram`, or make the peer send shorter ones"),
            );
        }
    }

    fn evicted(&mut self, peer: &Peer<S>) {
        self.served.evicted += 1;
        let now = self.known.ledger.now();
        if self.evicted_said.is_time(now) {
            let (address, count) = (peer.address, self.served.evicted);
            let silent = now.since(peer.account.progress());
            self.observe(
                "udp-peers-full",
                format!("forgot {address} after {silent:?} of silence to make room, {count} such so far: raise `peers`, or lower `peer_idle`"),
            );
        }
    }

    fn observe(&self, rule: &'static str, text: String) {
        tracing::debug!("{text}");
        observe(self.known.ledger, self.bound.account.id(), rule, text);
    }
}

/// Anybody can send what is worth saying, so it is said once a second at most.
#[derive(Default)]
struct Seldom(Option<Stamp>);

impl Seldom {
    fn is_time(&mut self, now: Stamp) -> bool {
        let is_time = self.0.is_none_or(|said| now.since(said) >= Duration::from_secs(1));
        if is_time {
            self.0 = Some(now);
        }
        is_time
    }
}
