//! Several addresses, one connection: attempts with a stagger, the first that succeeds wins.
//!
//! "Happy Eyeballs", RFC 8305: where a machine has addresses of both families and one of them
//! leads nowhere, the user should not wait for a timeout to find out.

use std::{
    future::{Future, poll_fn},
    net::SocketAddr,
    pin::{Pin, pin},
    task::{Context as Poller, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep};

/// The addresses with their families in turn, the first stays the first (RFC 8305, section 4).
pub(super) fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (same, other): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let (mut same, mut other) = (same.into_iter(), other.into_iter());
    let mut mixed = Vec::with_capacity(same.len() + other.len());
    while same.len() + other.len() > 0 {
        mixed.extend(same.next());
        mixed.extend(other.next());
    }
    mixed
}

/// Runs `attempts`: another one when the last has had `stagger` or has failed. The first
/// success ends the others; if all fail, the first failure tells why. `None` without attempts.
///
/// # Cancel safety
/// As cancel safe as the attempts.
pub(super) async fn race<F, T, E>(
    attempts: impl Iterator<Item = F>,
    stagger: Duration,
) -> Option<Result<T, E>>
where
    F: Future<Output = Result<T, E>>,
{
    let mut attempts = attempts.fuse();
    let mut running = Running { attempts: Vec::new(), first_error: None };
    let mut next = pin!(sleep(Duration::ZERO));
    poll_fn(|cx| {
        loop {
            let failed = match running.poll(cx) {
                Polled::Succeeded(value) => return Poll::Ready(Some(Ok(value))),
                Polled::Pending { failed } => failed,
            };
            let due = failed || running.attempts.is_empty() || next.as_mut().poll(cx).is_ready();
            if !due {
                return Poll::Pending;
            }
            match attempts.next() {
                Some(attempt) => running.attempts.push(Box::pin(attempt)),
                None if running.attempts.is_empty() => {
                    return Poll::Ready(running.first_error.take().map(Err));
                }
                None => return Poll::Pending,
            }
            restart(next.as_mut(), stagger);
        }
    })
    .await
}

fn restart(sleep: Pin<&mut Sleep>, after: Duration) {
    let now = Instant::now();
    sleep.reset(now.checked_add(after).unwrap_or(now));
}

/// The attempts that have begun.
struct Running<F, E> {
    attempts: Vec<Pin<Box<F>>>,
    first_error: Option<E>,
}

enum Polled<T> {
    Succeeded(T),
    Pending { failed: bool },
}

impl<F, E> Running<F, E> {
    fn poll<T>(&mut self, cx: &mut Poller<'_>) -> Polled<T>
    where
        F: Future<Output = Result<T, E>>,
    {
        let before = self.attempts.len();
        let mut index = 0;
        while index < self.attempts.len() {
            match self.attempts[index].as_mut().poll(cx) {
                Poll::Pending => index += 1,
                Poll::Ready(Ok(value)) => return Polled::Succeeded(value),
                Poll::Ready(Err(error)) => {
                    self.first_error.get_or_insert(error);
                    drop(self.attempts.remove(index));
                }
            }
        }
        Polled::Pending { failed: self.attempts.len() < before }
    }
}

#[cfg(test)]
mod tests {
    use staunch::testing::Runner;

    use super::*;

    /// An attempt: after so many milliseconds it succeeds or fails.
    type Attempt = (u64, Result<&'static str, &'static str>);

    /// Races the attempts, 250 ms apart; the result comes after so many milliseconds.
    fn check(attempts: &[Attempt], expected: Option<Result<&str, &str>>, after: u64) {
        Runner::paused().run(async {
            let begun = Instant::now();
            let attempts = attempts.iter().map(|(delay, result)| async move {
                sleep(Duration::from_millis(*delay)).await;
                *result
            });
            let result = race(attempts, Duration::from_millis(250)).await;
            assert_eq!((result, begun.elapsed().as_millis()), (expected, u128::from(after)));
        });
    }

    #[test]
    fn the_first_success_wins() {
        check(&[(100, Ok("a")), (0, Ok("b"))], Some(Ok("a")), 100);
        check(&[(1_000, Ok("a")), (100, Ok("b"))], Some(Ok("b")), 350);
        check(&[(400, Ok("a")), (200, Ok("b"))], Some(Ok("a")), 400);
        check(&[(9_000, Ok("a")), (9_000, Ok("b")), (10, Ok("c"))], Some(Ok("c")), 510);
    }

    #[test]
    fn a_failure_starts_the_next_at_once_and_the_first_one_is_told() {
        check(&[(10, Err("a")), (20, Ok("b"))], Some(Ok("b")), 30);
        check(&[(10, Err("a")), (20, Err("b")), (30, Err("c"))], Some(Err("a")), 60);
        check(&[(300, Err("a")), (10, Err("b"))], Some(Err("b")), 300);
        check(&[], None, 0);
    }

    #[test]
    fn each_start_gives_the_next_its_full_stagger() {
        // The second starts at 100, so the third may start at 350 and not at 250.
        check(&[(100, Err("a")), (9_000, Ok("b")), (10, Ok("c"))], Some(Ok("c")), 360);
    }

    #[test]
    fn families_take_turns() {
        let check = |addresses: &str, expected: &str| {
            let parse = |text: &str| {
                text.split_whitespace().map(|text| format!("{text}:1").parse().unwrap()).collect()
            };
            let parse = |text: &str| -> Vec<SocketAddr> { parse(text) };
            assert_eq!(interleave(parse(addresses)), parse(expected));
        };
        check("", "");
        check("1.1.1.1", "1.1.1.1");
        check("[::1] [::2] [::3] 1.1.1.1 2.2.2.2", "[::1] 1.1.1.1 [::2] 2.2.2.2 [::3]");
        check("1.1.1.1 2.2.2.2 [::1]", "1.1.1.1 [::1] 2.2.2.2");
    }
}
