//! Waiting for a condition, with a deadline.

use std::time::{Duration, Instant};

/// Asks every `interval` until there is an answer; `None` when `limit` is over.
pub(crate) fn until<T>(
    limit: Duration,
    interval: Duration,
    mut ask: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<Option<T>> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = ask()? {
            return Ok(Some(answer));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        std::thread::sleep(interval);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_answer_ends_the_wait() {
        let mut asked = 0;
        let answer = until(Duration::from_mins(1), Duration::ZERO, || {
            asked += 1;
            Ok((asked == 3).then_some("third"))
        });
        assert_eq!(answer.unwrap(), Some("third"));
    }

    #[test]
    fn a_wait_ends_at_its_limit() {
        let answer = until(Duration::ZERO, Duration::ZERO, || Ok(None::<()>));
        assert_eq!(answer.unwrap(), None);
    }
}
