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
use staunch_scope::{Context, ScopeBuilder, sleep, watch};
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
    last: Mutex<Option<Instant>>,
    /// The last good ones, for policies that are new.
    good: Mutex<Option<Arc<JwtKeySet>>>,
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
        if self.since_last().is_some_and(|since| since < PAUSE) {
            return;
        }
        self.wanted.modify(|wanted| *wanted += 1);
        let _too_late = timeout(PATIENCE, looks.changed()).await;
    }

    fn since_last(&self) -> Option<Duration> {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.map(|last| last.elapsed())
    }

    fn looked(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.looks.modify(|looks| *looks += 1);
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
                        keeper.run().await;
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
    async fn run(self) {
        let mut wanted = self.keys.wanted.subscribe();
        // Those of the plan before have looked, perhaps just now.
        let pause = self.keys.since_last().map(|since| PAUSE.saturating_sub(since));
        if sleep(pause.unwrap_or_default()).await.is_err() {
            return;
        }
        loop {
            let is_good = match self.look().await {
                Ok(()) => true,
                Err(LookError::Client(ClientError::Cancelled { .. })) => return,
                Err(error) => {
                    tracing::warn!(
                        url = self.keys.url,
                        "no keys of tokens, the last ones stay: {error}"
                    );
                    false
                }
            };
            self.keys.looked();
            if sleep(PAUSE).await.is_err() {
                return;
            }
            if !is_good {
                continue;
            }
            let due = self.keys.refresh.saturating_sub(PAUSE);
            tokio::select! {
                biased;
                changed = wanted.changed() => if changed.is_err() { return },
                slept = sleep(due) => if slept.is_err() { return },
            }
        }
    }

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
