//! What the tests share.

use std::{path::Path, sync::Arc, time::Duration};

use staunch::{BoxError, Context, channel::watch, scope};
use staunch_config::{Config, Discovery, Endpoint};
use staunch_registry::{Status, discover};

/// Nothing takes longer; a test that hangs fails with this instead.
const PATIENCE: Duration = Duration::from_secs(30);

/// A discovery that runs, and what it has told.
pub(crate) struct Running {
    pub(crate) status: Arc<Status>,
    told: watch::Receiver<Vec<String>>,
}

/// The `[service.discovery]` with these keys.
pub(crate) fn discovery(folder: &Path, keys: &str) -> Discovery {
    let text = format!(
        "[[listener]]\nname = 'tcp'\nprotocol = 'tcp'\nlisten = '127.0.0.1:1'\nservice = 's'\n\
         [[service]]\nname = 's'\n[service.discovery]\n{keys}\n"
    );
    let name = folder.join("t.toml").display().to_string();
    let config = Config::parse(&name, &text).unwrap_or_else(|errors| panic!("{errors:#}"));
    config.services[0].discovery.clone().unwrap()
}

/// Runs `test` beside a discovery with these keys; then nothing is left of it.
pub(crate) async fn discovering(discovery: Discovery, test: impl AsyncFnOnce(&mut Running)) {
    let ended = scope(&Context::current(), |s| async move {
        let (telling, told) = watch::channel(Vec::new());
        let status = Arc::new(Status::new(&discovery));
        let mut running = Running { status: Arc::clone(&status), told };
        s.spawn_named("discovery", async move {
            let tell = |servers: Option<Arc<[Endpoint]>>| {
                let name = |it: &Endpoint| format!("{} {}", it.address, it.weight);
                let names = servers.iter().flat_map(|servers| servers.iter().map(name)).collect();
                telling.modify(|told| *told = names);
            };
            discover("s", &discovery, &status, tell).await;
            Ok(())
        });
        test(&mut running).await;
        s.stop();
        Ok::<_, BoxError>(())
    });
    ended.await.unwrap();
}

impl Running {
    /// Waits until exactly these servers are known, each with its weight.
    #[track_caller]
    pub(crate) fn tells<'r>(&'r mut self, expected: &'r [&str]) -> impl Future<Output = ()> + 'r {
        let asked_at = std::panic::Location::caller();
        async move {
            let waiting = async {
                while self.told.latest() != expected {
                    self.told.changed().await.unwrap();
                }
            };
            let came = tokio::time::timeout(PATIENCE, waiting).await.is_ok();
            assert!(came, "{asked_at}: not {expected:?} but {:?}", self.now());
        }
    }

    pub(crate) fn now(&mut self) -> Vec<String> {
        self.told.latest()
    }

    /// Waits until `look` is true of the status.
    pub(crate) async fn until(
        &self,
        awaited: &str,
        look: impl Fn(&staunch_registry::Known) -> bool,
    ) {
        until(awaited, || look(&self.status.known())).await;
    }
}

/// Waits until `look` is true.
pub(crate) async fn until(awaited: &str, mut look: impl FnMut() -> bool) {
    let waiting = async {
        while !look() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let came = tokio::time::timeout(PATIENCE, waiting).await.is_ok();
    assert!(came, "never: {awaited}");
}
