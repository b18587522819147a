//! Being one of the servers of a service: entered when it begins, kept alive, entered again when the
//! registry has forgotten it, taken out when its scope ends.

mod consul;
mod etcd;
mod instance;

use std::{convert::Infallible, path::PathBuf, time::Duration};

use staunch_scope::{Cancelled, Scope, ScopeBuilder, shield, sleep, timeout, watch};

pub use self::instance::{Instance, InvalidInstance};
use self::{consul::ConsulMember, etcd::EtcdMember};
use crate::{
    ask::{ANSWER_TIME, AskError},
    backoff::Backoff,
};

/// Where an instance registers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Registry {
    /// etcd, version 3.
    Etcd(EtcdRegistry),
    /// Consul.
    Consul(ConsulRegistry),
}

/// An etcd cluster. An instance is a key, `{prefix}{service}/{id}`, under a lease; its value is JSON:
/// `{"address": "10.0.0.7:8080", "weight": 1}`.
#[derive(Clone, Debug)]
pub struct EtcdRegistry {
    /// Its members, such as `http://10.0.0.5:2379`; asked in turn until one answers.
    pub servers: Vec<String>,
    /// Before the name of the service; it ends in `/`. Default `/services/`.
    pub prefix: String,
    /// The name of a user, and the file whose first line is the password. Default: nobody asks.
    pub login: Option<(String, PathBuf)>,
    /// Whose signature on certificates is believed, over https. Default: whom the system believes.
    pub ca: Option<PathBuf>,
}

/// An agent of Consul. An instance has a check of its own there, which is to be passed again within its
/// `ttl`; one that fails for a minute and its `ttl` is taken out by Consul.
#[derive(Clone, Debug)]
pub struct ConsulRegistry {
    /// The agent, such as `http://127.0.0.1:8500`: that of the same machine.
    pub agent: String,
    /// The file whose first line is the token. Default: none is needed.
    pub token_file: Option<PathBuf>,
    /// Whose signature on certificates is believed, over https. Default: whom the system believes.
    pub ca: Option<PathBuf>,
}

impl Registry {
    /// etcd, with these members.
    pub fn etcd<S: Into<String>>(servers: impl IntoIterator<Item = S>) -> Registry {
        Registry::Etcd(EtcdRegistry {
            servers: servers.into_iter().map(Into::into).collect(),
            prefix: "/services/".to_owned(),
            login: None,
            ca: None,
        })
    }

    /// Consul, by this agent.
    pub fn consul(agent: impl Into<String>) -> Registry {
        Registry::Consul(ConsulRegistry { agent: agent.into(), token_file: None, ca: None })
    }
}

/// An instance that registers itself, or has done so. Dropping it changes nothing: the registration is
/// the scope's.
#[derive(Clone, Debug)]
pub struct Registration {
    known: watch::Receiver<bool>,
}

/// How long a registry may take to take an instance out. It does so by itself, later.
const LEAVE: Duration = Duration::from_secs(2);

/// What the connections to the registry have beyond that.
const MARGIN: Duration = Duration::from_secs(1);

/// Has `instance` known to `registry` for as long as `scope` lives.
///
/// A task of the scope enters it, keeps it alive three times in its `ttl`, enters it again when the registry
/// has forgotten it, and tries without end while there is no registry, with pauses of up to 30 s. Asked to
/// stop, it takes the instance out, for which it has two seconds: shorter than the 5 s that a scope
/// has by default. So register once the instance answers, in a scope that ends before its listener does:
/// no client is sent to who no longer listens.
///
/// # Errors
/// [`InvalidInstance`]. That a registry does not answer is logged, and no error.
///
/// # Panics
/// Outside a tokio runtime with time enabled.
///
/// # Examples
/// ```no_run
/// use staunch_registry::{Instance, Registry, register};
/// use staunch_scope::{BoxError, Context, scope};
///
/// # async fn serve(_: &Context) {}
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// scope(&Context::current(), |s| async move {
///     let registry = Registry::etcd(["http://10.0.0.5:2379"]);
///     let mut registration = register(&s, &registry, Instance::new("shop", "shop-1", "10.0.0.7:8080"))?;
///     registration.registered().await?; // if something is to wait for it
///     serve(s.context()).await;
///     Ok::<_, BoxError>(())
/// })
/// .await?;
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn register<E: Send + 'static>(
    scope: &Scope<E>,
    registry: &Registry,
    instance: Instance,
) -> Result<Registration, InvalidInstance> {
    instance.check()?;
    let (telling, known) = watch::channel(false);
    let (registry, asked) = (registry.clone(), scope.context().clone());
    scope.spawn_named("registration", async move {
        // The registry is needed when the task has been asked to stop; what is asked is the keeping.
        let around = ScopeBuilder::<Infallible>::new(&asked.without_cancel()).grace(MARGIN);
        let kept = around.run(async |inner| {
            let keeper = Keeper { telling, instance, is_told: false };
            match &registry {
                Registry::Etcd(etcd) => {
                    let member = EtcdMember::new(&inner, etcd);
                    Box::pin(keeper.run(member, &asked)).await;
                }
                Registry::Consul(consul) => {
                    let member = ConsulMember::new(&inner, consul);
                    Box::pin(keeper.run(member, &asked)).await;
                }
            }
            inner.stop();
            Ok(())
        });
        let _forced_ends = shield(kept).await.result;
        Ok(())
    });
    Ok(Registration { known })
}

impl Registration {
    /// Waits until the registry knows the instance.
    ///
    /// # Errors
    /// [`Cancelled`] when the task is asked to stop, or the registration has ended.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn registered(&mut self) -> Result<(), Cancelled> {
        while !self.is_registered() {
            self.known.changed().await.map_err(|_| Cancelled::Requested)?;
        }
        Ok(())
    }

    /// Whether the registry knew the instance when it was asked last.
    pub fn is_registered(&mut self) -> bool {
        self.known.latest()
    }
}

/// How an instance is in a registry.
trait Member: Send {
    fn enter(&mut self, instance: &Instance) -> impl Future<Output = Result<(), AskError>> + Send;
    /// Whether it was still there.
    fn keep(&mut self, instance: &Instance) -> impl Future<Output = Result<bool, AskError>> + Send;
    fn leave(&mut self, instance: &Instance) -> impl Future<Output = Result<(), AskError>> + Send;
}

struct Keeper {
    telling: watch::Sender<bool>,
    instance: Instance,
    /// Whether it is logged that the registry does not answer.
    is_told: bool,
}

impl Keeper {
    /// Until `asked` is cancelled.
    async fn run(mut self, mut member: impl Member, asked: &staunch_scope::Context) {
        let _cause = asked.run(self.stay(&mut member)).await;
        self.telling.modify(|known| *known = false);
        let Instance { service, id, .. } = &self.instance;
        match timeout(LEAVE, member.leave(&self.instance)).await {
            Ok(Ok(())) => tracing::info!(service, id, "taken out of the registry"),
            Ok(Err(error)) => tracing::warn!(
                service,
                id,
                "not taken out of the registry: {error}; it expires within {:?}",
                self.instance.ttl
            ),
            Err(_) => tracing::warn!(
                service,
                id,
                "not taken out of the registry within {LEAVE:?}; it expires within {:?}",
                self.instance.ttl
            ),
        }
    }

    async fn stay(&mut self, member: &mut impl Member) {
        let mut backoff = Backoff::default();
        // A third of its life, so that two may be lost.
        let every = self.instance.ttl / 3;
        let limit = every.min(ANSWER_TIME);
        let mut is_in = false;
        loop {
            let answered = if is_in {
                timeout(limit, member.keep(&self.instance)).await
            } else {
                timeout(limit, member.enter(&self.instance)).await.map(|it| it.map(|()| true))
            };
            let pause = match answered {
                Ok(Ok(true)) => {
                    self.is_known(!is_in);
                    is_in = true;
                    backoff.succeeded();
                    every
                }
                Ok(Ok(false)) => {
                    let Instance { service, id, .. } = &self.instance;
                    tracing::warn!(service, id, "the registry has forgotten it: entered again");
                    self.telling.modify(|known| *known = false);
                    is_in = false;
                    continue;
                }
                Ok(Err(error)) => self.failed(&error, &mut backoff).min(every),
                Err(_) => {
                    self.failed(&format!("no answer within {limit:?}"), &mut backoff).min(every)
                }
            };
            if sleep(pause).await.is_err() {
                return;
            }
        }
    }

    fn is_known(&mut self, is_new: bool) {
        if is_new || self.is_told {
            let Instance { service, id, address, .. } = &self.instance;
            tracing::info!(service, id, address, "known to the registry");
        }
        self.is_told = false;
        self.telling.modify(|known| *known = true);
    }

    fn failed(&mut self, why: &impl std::fmt::Display, backoff: &mut Backoff) -> Duration {
        let Instance { service, id, .. } = &self.instance;
        if self.is_told {
            tracing::debug!(service, id, "the registry does not answer: {why}");
        } else {
            tracing::warn!(service, id, "the registry does not answer: {why}; tried again");
        }
        self.is_told = true;
        backoff.failed()
    }
}
