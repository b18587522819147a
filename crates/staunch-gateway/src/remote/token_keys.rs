//! Keeps the keys of tokens current that are at a URL, beside the requests: on the runtime of the
//! process. A request with a key that is not known may have them looked at again, and waits for that a
//! moment; but not more often than [`PAUSE`], whatever clients send.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use staunch_http::{Client, ClientError, ClientOptionsError, ReadAnswerError};
use staunch_policy::{Jwt, JwtKeySet, ParseKeySetError, Policy};
use staunch_scope::{Context, ScopeBuilder, ScopeError, scope, sleep_until, watch};
use tokio::time::{Instant, timeout};

use crate::{children::Children, plan::Plan};

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
    fn new(url: &str, refresh: Duration, good: Option<Arc<JwtKeySet>>) -> TokenKeys {
        TokenKeys {
            url: url.to_owned(),
            refresh,
            wanted: watch::channel(0).0,
            looks: watch::channel(0).0,
            last: Mutex::default(),
            good: Mutex::new(good),
        }
    }

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
            // Those that were good stay so, however often they are to be looked at from now on.
            let good = before.iter().find(|known| known.url == url).and_then(|known| known.good());
            Arc::new(TokenKeys::new(url, refresh, good))
        });
        if let Some(good) = keys.good() {
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

    fn good(&self) -> Option<Arc<JwtKeySet>> {
        self.good.lock().unwrap_or_else(PoisonError::into_inner).clone()
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

/// Keeps them current as long as the task is not asked to stop. A new plan is another set of them; a look at
/// those that stay goes on.
pub(crate) async fn keep_token_keys(mut plans: watch::Receiver<Arc<Plan>>) {
    let keeping = ScopeBuilder::<Infallible>::new(&Context::current())
        .max_children(usize::MAX) // they are as many as the configuration has
        .run(async |scope| {
            let mut keepers = Children::new();
            loop {
                let plan = plans.latest();
                let wanted = plan.token_keys.iter().map(|keys| {
                    // Its keeper holds it, so that no other one has its address as long as that runs.
                    (Arc::as_ptr(keys).addr(), (Arc::clone(keys), plans.clone()))
                });
                keepers.set(&scope, "token keys", wanted, keep);
                if plans.changed().await.is_err() {
                    scope.stop();
                    return Ok(());
                }
            }
        });
    let _asked_to_stop = keeping.await.result;
}

async fn keep((keys, plans): (Arc<TokenKeys>, watch::Receiver<Arc<Plan>>)) {
    let kept = scope(&Context::current(), |scope| async move {
        let client = Client::new(&scope, super::options("token-keys"))?;
        let keeper = Keeper { client, keys, plans };
        keeper.keys.keep(|| keeper.look()).await;
        scope.stop();
        Ok::<_, ClientOptionsError>(())
    });
    if let Err(ScopeError::Failed { first, .. }) = kept.await {
        tracing::error!(cause = ?first.cause, "keys of tokens are not kept current");
    }
}

struct Keeper {
    client: Client,
    keys: Arc<TokenKeys>,
    /// For the newest one, whose policies take what was found.
    plans: watch::Receiver<Arc<Plan>>,
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
        let plan = self.plans.clone().latest();
        for route in &plan.routes {
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
        TokenKeys::new("http://a/", HOUR, None)
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

    const SET: &str = r#"{"keys":[{"kty":"oct","k":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY","alg":"HS256"}]}"#;

    /// A plan with keys of tokens at `url`.
    fn plan(url: &str, refresh: &str, before: &Plan) -> Arc<Plan> {
        let text = format!(
            "[[listener]]\nname='web'\nprotocol='http'\nlisten='127.0.0.1:1'\n\
             [[service]]\nname='s'\nendpoints=['a:1']\n\
             [[route]]\nname='r'\nservice='s'\npolicies=['p']\n\
             [[policy]]\nname='p'\n[policy.jwt]\nkeys_url='{url}'\nrefresh='{refresh}'\n\
             algorithms=['RS256']\nissuer='i'\naudience=['a']\n"
        );
        let config =
            staunch_config::Config::parse("t", &text).unwrap_or_else(|it| panic!("{it:#}"));
        Arc::new(Plan::new(&config, &crate::discovery::Found::default(), before).unwrap())
    }

    #[test]
    fn good_keys_stay_so_when_they_are_to_be_looked_at_more_often() {
        let first = plan("http://a/", "1h", &Plan::default());
        let good = Arc::new(JwtKeySet::parse(SET.as_bytes()).unwrap());
        *first.token_keys[0].good.lock().unwrap() = Some(good);
        let second = plan("http://a/", "30m", &first);
        assert!(!Arc::ptr_eq(&first.token_keys[0], &second.token_keys[0]));
        assert!(second.token_keys[0].good().is_some());
        assert!(plan("http://b/", "30m", &second).token_keys[0].good().is_none());
    }

    /// As often as they may come from a registry.
    #[staunch::test]
    async fn a_look_goes_on_while_plans_change() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let first = plan(&url, "1h", &Plan::default());
        let (plans, changes) = watch::channel(Arc::clone(&first));
        let (context, cancel) = Context::current().with_cancel();
        let kept = context.run(keep_token_keys(changes));
        let server = async {
            let (mut client, _) = listener.accept().await.unwrap();
            assert!(client.read(&mut [0; 1000]).await.unwrap() > 0);
            let second = plan(&url, "1h", &first);
            plans.modify(|plan| *plan = Arc::clone(&second));
            for _ in 0..100 {
                tokio::task::yield_now().await; // it is taken up
            }
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", SET.len());
            client.write_all(format!("{head}{SET}").as_bytes()).await.unwrap();
            let looked = async {
                while second.token_keys[0].last().is_none() {
                    tokio::task::yield_now().await;
                }
            };
            timeout(Duration::from_secs(20), looked).await.expect("the answer was waited for");
            assert!(second.token_keys[0].good().is_some());
            cancel.cancel();
        };
        let _cancelled = tokio::join!(kept, server);
    }
}
