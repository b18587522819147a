//! Whether anything begins: where nothing does, a look now and then is enough.
//!
//! Who begins stores once between two looks, and wakes whoever rests; who looks asks, and then rests
//! until something begins.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context as Poller, Poll, Waker},
};

/// Something has begun since the last look.
const STIRRED: u8 = 0;
/// Nothing has.
const QUIET: u8 = 1;
/// Nothing has, and somebody is to be woken when something does.
const RESTING: u8 = 2;

#[derive(Debug)]
pub(crate) struct Stir {
    state: AtomicU8,
    waker: Mutex<Option<Waker>>,
}

impl Stir {
    pub(crate) fn new() -> Stir {
        Stir { state: AtomicU8::new(STIRRED), waker: Mutex::default() }
    }

    /// Something begins. A load, but for the first time after a look.
    pub(crate) fn begin(&self) {
        let is_first = self.state.load(Ordering::Relaxed) != STIRRED;
        if is_first && self.state.swap(STIRRED, Ordering::AcqRel) == RESTING {
            let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// Whether something has begun since this was asked last.
    pub(crate) fn take(&self) -> bool {
        self.state.swap(QUIET, Ordering::AcqRel) == STIRRED
    }

    /// Ready once something has begun since [`Stir::take`].
    pub(crate) fn poll_begun(&self, cx: &Poller<'_>) -> Poll<()> {
        // First: who begins after the exchange must find whom to wake.
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
        let rested =
            self.state.compare_exchange(QUIET, RESTING, Ordering::AcqRel, Ordering::Acquire);
        if rested == Err(STIRRED) { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Nobody looks any more, nor is to be woken.
    pub(crate) fn forget(&self) {
        self.waker.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    #[cfg(test)]
    pub(crate) fn is_resting(&self) -> bool {
        self.state.load(Ordering::Acquire) == RESTING
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, atomic::AtomicU32, mpsc},
        task::Wake,
        thread,
        time::Duration,
    };

    use super::*;

    struct Told(mpsc::SyncSender<()>);

    impl Wake for Told {
        fn wake(self: Arc<Told>) {
            let _ = self.0.try_send(()); // it is told already
        }
    }

    #[test]
    fn who_begins_wakes_who_rests_once() {
        let stir = Stir::new();
        let (sender, told) = mpsc::sync_channel(8);
        let waker = Waker::from(Arc::new(Told(sender)));
        let cx = Poller::from_waker(&waker);
        assert!(stir.take(), "the first look has to come");
        assert!(!stir.take());
        assert!(stir.poll_begun(&cx).is_pending());
        assert!(stir.poll_begun(&cx).is_pending(), "asked again, it still rests");
        assert!(told.try_recv().is_err());
        stir.begin();
        stir.begin();
        assert!(told.try_recv().is_ok() && told.try_recv().is_err(), "once");
        assert!(stir.poll_begun(&cx).is_ready());
        assert!(stir.take() && !stir.take());
    }

    /// However a beginning and a rest fall together.
    #[test]
    fn nobody_rests_through_a_beginning() {
        const ROUNDS: u32 = 20_000;
        let (stir, (sender, told)) = (Stir::new(), mpsc::sync_channel(1));
        let waker = Waker::from(Arc::new(Told(sender)));
        let (begins, begun) = (AtomicU32::new(0), AtomicU32::new(0));
        let until = |count: &AtomicU32, round| {
            while count.load(Ordering::Acquire) < round {
                thread::yield_now();
            }
        };
        thread::scope(|threads| {
            threads.spawn(|| {
                for round in 1..=ROUNDS {
                    until(&begins, round);
                    stir.begin();
                    begun.store(round, Ordering::Release);
                }
            });
            for round in 1..=ROUNDS {
                stir.take();
                begins.store(round, Ordering::Release);
                if stir.poll_begun(&Poller::from_waker(&waker)).is_pending() {
                    let heard = told.recv_timeout(Duration::from_secs(20));
                    if heard.is_err() {
                        begins.store(ROUNDS, Ordering::Release); // for the other thread to end
                    }
                    assert!(heard.is_ok(), "round {round}");
                }
                until(&begun, round);
            }
        });
    }
}
