//! How many requests of a route are in flight.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use http::{
    StatusCode,
    header::{HeaderValue, RETRY_AFTER},
};

use crate::refusal::{Reason, Refusal};

/// A request in flight, until it is dropped: with the last byte of its answer.
#[derive(Debug)]
#[must_use]
pub struct Permit(Arc<AtomicUsize>);

/// Requests in flight, and how many there may be.
#[derive(Debug)]
pub(crate) struct Concurrency {
    most: usize,
    in_flight: Arc<AtomicUsize>,
}

impl Concurrency {
    /// `before` has what is still in flight.
    pub(crate) fn new(most: usize, before: Option<&Concurrency>) -> Concurrency {
        let in_flight = before.map(|before| Arc::clone(&before.in_flight)).unwrap_or_default();
        Concurrency { most, in_flight }
    }

    pub(crate) fn begin(&self) -> Result<Permit, Refusal> {
        let permit = Permit(Arc::clone(&self.in_flight));
        // Counted first: two that come at once cannot both be the last one.
        if self.in_flight.fetch_add(1, Ordering::Relaxed) < self.most {
            return Ok(permit);
        }
        let text = "As many requests as may be are in flight here";
        Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, Reason::Concurrency, text)
            .header(RETRY_AFTER, HeaderValue::from_static("1")))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_makes_room() {
        let two = Concurrency::new(2, None);
        let (first, _second) = (two.begin().unwrap(), two.begin().unwrap());
        let refused = two.begin().unwrap_err();
        assert_eq!(
            (refused.status.as_u16(), refused.headers[RETRY_AFTER].as_bytes()),
            (503, &b"1"[..])
        );
        drop(first);
        let _third = two.begin().unwrap();
        let three = Concurrency::new(3, Some(&two));
        let _fourth = three.begin().unwrap();
        assert!(three.begin().is_err(), "who was in flight before is so still");
    }
}
