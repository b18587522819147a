//! Acquire and release on a pool of trivial connections, by several tasks on two workers.
//!
//! One subject a process. At the end one line of JSON goes to standard output: `ns` is the wall
//! time an operation, `cpu_ns` the CPU time, and with `--waits`, which times each acquire and so
//! costs a clock reading, `worst_wait_us`.

use std::{
    convert::Infallible,
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::{Parser, ValueEnum};
use staunch_bench::{cpu, tasks};
use staunch_scope::{BoxError, Context, scope};

const CONNECTIONS: u32 = 10;

#[derive(Parser)]
struct Args {
    subject: Subject,
    /// Tasks that acquire and release.
    #[arg(long, default_value_t = 1)]
    tasks: u64,
    /// Operations of all tasks together.
    #[arg(long, default_value_t = 1_000_000)]
    operations: u64,
    /// Yield once while the connection is held.
    #[arg(long)]
    hold: bool,
    /// Time each acquire.
    #[arg(long)]
    waits: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Subject {
    Staunch,
    Deadpool,
    Bb8,
    Mobc,
    /// No pool at all: what the tasks and their yields cost whoever pools.
    Nothing,
}

fn main() -> anyhow::Result<()> {
    let args = Arc::new(Args::parse());
    tasks::on_two_workers(async {
        match args.subject {
            Subject::Staunch => staunch(args).await,
            Subject::Deadpool => deadpool(args).await,
            Subject::Bb8 => bb8(args).await,
            Subject::Mobc => mobc(args).await,
            Subject::Nothing => nothing(args).await,
        }
    })
}

/// Runs `work` on each task, and prints what an operation of it cost.
async fn measure<F, Fut>(args: Arc<Args>, work: F) -> Result<(), BoxError>
where
    F: Fn(u64) -> Fut + Send + 'static,
    Fut: Future<Output = Result<Duration, BoxError>> + Send + 'static,
{
    work(1).await?; // the first connection is made
    let each = args.operations / args.tasks;
    let (cpu, begun) = (cpu::time(), Instant::now());
    let worst = tasks::side_by_side(args.tasks, each, work).await?.into_iter().max();
    let operations = (each * args.tasks) as f64;
    let (wall, cpu) = (begun.elapsed(), cpu::time().saturating_sub(cpu));
    let summary = serde_json::json!({
        "ns": wall.as_secs_f64() * 1e9 / operations,
        "cpu_ns": cpu.as_secs_f64() * 1e9 / operations,
        "worst_wait_us": worst.unwrap_or_default().as_secs_f64() * 1e6,
    });
    println!("{summary}");
    Ok(())
}

/// The work of a task: acquire, use, hold and release, again and again; the longest acquire, if
/// that is wanted.
macro_rules! work {
    ($args:expr, $pool:expr, $acquire:ident, $connection:ident => $use:expr) => {{
        let (pool, hold, waits) = ($pool, $args.hold, $args.waits);
        move |operations: u64| {
            let pool = pool.clone();
            async move {
                let mut worst = Duration::ZERO;
                for _ in 0..operations {
                    let begun = waits.then(Instant::now);
                    let mut $connection = pool.$acquire().await?;
                    worst = worst.max(begun.map_or(Duration::ZERO, |begun| begun.elapsed()));
                    $use;
                    if hold {
                        tokio::task::yield_now().await;
                    }
                }
                Ok::<_, BoxError>(worst)
            }
        }
    }};
}

struct Trivial;

impl staunch_pool::Manager for Trivial {
    type Connection = u64;
    type Error = Infallible;

    async fn connect(&self) -> Result<u64, Infallible> {
        Ok(0)
    }
}

async fn staunch(args: Arc<Args>) -> Result<(), BoxError> {
    use staunch_pool::{Pool, PoolOptions};
    let measured = scope(&Context::background(), |s| async move {
        let most = CONNECTIONS as usize;
        let options = PoolOptions { max_total: most, max_idle: most, ..PoolOptions::default() };
        let pool = Pool::new(&s, Trivial, options)?;
        let work = work!(args, pool, acquire, lease => *lease.connection()? += 1);
        measure(args, work).await?;
        s.stop();
        Ok::<_, BoxError>(())
    });
    Ok(measured.await?)
}

impl deadpool::managed::Manager for Trivial {
    type Type = u64;
    type Error = Infallible;

    async fn create(&self) -> Result<u64, Infallible> {
        Ok(0)
    }

    async fn recycle(
        &self,
        _: &mut u64,
        _: &deadpool::managed::Metrics,
    ) -> deadpool::managed::RecycleResult<Infallible> {
        Ok(())
    }
}

async fn deadpool(args: Arc<Args>) -> Result<(), BoxError> {
    let pool = deadpool::managed::Pool::<Trivial>::builder(Trivial)
        .max_size(CONNECTIONS as usize)
        .build()?;
    let work = work!(args, pool, get, object => *object += 1);
    measure(args, work).await
}

impl bb8::ManageConnection for Trivial {
    type Connection = u64;
    type Error = Infallible;

    async fn connect(&self) -> Result<u64, Infallible> {
        Ok(0)
    }

    async fn is_valid(&self, _: &mut u64) -> Result<(), Infallible> {
        Ok(())
    }

    fn has_broken(&self, _: &mut u64) -> bool {
        false
    }
}

async fn bb8(args: Arc<Args>) -> Result<(), BoxError> {
    let pool =
        bb8::Pool::builder().max_size(CONNECTIONS).test_on_check_out(false).build(Trivial).await?;
    let work = work!(args, pool, get, guard => *guard += 1);
    measure(args, work).await
}

#[mobc::async_trait]
impl mobc::Manager for Trivial {
    type Connection = u64;
    type Error = Infallible;

    async fn connect(&self) -> Result<u64, Infallible> {
        Ok(0)
    }

    async fn check(&self, connection: u64) -> Result<u64, Infallible> {
        Ok(connection)
    }
}

async fn mobc(args: Arc<Args>) -> Result<(), BoxError> {
    let pool = mobc::Pool::builder()
        .max_open(u64::from(CONNECTIONS))
        .max_idle(u64::from(CONNECTIONS))
        .test_on_check_out(false)
        .build(Trivial);
    let work = work!(args, pool, get, connection => *connection += 1);
    measure(args, work).await
}

/// What is "leased" when there is no pool.
#[derive(Clone)]
struct Nothing(u64);

impl Nothing {
    fn get(&self) -> std::future::Ready<Result<u64, Infallible>> {
        std::future::ready(Ok(self.0))
    }
}

async fn nothing(args: Arc<Args>) -> Result<(), BoxError> {
    let work = work!(args, Nothing(0), get, number => {
        number += 1;
        std::hint::black_box(number);
    });
    measure(args, work).await
}
