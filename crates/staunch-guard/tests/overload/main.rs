//! Ten times as many clients as a server can serve, and memory for half of them.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may fail as tests do")]

#[path = "../shed/support.rs"]
#[allow(dead_code, reason = "what other tests need of it")]
mod support;

use std::{
    hint::black_box,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use staunch::{BoxError, Context, Scope, scope};
use staunch_guard::{
    GradientOptions, Guard, GuardOptions, Jemalloc, Level, MemorySource, Shed, Usage,
};
use staunch_http::handler;
use tokio::sync::Semaphore;
use tower_layer::Layer;

use self::support::{Client, connect, get, read, with_server};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const MIB: u64 = 1 << 20;
/// What each request holds while it waits and is served.
const REQUEST_BYTES: usize = 1 << 20;
/// The server can do so many at once, each for so long: 40 a second.
const WORKERS: usize = 8;
const TAKES: Duration = Duration::from_millis(200);
/// Who is refused tries again after this time: ten times what the server can do is asked of it.
const PAUSE: Duration = Duration::from_millis(200);
/// For how long it is asked alone, and half as long as overloaded.
const TIME: Duration = Duration::from_secs(1);
/// Memory beyond what the process has before it is asked anything.
const ROOM: u64 = 48 * MIB;

fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// The process's own memory, with a limit that is set once everybody is connected.
#[derive(Clone, Default)]
struct Memory {
    limit: Arc<AtomicU64>,
    most: Arc<AtomicU64>,
}

impl MemorySource for Memory {
    fn usage(&self) -> Usage {
        let limit = self.limit.load(Ordering::SeqCst);
        Usage { bytes: self.look(), limit: (limit > 0).then_some(limit) }
    }
}

impl Memory {
    /// Notes the most that was ever in use.
    fn look(&self) -> u64 {
        let bytes = resident();
        self.most.fetch_max(bytes, Ordering::SeqCst);
        bytes
    }
}

/// What came of a time of load.
#[derive(Debug, Default)]
struct Outcome {
    answered: AtomicUsize,
    refused: AtomicUsize,
    took: Mutex<Vec<Duration>>,
    /// Until the last answer.
    lasted: Duration,
}

impl Outcome {
    fn per_second(&self) -> f64 {
        self.answered.load(Ordering::SeqCst) as f64 / self.lasted.as_secs_f64()
    }

    fn p99(&self) -> Duration {
        let mut took = self.took.lock().unwrap();
        took.sort_unstable();
        took.get(took.len() * 99 / 100).copied().unwrap_or_default()
    }
}

/// All clients ask for `time`, again and again.
async fn load(clients: &mut Vec<Client>, count: usize, time: Duration) -> Outcome {
    let outcome = Arc::new(Outcome::default());
    let begun = Instant::now();
    let end = begun + time;
    let at_work: Vec<Client> = clients.drain(..count).collect();
    let shared = Arc::clone(&outcome);
    let ended = scope(&Context::current(), |s| async move {
        let asking: Vec<_> = at_work
            .into_iter()
            .map(|client| {
                let outcome = Arc::clone(&shared);
                s.fork(async move { Ok::<_, BoxError>(ask_until(end, client, &outcome).await) })
            })
            .collect();
        let mut back = Vec::new();
        for asking in asking {
            back.push(asking.join().await?);
        }
        Ok(back)
    });
    clients.extend(ended.await.unwrap());
    let outcome = Arc::into_inner(outcome).unwrap();
    Outcome { lasted: begun.elapsed(), ..outcome }
}

async fn ask_until(end: Instant, mut client: Client, outcome: &Outcome) -> Client {
    while Instant::now() < end {
        let begun = Instant::now();
        let (status, _) = read(get(&mut client, "/", &[]).await).await;
        match status {
            200 => {
                outcome.answered.fetch_add(1, Ordering::SeqCst);
                outcome.took.lock().unwrap().push(begun.elapsed());
            }
            503 => {
                outcome.refused.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(PAUSE).await;
            }
            status => panic!("{status}"),
        }
    }
    client
}

async fn connect_all(address: SocketAddr, scope: &Scope<BoxError>, count: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(connect(address, scope).await);
    }
    clients
}

#[staunch::test(flavor = "multi_thread")]
async fn under_tenfold_load_memory_keeps_its_limit_and_those_admitted_are_served() {
    check("memory alone", None, 6).await;
    check("with a limit of concurrency", Some(GradientOptions::default()), 4).await;
}

/// Those admitted take at most so many times as long as alone.
async fn check(what: &str, concurrency: Option<GradientOptions>, slower: u32) {
    let memory = Memory::default();
    let options = GuardOptions {
        memory: Some(Arc::new(memory.clone())),
        allocator: Some(Arc::new(Jemalloc::new().unwrap())),
        request_bytes: REQUEST_BYTES as u64 + (256 << 10), // and what hyper needs
        concurrency,
        ..GuardOptions::default()
    };
    let workers = Arc::new(Semaphore::new(WORKERS));
    let service = |guard: &Guard| {
        Shed::new(guard).layer(handler(move |_| {
            let workers = Arc::clone(&workers);
            async move {
                let held = black_box(vec![1_u8; REQUEST_BYTES]);
                let _worker = workers.acquire().await.unwrap();
                tokio::time::sleep(TAKES).await;
                Response::new(Full::new(Bytes::from(format!("{}\n", held.len()))))
            }
        }))
    };
    with_server(options, service, async |address, guard, scope| {
        let mut clients = connect_all(address, scope, 10 * WORKERS).await;
        memory.limit.store(memory.look() + ROOM, Ordering::SeqCst);
        let alone = load(&mut clients, WORKERS, TIME).await;
        memory.most.store(0, Ordering::SeqCst);
        let overloaded = watched(scope, &memory, load(&mut clients, 10 * WORKERS, 2 * TIME)).await;
        let most = memory.most.load(Ordering::SeqCst);
        let begun = Instant::now();
        support::eventually("it recovers", || guard.level() == Level::Normal).await;
        let limit = memory.limit.load(Ordering::SeqCst);
        let (peak, goodput) = (alone.per_second(), overloaded.per_second());
        println!(
            "{what}: alone {peak:.0}/s, p99 {:.0?}; overloaded {goodput:.0}/s, p99 {:.0?}, {} refused; \
             memory at most {} of {} MiB; normal after {:.0?}; {:?}",
            alone.p99(),
            overloaded.p99(),
            overloaded.refused.load(Ordering::SeqCst),
            most / MIB,
            limit / MIB,
            begun.elapsed(),
            guard.status().level_began,
        );
        assert!(most < limit, "{most} of {limit}");
        // Some 0.95 on a machine at rest: what the clients take of the processors is not ours.
        assert!(goodput >= 0.85 * peak, "{goodput} of {peak}");
        assert!(overloaded.p99() <= slower * alone.p99(), "{:?}", overloaded.p99());
        assert!(overloaded.refused.load(Ordering::SeqCst) > 5 * WORKERS, "there was an overload");
        let after = load(&mut clients, WORKERS, TIME / 2).await;
        assert_eq!(after.refused.load(Ordering::SeqCst), 0);
    })
    .await;
}

/// Runs `work` while memory is looked at every millisecond, on a thread of its own: not only when the
/// guard looks.
async fn watched<T>(scope: &Scope<BoxError>, memory: &Memory, work: impl Future<Output = T>) -> T {
    let is_over = Arc::new(AtomicBool::new(false));
    let (over, looked) = (Arc::clone(&is_over), memory.clone());
    let watching = scope.blocking(move |_| {
        while !over.load(Ordering::SeqCst) {
            looked.look();
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    });
    let done = work.await;
    is_over.store(true, Ordering::SeqCst);
    watching.join().await.unwrap();
    done
}
