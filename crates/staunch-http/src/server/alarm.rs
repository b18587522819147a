//! One timer for a connection.

use std::{
    future::Future,
    pin::Pin,
    task::{Context as Poller, Poll, Waker, ready},
};

use pin_project_lite::pin_project;
use tokio::{
    task::coop::unconstrained,
    time::{Instant, Sleep, sleep_until},
};

pin_project! {
    /// A timer that is set anew only when it has gone off, or when something is due before it would: most
    /// of what is waited for comes in time, and costs nothing here. Until the first wait there is none.
    #[derive(Debug, Default)]
    pub struct Alarm {
        #[pin]
        sleep: Option<Sleep>,
        // Whom it wakes.
        waker: Option<Waker>,
    }
}

impl Alarm {
    /// Ready once `due` has passed.
    pub fn poll(self: Pin<&mut Self>, due: Instant, cx: &mut Poller<'_>) -> Poll<()> {
        let mut this = self.project();
        if this.sleep.is_none() {
            this.sleep.set(Some(sleep_until(due)));
        }
        let Some(mut sleep) = this.sleep.as_pin_mut() else { return Poll::Pending };
        let is_known = this.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if is_known && !sleep.is_elapsed() && sleep.deadline() <= due {
            return Poll::Pending; // it wakes the task anyway
        }
        if due < sleep.deadline() {
            sleep.as_mut().reset(due);
        }
        if !is_known {
            *this.waker = Some(cx.waker().clone());
        }
        loop {
            // Without a budget: a timer that has none left is not set, and wakes nobody.
            ready!(Pin::new(&mut unconstrained(sleep.as_mut())).poll(cx));
            if Instant::now() >= due {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(due);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, pin::pin, time::Duration};

    use super::*;

    fn in_paused_time(test: impl Future<Output = ()>) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_time().start_paused(true).build().unwrap().block_on(test);
    }

    #[test]
    fn it_goes_off_when_something_is_due() {
        in_paused_time(async {
            let (mut alarm, begun) = (pin!(Alarm::default()), Instant::now());
            let after = |seconds| begun + Duration::from_secs(seconds);
            for due in [10, 5, 30, 20, 40] {
                let was = begun.elapsed().as_secs();
                poll_fn(|cx| alarm.as_mut().poll(after(due), cx)).await;
                assert_eq!(begun.elapsed().as_secs(), due.max(was));
            }
        });
    }

    #[test]
    fn it_goes_off_for_a_task_that_has_done_much_before() {
        in_paused_time(async {
            let (mut alarm, due) =
                (pin!(Alarm::default()), Instant::now() + Duration::from_secs(3));
            poll_fn(|cx| {
                while tokio::task::coop::has_budget_remaining() {
                    let _ = std::pin::pin!(tokio::task::coop::consume_budget()).poll(cx);
                }
                alarm.as_mut().poll(due, cx)
            })
            .await;
            assert_eq!(Instant::now(), due);
        });
    }

    #[test]
    fn it_wakes_whoever_polls_it_last() {
        in_paused_time(async {
            let (mut alarm, due) =
                (pin!(Alarm::default()), Instant::now() + Duration::from_secs(3));
            let mut nobody = Poller::from_waker(Waker::noop());
            assert!(alarm.as_mut().poll(due, &mut nobody).is_pending());
            poll_fn(|cx| alarm.as_mut().poll(due, cx)).await;
            assert_eq!(Instant::now(), due);
        });
    }

    #[test]
    fn what_came_in_time_leaves_it_as_it_is() {
        in_paused_time(async {
            let (mut alarm, begun) = (pin!(Alarm::default()), Instant::now());
            for second in 0..100 {
                let due = begun + Duration::from_secs(second + 1);
                let polled = poll_fn(|cx| Poll::Ready(alarm.as_mut().poll(due, cx))).await;
                assert!(polled.is_pending());
                tokio::time::advance(Duration::from_millis(999)).await;
            }
            poll_fn(|cx| alarm.as_mut().poll(begun + Duration::from_secs(100), cx)).await;
            assert_eq!(begun.elapsed().as_secs(), 100);
        });
    }
}
