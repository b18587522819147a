//! What is sent again, and how often.

use std::{
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use hyper::{HeaderMap, Method, StatusCode, header::RETRY_AFTER};
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
        Ok(answer) => {
            let (status, headers) = (answer.status(), answer.headers());
            // Who has come too often is to come less, unless it is said when.
            let is_later = status == StatusCode::TOO_MANY_REQUESTS && asked(headers).is_some();
            method.is_idempotent() && (is_passing(status) || is_later)
        }
        Err(ClientError::Http { source, .. }) => match &**source {
            HttpError::AcquireKeyed(KeyedAcquireError::Key(error)) => may_connect_later(error),
            HttpError::Refused { .. } => true, // it was never sent, as far as anybody can tell
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
                | DialError::ProxyRefused { status: ..500, .. }
        ),
        AcquireError::Connect { .. }
        | AcquireError::ConnectTimedOut { .. }
        | AcquireError::Down { .. } => true,
        _ => false,
    }
}

/// How long to wait before retry number `tried`, from 0: at least until the pool tries again, or for
/// as long as the server asks. `None`: that is too long.
pub(super) fn pause(
    options: &RetryOptions,
    tried: u32,
    result: &Result<Answer, ClientError>,
) -> Option<Duration> {
    let doubled = options.backoff.saturating_mul(2_u32.saturating_pow(tried));
    let whole = doubled.min(options.backoff_max);
    let random = u32::from((RandomState::new().hash_one(tried) & 0xff) as u8);
    let pause = whole / 2 + whole / 2 * random / 0xff;
    match result {
        Err(error) => Some(pause.max(down_for(error))),
        Ok(answer) => match after(answer.status(), answer.headers()) {
            Some(asked) => (asked <= options.retry_after_max).then_some(pause.max(asked)),
            None => Some(pause),
        },
    }
}

/// When the server wants to be asked again, if it has trouble or too many requests.
pub(super) fn after(status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
    let says = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS];
    says.contains(&status).then(|| asked(headers)).flatten()
}

/// Seconds, or a date (RFC 9110, section 10.2.3); one that has passed is now.
fn asked(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or(Duration::ZERO))
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

    fn failed(source: AcquireError<ConnectHttpError>) -> Result<Answer, ClientError> {
        let source = Box::new(HttpError::AcquireKeyed(KeyedAcquireError::Key(source)));
        Err(ClientError::Http { url: "http://a/".into(), source })
    }

    fn undialled(source: DialError) -> Result<Answer, ClientError> {
        let source = ConnectHttpError::Dial(source);
        failed(AcquireError::Connect { pool: "http-client", source })
    }

    fn down(retry_in: Duration) -> Result<Answer, ClientError> {
        failed(AcquireError::Down { pool: "http-client", retry_in, last: "refused".into() })
    }

    #[test]
    fn what_time_does_not_heal_is_not_tried_again() {
        let (name, address, limit) = ("a b".to_owned(), "a:1".to_owned(), Duration::ZERO);
        assert!(!is_worth(&undialled(DialError::ServerName { name }), &Method::GET));
        let late = undialled(DialError::TimedOut { address, limit });
        assert!(is_worth(&late, &Method::POST) && late.is_err_and(|late| may_pass(&late)));
        assert!(is_worth(&down(limit), &Method::POST));
        let refused = |status| {
            let (proxy, address) = ("p:1".to_owned(), "a:1".to_owned());
            undialled(DialError::ProxyRefused { proxy, address, status })
        };
        assert!(!is_worth(&refused(407), &Method::GET) && is_worth(&refused(502), &Method::POST));
        let closed = failed(AcquireError::Closed { pool: "http-client" });
        assert!(!is_worth(&closed, &Method::GET) && closed.is_err_and(|it| !may_pass(&it)));
    }

    #[test]
    fn a_pause_doubles_and_half_of_it_is_random() {
        let pause = |tried, result| pause(&RetryOptions::default(), tried, &result).unwrap();
        for (tried, most) in [(0, 50), (1, 100), (3, 400), (5, 1000), (99, 1000)] {
            for _ in 0..20 {
                let pause = pause(tried, down(Duration::ZERO)).as_millis();
                assert!((most / 2..=most).contains(&pause), "{tried}: {pause}");
            }
        }
        let one = pause(0, down(Duration::ZERO));
        assert!((0..50).any(|_| pause(0, down(Duration::ZERO)) != one), "all are {one:?}");
        let later = Duration::from_secs(3);
        assert_eq!(pause(0, down(later)), later, "not before the pool tries");
    }

    /// What is asked for, in whole seconds.
    fn check_after(status: u16, text: &str, expected: Option<u64>) {
        let headers = [(RETRY_AFTER, text.parse().unwrap())].into_iter().collect();
        let found = after(StatusCode::from_u16(status).unwrap(), &headers);
        assert_eq!(found.map(|found| found.as_secs()), expected, "{text:?}");
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        check_after(503, "0", Some(0));
        check_after(503, "120", Some(120));
        check_after(429, " 7 ", Some(7));
        check_after(503, "99999999999999999999999", Some(u64::MAX));
        let soon = SystemTime::now() + Duration::from_secs(100);
        let soon = httpdate::fmt_http_date(soon);
        let headers = [(RETRY_AFTER, soon.parse().unwrap())].into_iter().collect();
        let found = after(StatusCode::SERVICE_UNAVAILABLE, &headers).unwrap();
        let most = Duration::from_secs(100);
        assert!(found <= most && found > most / 2, "{soon}: {found:?}");
        check_after(503, "Sun, 06 Nov 1994 08:49:37 GMT", Some(0));
        check_after(503, "Sunday, 06-Nov-94 08:49:37 GMT", Some(0)); // RFC 850
        check_after(503, "Sun Nov  6 08:49:37 1994", Some(0)); // asctime
        for no in ["", "-1", "+1", "1.5", "soon", "1s", "Sun, 06 Nov 1994 08:49:37 CET"] {
            check_after(503, no, None);
        }
        check_after(500, "1", None);
        check_after(200, "1", None);
    }

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
