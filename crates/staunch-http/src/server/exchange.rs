//! How far the exchange of a request and its answer has come on a connection: known to the
//! handler, the bodies of both and the socket. On an HTTP/2 connection, which has many at a time,
//! only how many there are.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU32, Ordering},
};

use hyper::{StatusCode, body::Body};

use super::{call::Guard, framing::Ambiguity, leftovers::Leftovers, unread::Unread};

/// The state of the current exchange of one connection. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Exchange(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    step: AtomicU8,
    /// Some of the request's body has not been read.
    receiving: AtomicBool,
    /// How the request's body went over a limit.
    breach: AtomicU8,
    /// Exchanges of an HTTP/2 connection; those of an HTTP/1 connection since it began, which may
    /// wrap around.
    streams: AtomicU32,
    /// One of them has ended since the last flush.
    stream_ended: AtomicBool,
    /// What of the bytes could be read in two ways.
    ambiguity: AtomicU8,
    /// The status of hyper's refusal, if it has made one.
    refused: AtomicU16,
    /// An HTTP/2 client sent too many frames that bring nothing.
    is_flooded: AtomicBool,
    /// How often the socket began to take nothing more, and took something again: odd in between.
    blocked: AtomicU32,
    /// Of the HTTP/2 connection that it is an exchange of.
    leftovers: Option<Leftovers>,
    /// What of the request's body nobody reads, over HTTP/1.
    unread: Mutex<Option<Box<Unread>>>,
    /// The end of the request's body has not been seen, whoever has it.
    is_open: AtomicBool,
    /// The answer is made: what is left of the request's body from then on nobody takes.
    is_settled: AtomicBool,
    /// The connection ends before the request's body does.
    is_cut_short: AtomicBool,
}

// Each connection in use has one. As large as what a resting connection holds, it would leave a hole
// beside each of those: an allocator keeps blocks of a size together.
const _: () = assert!(size_of::<Flags>() <= 48);

/// One after the other, and then from the beginning.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
enum Step {
    /// Nothing of a request has come.
    Between = 0,
    /// Some of a request's head has come.
    Head,
    /// A handler is at work.
    Handling,
    /// The body of the answer is being made.
    Answering,
    /// All of the answer is made, but not all is sent.
    Sending,
    /// Instead: the head took too long.
    Late,
    /// Instead: it is given up by hyper, and waits for the next request without it.
    Parked,
    /// Instead of the last two: the answer agrees to another protocol, and is on its way.
    Switching,
    /// Instead of all these: the connection does not speak HTTP any more.
    Upgraded,
    /// Instead of all these: it is an HTTP/2 connection.
    Multiplexed,
}

/// How a request's body can go over a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Breach {
    Large = 1,
    Slow = 2,
}

impl Exchange {
    fn is(&self, step: Step) -> bool {
        self.0.step.load(Ordering::Relaxed) == step as u8
    }

    /// Takes the step if the exchange is at the one before it.
    fn step(&self, from: Step, to: Step) -> bool {
        let (from, to) = (from as u8, to as u8);
        self.0.step.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Bytes have come; whether they begin a head, and are not of a body that goes on after its answer.
    pub(super) fn received(&self) -> bool {
        !self.0.is_open.load(Ordering::Relaxed) && self.step(Step::Between, Step::Head)
    }

    /// Whether nobody has a request of its client: what is said to it is a refusal of hyper's.
    pub(super) fn is_unanswered(&self) -> bool {
        self.is(Step::Between) || self.is(Step::Head)
    }

    /// How many requests there were, if it waits for the next one.
    pub(super) fn idle_since(&self) -> Option<u32> {
        self.is(Step::Between).then(|| self.0.streams.load(Ordering::Relaxed))
    }

    /// The first of a connection that has had so many.
    pub(super) fn after(begun: u32) -> Exchange {
        let exchange = Exchange::default();
        exchange.0.streams.store(begun, Ordering::Relaxed);
        exchange
    }

    /// One of those that an HTTP/2 connection has.
    pub(super) fn of_stream(leftovers: &Leftovers) -> Exchange {
        Exchange(Arc::new(Flags { leftovers: Some(leftovers.clone()), ..Flags::default() }))
    }

    /// Whether it is one of many of its connection.
    pub(super) fn is_of_stream(&self) -> bool {
        self.0.leftovers.is_some()
    }

    /// There is a body (`true`), or its end was seen: until then nothing that comes can be another request.
    pub(super) fn set_open(&self, is_open: bool) {
        self.0.is_open.store(is_open, Ordering::Relaxed);
    }

    /// Nobody reads the body of the request any more. If its answer is made nobody takes what is left,
    /// either: it is dropped, and with that the connection ends after the answer.
    pub(super) fn leave(&self, unread: Unread) {
        if unread.body.is_end_stream() {
            return self.set_open(false);
        }
        if let Some(leftovers) = &self.0.leftovers {
            return leftovers.add(unread.body);
        }
        let mut place = self.unread();
        if self.0.is_settled.load(Ordering::Relaxed) {
            drop(place);
            self.cut_short();
        } else {
            *place = Some(Box::new(unread));
        }
    }

    /// The answer is made, over HTTP/1.
    pub(super) fn settle(&self) {
        let mut place = self.unread();
        self.0.is_settled.store(true, Ordering::Relaxed);
        let left = place.take();
        drop(place);
        if left.is_some() {
            self.cut_short();
        }
    }

    /// What was left of it, over HTTP/1.
    pub(super) fn take_unread(&self) -> Option<Unread> {
        self.unread().take().map(|unread| *unread)
    }

    fn unread(&self) -> MutexGuard<'_, Option<Box<Unread>>> {
        self.0.unread.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The client is told that the connection ends, and may be in the middle of its body.
    pub(super) fn cut_short(&self) {
        self.0.is_cut_short.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_cut_short(&self) -> bool {
        self.0.is_cut_short.load(Ordering::Relaxed)
    }

    /// Whether it could be parked: it waits for the next request, since the last has ended.
    pub(super) fn park(&self) -> bool {
        !self.0.is_open.load(Ordering::Relaxed) && self.step(Step::Between, Step::Parked)
    }

    pub(super) fn is_parked(&self) -> bool {
        self.is(Step::Parked)
    }

    /// It waits for the next request, as one that is new.
    pub(super) fn unpark(&self) {
        self.step(Step::Parked, Step::Between);
    }

    /// The client has begun a head and not ended it.
    pub(super) fn is_in_head(&self) -> bool {
        self.is(Step::Head)
    }

    pub(super) fn head_is_late(&self) {
        self.step(Step::Head, Step::Late);
    }

    /// Whether the connection ended because of that.
    pub(crate) fn was_late(&self) -> bool {
        self.is(Step::Late)
    }

    /// How many requests of an HTTP/1 connection have begun.
    pub(super) fn begun(&self) -> u32 {
        self.0.streams.load(Ordering::Relaxed)
    }

    /// A handler begins to work; it ends with the guard.
    pub(super) fn begin(&self) -> Handling {
        self.0.step.store(Step::Handling as u8, Ordering::Relaxed);
        self.0.streams.fetch_add(1, Ordering::Relaxed);
        self.0.breach.store(0, Ordering::Relaxed);
        for flag in [&self.0.is_open, &self.0.is_settled, &self.0.is_cut_short] {
            flag.store(false, Ordering::Relaxed);
        }
        Handling(self.clone())
    }

    /// Whether the client can only wait for its answer.
    pub(super) fn is_answering(&self) -> bool {
        if self.is(Step::Multiplexed) {
            return self.0.streams.load(Ordering::Relaxed) > 0;
        }
        self.is(Step::Handling) && !self.is_receiving()
    }

    /// Whether the client has more of a body to send.
    pub(super) fn is_receiving(&self) -> bool {
        self.0.receiving.load(Ordering::Relaxed)
    }

    pub(super) fn set_receiving(&self, receiving: bool) {
        self.0.receiving.store(receiving, Ordering::Relaxed);
    }

    /// The request's body is over a limit.
    pub(super) fn set_breach(&self, breach: Breach) {
        self.0.breach.store(breach as u8, Ordering::Relaxed);
    }

    pub(super) fn breach(&self) -> Option<Breach> {
        match self.0.breach.load(Ordering::Relaxed) {
            0 => None,
            1 => Some(Breach::Large),
            _ => Some(Breach::Slow),
        }
    }

    /// The client said what could be read in two ways, and is not listened to any more.
    pub(super) fn set_ambiguity(&self, ambiguity: Ambiguity) {
        self.0.ambiguity.store(ambiguity as u8, Ordering::Relaxed);
    }

    pub(super) fn set_refused(&self, status: StatusCode) {
        self.0.refused.store(status.as_u16(), Ordering::Relaxed);
    }

    /// What its client was told of a head that nobody was asked to answer.
    pub(super) fn refused(&self) -> Option<StatusCode> {
        if self.was_late() {
            return Some(StatusCode::REQUEST_TIMEOUT);
        }
        StatusCode::from_u16(self.0.refused.load(Ordering::Relaxed)).ok()
    }

    pub(super) fn ambiguity(&self) -> Option<Ambiguity> {
        Ambiguity::from_code(self.0.ambiguity.load(Ordering::Relaxed))
    }

    /// The client sent too many frames that bring nothing, and is not listened to any more.
    pub(super) fn set_flooded(&self) {
        self.0.is_flooded.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_flooded(&self) -> bool {
        self.0.is_flooded.load(Ordering::Relaxed)
    }

    /// Whether the socket of an HTTP/2 connection takes nothing more.
    pub(super) fn set_blocked(&self, is_blocked: bool) {
        let blocked = self.0.blocked.load(Ordering::Relaxed); // its connection alone writes it
        if (blocked % 2 == 1) != is_blocked {
            self.0.blocked.store(blocked.wrapping_add(1), Ordering::Relaxed);
        }
    }

    /// How often that was so; `None` while it is.
    pub(super) fn blocked(&self) -> Option<u32> {
        Some(self.0.blocked.load(Ordering::Relaxed)).filter(|blocked| blocked % 2 == 0)
    }

    /// All that was made has been sent; whether the client is to speak next.
    pub(super) fn sent(&self) -> bool {
        if self.is(Step::Multiplexed) {
            let ended = self.0.stream_ended.swap(false, Ordering::Relaxed);
            return ended && !self.is_answering();
        }
        self.step(Step::Sending, Step::Between) || self.step(Step::Switching, Step::Upgraded)
    }

    /// The answer is made, and agrees to another protocol.
    pub(super) fn switch(&self) {
        self.0.step.store(Step::Switching as u8, Ordering::Relaxed);
    }

    pub(super) fn is_upgraded(&self) -> bool {
        self.is(Step::Upgraded)
    }

    /// The connection does not speak HTTP any more.
    pub(super) fn upgrade(&self) {
        self.0.step.store(Step::Upgraded as u8, Ordering::Relaxed);
    }

    /// The connection speaks HTTP/2.
    pub(super) fn multiplex(&self) {
        self.0.step.store(Step::Multiplexed as u8, Ordering::Relaxed);
    }

    /// One more exchange, until the guard is dropped.
    pub(super) fn open_stream(&self) -> Stream {
        self.0.streams.fetch_add(1, Ordering::Relaxed);
        Stream(self.clone())
    }
}

impl Guard for Handling {
    type OfBody = Answering;

    fn answered(self) -> Answering {
        Answering(self.0.clone())
    }
}

/// The body of an answer is being made as long as this lives.
pub(super) struct Answering(Exchange);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.step(Step::Answering, Step::Sending);
    }
}

impl Guard for Stream {
    type OfBody = Stream;

    fn answered(self) -> Stream {
        self
    }
}

/// An exchange of an HTTP/2 connection.
pub(super) struct Stream(Exchange);

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.0.stream_ended.store(true, Ordering::Relaxed);
        self.0.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A handler is at work as long as this lives.
pub(super) struct Handling(Exchange);

impl Drop for Handling {
    fn drop(&mut self) {
        self.0.step(Step::Handling, Step::Answering);
    }
}
