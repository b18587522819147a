//! What is sent again, and how often.

use std::{
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use hyper::{Method, StatusCode};
use staunch_net::DialError;
use staunch_pool::{AcquireError, ConnectHttpError, HttpError, KeyedAcquireError};

use super::{answer::Answer, error::ClientError, options::RetryOptions};

/// Retries that may be had: each request earns a part of one.
#[derive(Debug)]
pub(super) struct Budget {
    /// In hundredths of a retry.
    saved: AtomicU64,
    most: u64,
    share: u64,
}

const ONE: u64 = 100;

impl Budget {
    pub(super) fn new(options: RetryOptions) -> Budget {
        let most = u64::from(options.reserve) * ONE;
        Budget { saved: AtomicU64::new(most), most, share: u64::from(options.budget_percent) }
    }

    /// A request was sent.
    pub(super) fn earn(&self) {
        let more = |saved: u64| Some(saved.saturating_add(self.share).min(self.most));
        let _ = self.saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    /// Whether one may be sent again.
    pub(super) fn spend(&self) -> bool {
        let less = |saved: u64| saved.checked_sub(ONE);
        self.saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }
}

/// Whether the request may be sent again, and might do better then.
pub(super) fn is_worth(result: &Result<Answer, ClientError>, method: &Method) -> bool {
    match result {
        Ok(answer) => method.is_idempotent() && is_passing(answer.status()),
        Err(ClientError::Http { source, .. }) => match &**source {
            HttpError::AcquireKeyed(KeyedAcquireError::Key(error)) => may_connect_later(error),
            HttpError::Unanswered { .. } => method.is_idempotent(),
            _ => false,
        },
        Err(_) => false,
    }
}

/// Whether there may be an answer another time, for what has nothing but time.
pub(super) fn may_pass(error: &ClientError) -> bool {
    match error {
        ClientError::TimedOut { .. } => true,
        ClientError::Http { source, .. } => match &**source {
            HttpError::AcquireKeyed(KeyedAcquireError::Key(error)) => {
                may_connect_later(error)
                    || !matches!(error, AcquireError::Connect { .. } | AcquireError::Closed { .. })
            }
            HttpError::Unsupported { .. } => false,
            _ => true,
        },
        _ => false,
    }
}

/// Whether the server, or one before it, says that it is not always so.
fn is_passing(status: StatusCode) -> bool {
    let passing =
        [StatusCode::BAD_GATEWAY, StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT];
    passing.contains(&status)
}

/// Nothing was sent; might it be next time?
fn may_connect_later(error: &AcquireError<ConnectHttpError>) -> bool {
    match error {
        AcquireError::Connect { source: ConnectHttpError::Dial(dialled), .. } => !matches!(
            dialled,
            DialError::ServerName { .. }
                | DialError::Handshake { .. }
                | DialError::NoLocalPort { .. }
                | DialError::OutOfDescriptors { .. }
        ),
        AcquireError::Connect { .. }
        | AcquireError::ConnectTimedOut { .. }
        | AcquireError::Down { .. } => true,
        _ => false,
    }
}

/// How long to wait before retry number `tried`, from 0: at least until the pool tries again.
pub(super) fn pause(
    options: &RetryOptions,
    tried: u32,
    result: &Result<Answer, ClientError>,
) -> Duration {
    let doubled = options.backoff.saturating_mul(2_u32.saturating_pow(tried));
    let whole = doubled.min(options.backoff_max);
    let random = u32::from((RandomState::new().hash_one(tried) & 0xff) as u8);
    let pause = whole / 2 + whole / 2 * random / 0xff;
    pause.max(result.as_ref().err().map_or(Duration::ZERO, down_for))
}

/// How long the pool will not try again.
pub(super) fn down_for(error: &ClientError) -> Duration {
    let ClientError::Http { source, .. } = error else { return Duration::ZERO };
    match &**source {
        HttpError::AcquireKeyed(KeyedAcquireError::Key(AcquireError::Down {
            retry_in, ..
        })) => *retry_in,
        _ => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_a_share_of_the_requests() {
        let budget = Budget::new(RetryOptions { reserve: 2, ..RetryOptions::default() });
        assert_eq!([(); 3].map(|()| budget.spend()), [true, true, false]);
        (0..9).for_each(|_| budget.earn());
        assert!(!budget.spend());
        budget.earn();
        assert_eq!([(); 2].map(|()| budget.spend()), [true, false]);
        (0..1000).for_each(|_| budget.earn());
        assert_eq!([(); 3].map(|()| budget.spend()), [true, true, false]);
    }
}
