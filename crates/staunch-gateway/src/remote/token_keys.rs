//! Keeps the keys of tokens current that are at a URL, beside the requests: on the runtime of the
//! process. A request with a key that is not known may have them looked at again, and waits for that a
//! moment; but not more often than [`PAUSE`], whatever clients send.

use std::{
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use staunch_http::{Client, ClientError, ClientOptionsError, ReadAnswerError};
use staunch_policy::{Jwt, JwtKeySet, ParseKeySetError, Policy};
use staunch_scope::{Context, ScopeBuilder, sleep_until, watch};
use tokio::time::{Instant, timeout};

use crate::plan::Plan;

/// Keys at one URL, and who waits for them.
#[derive(Debug)]
pub(crate) struct TokenKeys {
    url: String,
    refresh: Duration,
    /// How often somebody wanted them looked at.
    wanted: watch::Sender<u64>,
    /// How often they were.
    looks: watch::Sender<u64>,
    last: Mutex<Option<Looked>>,
    /// The last good ones, for policies that are new.
    good: Mutex<Option<Arc<JwtKeySet>>>,
}

/// A look that has come to its end.
#[derive(Clone, Copy, Debug)]
struct Looked {
    at: Instant,
    is_good: bool,
    /// How often somebody had wanted it until then.
    wanted: u64,
}

/// They could not be had.
#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Read(#[from] ReadAnswerError),
    #[error("it answers {0}")]
    Status(hyper::StatusCode),
    #[error(transparent)]
    Parse(#[from] ParseKeySetError),
}

/// Between two looks at a URL.
const PAUSE: Duration = Duration::from_secs(10);
/// For one look, all in all.
const LOOK: Duration = Duration::from_secs(5);
/// A request waits so long for one.
const PATIENCE: Duration = Duration::from_secs(3);
/// The most that is read.
const BYTES_MAX: u64 = 1 << 20;

impl TokenKeys {
    /// Those of `jwt`, if they are at a URL: of `all`, which get it, or as they were `before`.
    pub(crate) fn of(
        jwt: &Jwt,
        all: &mut Vec<Arc<TokenKeys>>,
        before: &[Arc<TokenKeys>],
    ) -> Option<Arc<TokenKeys>> {
        let (url, refresh) = jwt.url()?;
        let same = |known: &&Arc<TokenKeys>| known.url == url && known.refresh == refresh;
        let known = all.iter().find(same).cloned();
        let is_new = known.is_none();
        let keys = known.or_else(|| before.iter().find(same).cloned()).unwrap_or_else(|| {
            Arc::new(TokenKeys {
                url: url.to_owned(),
                refresh,
                wanted: watch::channel(0).0,
                looks: watch::channel(0).0,
                last: Mutex::default(),
                good: Mutex::default(),
            })
        });
        if let Some(good) = keys.good.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            jwt.take(good);
        }
        if is_new {
            all.push(Arc::clone(&keys));
        }
        Some(keys)
    }

    /// Waits until they have been looked at again; not if they were a moment ago, and not for long.
    pub(crate) async fn renewed(&self) {
        let mut looks = self.looks.subscribe();
        if self.last().is_some_and(|last| last.at.elapsed() < PAUSE) {
            return;
        }
        self.wanted.modify(|wanted| *wanted += 1);
        let _too_late = timeout(PATIENCE, looks.changed()).await;
    }

    fn last(&self) -> Option<Looked> {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn looked(&self, is_good: bool) {
        let looked = Looked { at: Instant::now(), is_good, wanted: self.wanted.with(|it| *it) };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(looked);
        self.looks.modify(|looks| *looks += 1);
    }

    /// Waits until they are to be looked at again; `false` if the task is asked to stop.
    async fn are_due(&self, wanted: &mut watch::Receiver<u64>) -> bool {
        // Those of the plan before may have looked, and need not again.
        let Some(last) = self.last() else { return true };
        if sleep_until(last.at + PAUSE).await.is_err() {
            return false;
        }
        if !last.is_good || wanted.latest() != last.wanted {
            return true;
        }
        tokio::select! {
            biased;
            changed = wanted.changed() => changed.is_ok(),
            slept = sleep_until(last.at + self.refresh) => slept.is_ok(),
        }
    }

    /// Has them looked at whenever they are due, as long as the task is not asked to stop.
    async fn keep<L: Future<Output = Result<(), LookError>>>(&self, look: impl Fn() -> L) {
        let mut wanted = self.wanted.subscribe();
        while self.are_due(&mut wanted).await {
            let looked = look().await;
            match &looked {
                Err(LookError::Client(ClientError::Cancelled { .. })) => return,
                Err(error) => {
                    tracing::warn!(
                        url = self.url,
                        "no keys of tokens, the last ones stay: {error}"
                    );
                }
                Ok(()) => {}
            }
            self.looked(looked.is_ok());
        }
    }
}

/// Keeps them current as long as the task is not asked to stop; a new plan is another set of them.
pub(crate) async fn keep_token_keys(mut plans: watch::Receiver<Arc<Plan>>) {
    loop {
        let plan = plans.latest();
        let mut keeping = pin!(keep_all(&plan));
        tokio::select! {
            biased;
            changed = plans.changed() => if changed.is_err() { return },
            () = &mut keeping => return, // it never ends but when it is asked to
        }
    }
}

async fn keep_all(plan: &Arc<Plan>) {
    let keeping = ScopeBuilder::<ClientOptionsError>::new(&Context::current())
        .max_children(usize::MAX) // they are as many as the configuration has
        .run(async |scope| {
            if !plan.token_keys.is_empty() {
                let client = Client::new(&scope, super::options("token-keys"))?;
                for keys in &plan.token_keys {
                    let keeper = Keeper {
                        client: client.clone(),
                        keys: Arc::clone(keys),
                        plan: Arc::clone(plan),
                    };
                    scope.spawn_named("token keys", async move {
                        keeper.keys.keep(|| keeper.look()).await;
                        Ok(())
                    });
                }
            }
            scope.context().cancelled().await;
            Ok(())
        })
        .await;
    if let Err(staunch_scope::ScopeError::Failed { first, .. }) = keeping.result {
        tracing::error!(cause = ?first.cause, "keys of tokens are not kept current");
    }
}

struct Keeper {
    client: Client,
    keys: Arc<TokenKeys>,
    plan: Arc<Plan>,
}

impl Keeper {
    async fn look(&self) -> Result<(), LookError> {
        let request = self.client.get(&self.keys.url).timeout(LOOK).max_body(BYTES_MAX);
        let answer = request.send().await?;
        if !answer.status().is_success() {
            return Err(LookError::Status(answer.status()));
        }
        let keys = Arc::new(JwtKeySet::parse(&answer.bytes(BYTES_MAX).await?)?);
        *self.keys.good.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&keys));
        for route in &self.plan.routes {
            let is_ours = route.token_keys.as_ref().is_some_and(|it| Arc::ptr_eq(it, &self.keys));
            if is_ours && let Some(jwt) = route.policy.as_ref().and_then(Policy::jwt) {
                jwt.take(Arc::clone(&keys));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    fn keys() -> TokenKeys {
        TokenKeys {
            url: "http://a/".to_owned(),
            refresh: HOUR,
            wanted: watch::channel(0).0,
            looks: watch::channel(0).0,
            last: Mutex::default(),
            good: Mutex::default(),
        }
    }

    /// When `keys` are looked at within `time`, in seconds from `start` on; the first `failures` looks fail.
    async fn looks(keys: &TokenKeys, start: Instant, time: Duration, failures: usize) -> Vec<u64> {
        let looked = RefCell::new(Vec::new());
        let look = || async {
            let mut looked = looked.borrow_mut();
            looked.push(start.elapsed().as_secs());
            if looked.len() > failures { Ok(()) } else { Err(ParseKeySetError::NoSet.into()) }
        };
        let _time_is_over = timeout(time, keys.keep(look)).await;
        looked.into_inner()
    }

    /// A plan is another one whenever a listener, a server or a route comes or goes.
    #[staunch::test(start_paused = true)]
    async fn a_new_plan_is_no_reason_to_ask_again() {
        let (keys, start) = (keys(), Instant::now());
        assert_eq!(looks(&keys, start, Duration::ZERO, 0).await, [0]);
        for _ in 0..10 {
            assert_eq!(looks(&keys, start, Duration::from_mins(5), 0).await, [0; 0]);
        }
        assert_eq!(looks(&keys, start, Duration::from_mins(11), 0).await, [3600]);
    }

    #[staunch::test(start_paused = true)]
    async fn they_are_asked_for_when_somebody_wants_them_or_there_are_none() {
        let (keys, start) = (keys(), Instant::now());
        assert_eq!(looks(&keys, start, Duration::from_secs(15), 1).await, [0, 10]);
        let _too_late = timeout(Duration::ZERO, keys.renewed()).await;
        assert_eq!(looks(&keys, start, Duration::from_secs(1), 0).await, [0; 0], "too early");
        tokio::time::advance(Duration::from_secs(9)).await;
        let wanted = async {
            keys.renewed().await; // whoever was to look has gone before
            start.elapsed().as_secs()
        };
        let (renewed, looked) =
            tokio::join!(wanted, looks(&keys, start, Duration::from_mins(5), 0));
        assert_eq!((renewed, looked), (25, vec![25]));
    }
}
