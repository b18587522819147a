//! How many requests come in a time.
//!
//! The generic cell rate algorithm ([`Gcra`]; ITU-T I.371, annex A): of each client one moment is
//! remembered, until which it has used up its share, so that neither a window nor a refill needs a timer.
//! They are in a [`Table`] of fixed size: a cache of sets of eight, of which each has a lock that is held
//! for a few comparisons. What a client does not use goes by: whoever is as good as new need not be
//! remembered.

use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::{
    HeaderName, StatusCode,
    header::{HeaderValue, RETRY_AFTER},
};
use ring::digest;
use staunch_config::{RateBy, SharedRate, WhenDown};

use crate::{
    asked::Asked,
    refusal::{Reason, Refusal},
};

static RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
static RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// What may come: one request each [`interval`](Gcra::interval), and so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gcra {
    /// Nanoseconds between two requests, over time.
    interval: u64,
    /// Nanoseconds that the requests may be ahead of that, the next one included.
    ahead: u64,
}

/// How a client stands after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// How many more would pass at once.
    pub remaining: u64,
    /// When nothing of its share is used up any more.
    pub reset: Duration,
    /// When the next one passes; `None` if this one has.
    pub retry: Option<Duration>,
}

impl Gcra {
    /// `requests` in `per`, of which `burst` may come at once.
    pub fn new(requests: u32, per: Duration, burst: u32) -> Gcra {
        let interval = (nanos(per) / u64::from(requests.max(1))).max(1);
        Gcra { interval, ahead: interval.saturating_mul(u64::from(burst.max(1))) }
    }

    /// Time between two requests, over time.
    pub fn interval(&self) -> Duration {
        Duration::from_nanos(self.interval)
    }

    /// How far requests may be ahead of that.
    pub fn ahead(&self) -> Duration {
        Duration::from_nanos(self.ahead)
    }

    /// A request at `now`, of a client whose share is used up until `until`, in nanoseconds. Until when
    /// it is after it.
    pub fn ask(&self, until: u64, now: u64) -> (u64, Count) {
        let next = until.max(now).saturating_add(self.interval);
        let latest = now.saturating_add(self.ahead);
        if next > latest {
            return (until, self.count(until, now, Some(next - latest)));
        }
        (next, self.count(next, now, None))
    }

    fn count(&self, until: u64, now: u64, retry: Option<u64>) -> Count {
        let used = until.saturating_sub(now);
        Count {
            remaining: self.ahead.saturating_sub(used) / self.interval,
            reset: Duration::from_nanos(used),
            retry: retry.map(Duration::from_nanos),
        }
    }
}

/// Until when the shares of clients are used up, for so many of them.
#[derive(Debug)]
pub struct Table {
    sets: Box<[Mutex<Set>]>,
}

/// How many are looked through for one.
const SLOTS: usize = 8;

type Set = [Slot; SLOTS];

/// A client by the hash of what it is known by, and until when its share is used up, in nanoseconds; 0
/// is nobody.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    client: u64,
    until: u64,
}

impl Table {
    /// For so many clients, and up to seven more.
    pub fn new(entries: usize) -> Table {
        let sets = entries.div_ceil(SLOTS).max(1);
        Table { sets: (0..sets).map(|_| Mutex::default()).collect() }
    }

    /// A request at `now`, in nanoseconds; `client` is a hash that nobody outside can foresee. For a
    /// client that is new, the one of its set is forgotten that has used up the least.
    pub fn ask(&self, gcra: &Gcra, client: u64, now: u64) -> Count {
        let client = client.max(1);
        let place = (u128::from(client) * self.sets.len() as u128) >> 64;
        let Some(set) = self.sets.get(place as usize) else {
            return gcra.ask(u64::MAX, now).1; // cannot be
        };
        let mut set = set.lock().unwrap_or_else(PoisonError::into_inner);
        let known = set.iter_mut().position(|slot| slot.client == client);
        let least = || set.iter().enumerate().min_by_key(|(_, slot)| slot.until).map(|(at, _)| at);
        let place = known.or_else(least).unwrap_or(0);
        let slot = &mut set[place];
        let until = if slot.client == client { slot.until } else { 0 };
        let (until, count) = gcra.ask(until, now);
        *slot = Slot { client, until };
        count
    }
}

/// A rate of a policy, and what is known of those who ask.
#[derive(Debug)]
pub struct Rate {
    gcra: Gcra,
    config: staunch_config::Rate,
    known: Arc<Known>,
    /// `"api";q=100;w=1`
    policy: HeaderValue,
    name: String,
    /// What its entries are called where a fleet counts.
    prefix: String,
}

#[derive(Debug)]
struct Known {
    table: Table,
    hasher: RandomState,
}

/// A rate that a fleet counts together.
#[derive(Clone, Copy, Debug)]
pub struct Shared<'p> {
    /// Where, and for how long it is waited.
    pub at: &'p SharedRate,
    /// What may come.
    pub gcra: &'p Gcra,
}

/// Whose requests are counted together.
pub(crate) enum Who<'r> {
    Bytes(&'r [u8]),
    Ip(IpAddr),
    Nobody,
}

impl Rate {
    /// Of a route; what `before` knows stays, if it is the same rate.
    pub(crate) fn new(
        config: &staunch_config::Rate,
        (policy, route): (&str, &str),
        before: Option<&Rate>,
    ) -> Option<Rate> {
        let gcra = Gcra::new(config.requests.get(), config.per, config.burst.get());
        let same = before.filter(|before| before.config == *config);
        let new = || Known { table: Table::new(config.entries.get()), hasher: RandomState::new() };
        let known = same.map_or_else(|| Arc::new(new()), |before| Arc::clone(&before.known));
        // What a client can rely on in each window: all that may come at once, and the time after
        // which as much may come again. Seconds are whole there.
        let refilled = config.per.as_nanos() * u128::from(config.burst.get());
        let window = refilled.div_ceil(u128::from(config.requests.get()) * 1_000_000_000);
        let said = format!("\"{policy}\";q={};w={window}", config.burst);
        Some(Rate {
            gcra,
            known,
            policy: said.parse().ok()?,
            name: policy.to_owned(),
            prefix: format!("staunch:rate:{route}:"),
            config: config.clone(),
        })
    }

    pub(crate) fn is_by_key(&self) -> bool {
        self.config.by == RateBy::Key
    }

    /// Whose request it is; `key` is the name of its key.
    pub(crate) fn who<'r>(&self, asked: &Asked<'r>, key: Option<&'r str>) -> Who<'r> {
        match &self.config.by {
            RateBy::Ip => asked.client.map_or(Who::Nobody, |client| Who::Ip(network(client))),
            RateBy::Key => key.map_or(Who::Nobody, |key| Who::Bytes(key.as_bytes())),
            RateBy::Header(name) => asked.fields.first(name).map_or(Who::Nobody, Who::Bytes),
        }
    }

    pub(crate) fn ask(&self, who: &Who<'_>, now: Duration) -> Count {
        let hasher = &self.known.hasher;
        let client = match who {
            Who::Bytes(bytes) => hasher.hash_one(bytes),
            Who::Ip(ip) => hasher.hash_one(ip),
            Who::Nobody => hasher.hash_one(()),
        };
        self.known.table.ask(&self.gcra, client, nanos(now))
    }

    pub(crate) fn shared(&self) -> Option<Shared<'_>> {
        let at = self.config.shared.as_ref()?;
        Some(Shared { at, gcra: &self.gcra })
    }

    /// What whoever asks is called where a fleet counts: a hash, since it may be a secret.
    pub(crate) fn entry(&self, who: &Who<'_>) -> String {
        let mut context = digest::Context::new(&digest::SHA256);
        match who {
            Who::Bytes(bytes) => {
                context.update(b"b");
                context.update(bytes);
            }
            Who::Ip(ip) => {
                context.update(b"i");
                context.update(ip.to_string().as_bytes());
            }
            Who::Nobody => {}
        }
        let digest = context.finish();
        let half = digest.as_ref().iter().take(16);
        half.fold(self.prefix.clone(), |entry, byte| entry + &format!("{byte:02x}"))
    }

    pub(crate) fn check(&self, count: &Count) -> Result<(), Refusal> {
        let Some(retry) = count.retry else { return Ok(()) };
        let seconds = |time: Duration| time.as_secs() + u64::from(time.subsec_nanos() > 0);
        let retry = HeaderValue::from(seconds(retry).max(1));
        let said = format!("\"{}\";r={};t={}", self.name, count.remaining, seconds(count.reset));
        let text = "More requests come from you than may";
        let refusal = Refusal::new(StatusCode::TOO_MANY_REQUESTS, Reason::Rate, text)
            .header(RETRY_AFTER, retry)
            .header(RATE_LIMIT_POLICY.clone(), self.policy.clone());
        Err(match said.parse() {
            Ok(said) => refusal.header(RATE_LIMIT.clone(), said),
            Err(_) => refusal,
        })
    }

    /// What happens if the place where a fleet counts gives no answer; this instance has let it pass.
    pub(crate) fn down(&self) -> Result<(), Refusal> {
        match self.config.shared.as_ref().map(|shared| shared.when_down) {
            Some(WhenDown::Refuse) => {
                let text = "Requests cannot be counted at present";
                Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, Reason::RateDown, text)
                    .header(RETRY_AFTER, HeaderValue::from_static("1")))
            }
            _ => Ok(()),
        }
    }
}

/// What one client has: an IPv4 address, or an IPv6 network of 64 bits (RFC 4291, 2.5.4).
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(v4) => v4.into(),
        IpAddr::V6(v6) => IpAddr::from((v6.to_bits() >> 64 << 64).to_be_bytes()),
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A bucket that leaks at the rate, and takes what does not overflow.
    struct Bucket {
        level: u64,
        at: u64,
    }

    impl Bucket {
        fn ask(&mut self, interval: u64, burst: u64, now: u64) -> bool {
            self.level = self.level.saturating_sub(now - self.at);
            self.at = now;
            let fits = self.level + interval <= interval * burst;
            self.level += if fits { interval } else { 0 };
            fits
        }
    }

    proptest! {
        #[test]
        fn it_lets_pass_what_a_leaky_bucket_takes(
            requests in 1..50_u32,
            burst in 1..20_u32,
            steps in prop::collection::vec(0..200_u64, 1..200),
        ) {
            let per = Duration::from_micros(1);
            let gcra = Gcra::new(requests, per, burst);
            let interval = 1_000 / u64::from(requests);
            let (mut bucket, mut until, mut now) = (Bucket { level: 0, at: 0 }, 0, 0);
            for step in steps {
                now += step;
                let expected = bucket.ask(interval, burst.into(), now);
                let (after, count) = gcra.ask(until, now);
                prop_assert_eq!(count.retry.is_none(), expected);
                let room = (interval * u64::from(burst) - bucket.level) / interval;
                prop_assert_eq!(count.remaining, room);
                if let Some(retry) = count.retry {
                    let then = now + retry.as_nanos() as u64;
                    prop_assert!(gcra.ask(after, then).1.retry.is_none(), "it may then");
                    prop_assert!(gcra.ask(after, then - 1).1.retry.is_some(), "and not before");
                }
                until = after;
            }
        }

        /// With room for all, a table is a map.
        #[test]
        fn a_table_tells_its_clients_apart(asks in prop::collection::vec((1..5_u64, 0..100_u64), 1..200)) {
            let (gcra, table) = (Gcra::new(10, Duration::from_micros(1), 3), Table::new(8));
            let (mut known, mut now) = (std::collections::HashMap::new(), 0);
            for (client, step) in asks {
                now += step;
                let until = known.entry(client).or_insert(0);
                let (after, expected) = gcra.ask(*until, now);
                *until = after;
                prop_assert_eq!(table.ask(&gcra, client, now), expected);
            }
        }
    }

    #[test]
    fn who_has_asked_the_least_is_forgotten() {
        let (gcra, table) = (Gcra::new(1, Duration::from_micros(1), 5), Table::new(8));
        for client in 1..=8 {
            for _ in 0..2 {
                table.ask(&gcra, client, 0);
            }
        }
        table.ask(&gcra, 5, 0);
        for stranger in 100..1_000 {
            table.ask(&gcra, stranger, 0);
        }
        assert_eq!(table.ask(&gcra, 5, 0).remaining, 1, "it had three, and this one");
    }

    #[test]
    fn a_rate_is_as_good_as_its_numbers() {
        let gcra = Gcra::new(u32::MAX, Duration::from_millis(1), u32::MAX);
        assert_eq!(gcra.ask(0, 0).1.retry, None);
        let gcra = Gcra::new(1, Duration::from_hours(24), u32::MAX);
        let (until, count) = gcra.ask(u64::MAX, u64::MAX);
        assert_eq!((until, count.retry), (u64::MAX, None), "it ends where time does");
    }

    #[test]
    fn a_client_has_one_network() {
        let network = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(network("2001:db8:0:1:2:3:4:5"), "2001:db8:0:1::");
        assert_eq!(network("::ffff:10.0.0.7"), "10.0.0.7");
    }
}
