//! The knobs, with the names they have in the field.

use std::time::Duration;

pub use staunch_stock::Order;

/// How a pool behaves. The names are those of HikariCP and Apache Commons Pool, the defaults have
/// their reasons.
///
/// # Examples
/// ```
/// use staunch_pool::PoolOptions;
/// let options = PoolOptions { max_total: 50, max_idle: 50, ..PoolOptions::default() };
/// assert!(options.check().is_ok());
/// ```
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "switches by the names they have in the field")]
pub struct PoolOptions {
    /// The pool's name in logs, metrics and `/debug/pools`. Default `pool`.
    pub name: &'static str,
    /// Connections at a time, idle, leased or being made. Default 20: a PostgreSQL of default
    /// settings has 100 for all its clients, and more than two for each of the server's cores
    /// gain nothing.
    pub max_total: usize,
    /// Idle connections kept; more are closed when they come back. Default 10: half of the most,
    /// so that a burst does not hold the server's memory after it.
    pub max_idle: usize,
    /// Idle connections made ahead of need. Default 0: a service that does nothing holds nothing.
    pub min_idle: usize,
    /// Time to wait for a connection, all in all. Default 5 s: a user has given up by then, and
    /// an error that names the holders is worth more than a longer queue.
    pub acquire_timeout: Duration,
    /// Time to make a connection. Default 5 s: three lost SYNs.
    pub connect_timeout: Duration,
    /// Time for one validation. Default 1 s: a server that takes longer for `SELECT 1` is down.
    pub validation_timeout: Duration,
    /// Time for one reset. Default 1 s, as above.
    pub reset_timeout: Duration,
    /// Time for a goodbye; then the connection is dropped. Default 1 s.
    pub close_timeout: Duration,
    /// Validate what was just made. Default off: it has just answered.
    pub test_on_create: bool,
    /// Validate before each lease. Default off: a round trip each, and a connection can break
    /// right after it. `test_while_idle` finds those that died of age.
    pub test_on_borrow: bool,
    /// Validate what comes back. Default off, for the same reason.
    pub test_on_return: bool,
    /// Validate idle connections now and then. Default on: firewalls forget silent connections.
    pub test_while_idle: bool,
    /// How often idle connections are looked after, and leases looked at. Default 5 s.
    pub maintenance_interval: Duration,
    /// An idle connection is closed after this time, down to `min_idle`. Default 30 s.
    pub min_evictable_idle: Duration,
    /// A connection's whole life, give or take a tenth, so that those made together do not end
    /// together. Default 30 min: shorter than what firewalls and servers allow; moves load to new
    /// servers. `None`: for ever.
    pub max_lifetime: Option<Duration>,
    /// Leases of one connection. Default `None`: as many as its lifetime allows.
    pub max_uses: Option<u32>,
    /// Time without use after which a lease is abandoned; a quarter of it when the task that
    /// leased it has ended. Default 60 s: twice what any limit here lets a request wait.
    pub abandoned_timeout: Duration,
    /// Revoke abandoned leases: the connection is closed, its place is free again. Default on.
    pub remove_abandoned: bool,
    /// Log abandoned leases with the line that leased them. Default on.
    pub log_abandoned: bool,
    /// Which idle connection is leased next. Default [`Order::Lifo`].
    pub order: Order,
    /// Tasks that may wait for a connection; the next one fails at once. Default 1 000: at 20
    /// connections and 5 ms a query they are served within 250 ms; more of them only wait for
    /// their timeout.
    pub max_waiters: usize,
    /// Pause after a failed connect, before the next is tried; doubles with each failure up to
    /// `backoff_max`. Meanwhile whoever needs a new connection fails at once; whoever stands in line
    /// waits on, unless no connection is left to wait for. Default 100 ms.
    pub backoff: Duration,
    /// The longest pause. Default 5 s.
    pub backoff_max: Duration,
}

impl Default for PoolOptions {
    fn default() -> PoolOptions {
        PoolOptions {
            name: "pool",
            max_total: 20,
            max_idle: 10,
            min_idle: 0,
            acquire_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(5),
            validation_timeout: Duration::from_secs(1),
            reset_timeout: Duration::from_secs(1),
            close_timeout: Duration::from_secs(1),
            test_on_create: false,
            test_on_borrow: false,
            test_on_return: false,
            test_while_idle: true,
            maintenance_interval: Duration::from_secs(5),
            min_evictable_idle: Duration::from_secs(30),
            max_lifetime: Some(Duration::from_mins(30)),
            max_uses: None,
            abandoned_timeout: Duration::from_mins(1),
            remove_abandoned: true,
            log_abandoned: true,
            order: Order::Lifo,
            max_waiters: 1000,
            backoff: Duration::from_millis(100),
            backoff_max: Duration::from_secs(5),
        }
    }
}

/// Options that contradict each other.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PoolOptionsError {
    /// A pool of nothing.
    #[error("max_total is 0: nobody could ever lease a connection; set at least 1")]
    NoConnections,
    /// More idle connections than connections.
    #[error("min_idle {min_idle} is more than max_idle {max_idle} or max_total {max_total}")]
    TooManyIdle {
        /// `min_idle`
        min_idle: usize,
        /// `max_idle`
        max_idle: usize,
        /// `max_total`
        max_total: usize,
    },
    /// Maintenance without a pause.
    #[error("maintenance_interval is zero: it would never rest; the default is 5 s")]
    NoInterval,
    /// Every lease would be abandoned at once.
    #[error(
        "abandoned_timeout is zero: a lease would be abandoned between two uses; the default is 60 s"
    )]
    NoPatience,
}

impl PoolOptions {
    /// Whether they make sense together.
    ///
    /// # Errors
    /// [`PoolOptionsError`]
    pub fn check(&self) -> Result<(), PoolOptionsError> {
        let PoolOptions { min_idle, max_idle, max_total, .. } = *self;
        if max_total == 0 {
            return Err(PoolOptionsError::NoConnections);
        }
        if min_idle > max_idle || min_idle > max_total {
            return Err(PoolOptionsError::TooManyIdle { min_idle, max_idle, max_total });
        }
        if self.maintenance_interval.is_zero() {
            return Err(PoolOptionsError::NoInterval);
        }
        if self.abandoned_timeout.is_zero() {
            return Err(PoolOptionsError::NoPatience);
        }
        Ok(())
    }

    /// The same, with durations that can be added to a moment: `Duration::MAX` is a way to say
    /// never, and thirty years are as good.
    pub(crate) fn bounded(mut self) -> PoolOptions {
        const FAR: Duration = Duration::from_hours(30 * 365 * 24);
        let all = [
            &mut self.acquire_timeout,
            &mut self.connect_timeout,
            &mut self.validation_timeout,
            &mut self.reset_timeout,
            &mut self.close_timeout,
            &mut self.maintenance_interval,
            &mut self.min_evictable_idle,
            &mut self.abandoned_timeout,
            &mut self.backoff,
            &mut self.backoff_max,
        ];
        for duration in all {
            *duration = FAR.min(*duration);
        }
        self
    }
}
