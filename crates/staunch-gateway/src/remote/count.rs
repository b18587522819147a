//! Where a fleet counts: in Redis, by the same algorithm and on Redis' own clock, so that the clocks of
//! its instances need not agree.

use std::{sync::Arc, time::Duration};

use staunch_config::RedisUrl;
use staunch_policy::{Count, Shared};
use staunch_pool::{Pool, PoolOptions, Redis};
use staunch_scope::Scope;
use tokio::time::{Instant, timeout};

use super::standing::Standing;

/// Those of a core, by where they are.
#[derive(Debug, Default)]
pub(super) struct Counters(Vec<Arc<Counter>>);

/// One Redis.
#[derive(Debug)]
struct Counter {
    url: RedisUrl,
    /// For one answer.
    limit: Duration,
    pool: Option<Pool<Redis>>,
    /// That it ends and begins to answer is logged, and not each request.
    standing: Standing,
}

/// Until when the share of an entry is used up is all that is kept, in microseconds, which Lua's numbers
/// hold to the year 2255; and that no longer than it matters.
const SCRIPT: &str = "\
    local time = redis.call('TIME')
    local now = time[1] * 1000000 + time[2]
    local interval, ahead = tonumber(ARGV[1]), tonumber(ARGV[2])
    local before = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now)
    local after = before + interval
    if after > now + ahead then
        return {before - now, after - now - ahead}
    end
    redis.call('SET', KEYS[1], string.format('%.0f', after), 'PX', math.ceil((after - now) / 1000))
    return {after - now, 0}";

/// Requests at a time to one of them; others wait for as long as a count may take.
const CONNECTIONS: usize = 64;

impl Counters {
    /// Those of all `shared`; `before` has pools that stay.
    pub(super) fn new<'p, E: Send + 'static>(
        scope: &Scope<E>,
        shared: impl Iterator<Item = Shared<'p>>,
        before: Option<&Counters>,
    ) -> Counters {
        let mut counters = Counters::default();
        for shared in shared {
            let (url, limit) = (&shared.at.url, shared.at.timeout);
            if counters.counter(url, limit).is_none() {
                let known = before.and_then(|before| before.counter(url, limit)).cloned();
                let new = || {
                    let pool = pool(scope, url, limit);
                    Arc::new(Counter {
                        url: url.clone(),
                        limit,
                        pool,
                        standing: Standing::default(),
                    })
                };
                counters.0.push(known.unwrap_or_else(new));
            }
        }
        counters
    }

    fn counter(&self, url: &RedisUrl, limit: Duration) -> Option<&Arc<Counter>> {
        self.0.iter().find(|known| known.url == *url && known.limit == limit)
    }

    /// How `entry` stands after a request; `None` without an answer in time, and for some time at once
    /// after there was none again and again.
    pub(super) async fn count(&self, shared: &Shared<'_>, entry: &str) -> Option<Count> {
        let counter = self.counter(&shared.at.url, shared.at.timeout)?;
        let (begun, limit) = (Instant::now(), shared.at.timeout);
        if !counter.standing.is_to_be_asked(begun) {
            return None;
        }
        let asked = timeout(limit, ask(counter.pool.as_ref()?, shared, entry)).await;
        let answer = asked.map_err(|_| "it took too long".to_owned()).and_then(|answer| answer);
        match &answer {
            Ok(_) if counter.standing.has_answered() => {
                tracing::info!("requests are counted in Redis again");
            }
            Err(error) if counter.standing.has_failed(begun, Instant::now(), limit) => {
                tracing::warn!("requests cannot be counted in Redis: {error}");
            }
            _ => {}
        }
        answer.ok()
    }
}

fn pool<E: Send + 'static>(
    scope: &Scope<E>,
    url: &RedisUrl,
    limit: Duration,
) -> Option<Pool<Redis>> {
    let options = PoolOptions {
        name: "rate-limit",
        max_total: CONNECTIONS,
        max_idle: CONNECTIONS / 4,
        ..PoolOptions::default()
    };
    let redis = Redis::new(scope, url.0.as_str()).map(|redis| redis.response_timeout(limit));
    // The error of an address may repeat it, and with it a password.
    let redis = redis.inspect_err(|_| tracing::error!("the URL of `redis` cannot be used")).ok()?;
    let pool = Pool::new(scope, redis, options);
    pool.inspect_err(|error| tracing::error!(%error, "Redis is not asked")).ok()
}

async fn ask(pool: &Pool<Redis>, shared: &Shared<'_>, entry: &str) -> Result<Count, String> {
    let mut lease = pool.acquire().await.map_err(|error| error.to_string())?;
    let mut connection = lease.connection().map_err(|error| error.to_string())?;
    let micros = |time: Duration| (time.as_micros() as u64).max(1);
    let (interval, ahead) = (micros(shared.gcra.interval()), micros(shared.gcra.ahead()));
    let (used, retry): (u64, u64) = redis::cmd("EVAL")
        .arg(SCRIPT)
        .arg(1)
        .arg(entry)
        .arg(interval)
        .arg(ahead)
        .query_async(&mut *connection)
        .await
        .map_err(|error| error.to_string())?;
    Ok(Count {
        remaining: ahead.saturating_sub(used) / interval,
        reset: Duration::from_micros(used),
        retry: (retry > 0).then(|| Duration::from_micros(retry)),
    })
}
