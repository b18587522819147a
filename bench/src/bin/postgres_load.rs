//! `SELECT 1` on a pool of PostgreSQL connections, by several tasks on two workers.
//!
//! One subject a process. Each leases, asks with the prepared statement of its connection, and gives
//! back; none asks whether a connection is alive before it leases it. At the end one line of JSON
//! goes to standard output: `per_second` is requests, `cpu_us` the process's CPU time for each, and
//! `p99_us` the time that 99 of 100 take at most.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use clap::{Parser, ValueEnum};
use staunch_bench::{cpu, latency::Latencies, tasks};
use staunch_scope::{BoxError, Context, scope};
use tokio_postgres::{Client, Config, NoTls, Statement};

const CONNECTIONS: u32 = 10;

/// Requests of each task before those that are measured: connections and statements are made then.
const WARM_UP: u64 = 50;

const QUERY: &str = "SELECT 1";

#[derive(Parser)]
struct Args {
    subject: Subject,
    /// How to connect, as libpq takes it.
    #[arg(long)]
    config: Config,
    /// Tasks that ask.
    #[arg(long, default_value_t = 8)]
    tasks: u64,
    /// Requests of all tasks together.
    #[arg(long, default_value_t = 40_000)]
    requests: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum Subject {
    Staunch,
    Deadpool,
    Bb8,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    tasks::on_two_workers(async {
        match args.subject {
            Subject::Staunch => staunch(args).await,
            Subject::Deadpool => deadpool(args).await,
            Subject::Bb8 => bb8(args).await,
        }
    })
}

/// Runs `work` on each task, and prints what a request of it cost.
async fn measure<F, Fut>(tasks: u64, requests: u64, work: F) -> Result<(), BoxError>
where
    F: Fn(u64) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<Latencies, BoxError>> + Send + 'static,
{
    tasks::side_by_side(tasks, WARM_UP, work.clone()).await?;
    let (cpu, begun) = (cpu::time(), Instant::now());
    let of_each = tasks::side_by_side(tasks, requests / tasks, work).await?;
    let (wall, cpu) = (begun.elapsed(), cpu::time().saturating_sub(cpu));
    let mut latencies = Latencies::with_capacity(0);
    for of_one in of_each {
        latencies.append(of_one);
    }
    let count = latencies.count() as f64;
    let summary = serde_json::json!({
        "per_second": count / wall.as_secs_f64(),
        "cpu_us": cpu.as_secs_f64() * 1e6 / count,
        "p99_us": latencies.sorted().micros_at(0.99),
    });
    println!("{summary}");
    Ok(())
}

/// The work of a task: lease, ask and give back, again and again.
macro_rules! work {
    ($pool:expr, $leasing:ident => $row:expr) => {{
        let pool = $pool;
        move |requests: u64| {
            let pool = pool.clone();
            async move {
                let mut latencies = Latencies::with_capacity(requests as usize);
                for _ in 0..requests {
                    let begun = Instant::now();
                    let row = {
                        let $leasing = pool.get().await?;
                        $row
                    };
                    latencies.record(begun.elapsed());
                    assert_eq!(row.try_get::<_, i32>(0)?, 1);
                }
                Ok::<_, BoxError>(latencies)
            }
        }
    }};
}

async fn staunch(args: Args) -> Result<(), BoxError> {
    use staunch_pool::{Pool, PoolOptions, Postgres};
    let measured = scope(&Context::background(), |s| async move {
        let most = CONNECTIONS as usize;
        let options = PoolOptions { max_total: most, max_idle: most, ..PoolOptions::default() };
        let pool = Pool::new(&s, Postgres::new(&s, args.config), options)?;
        let work = work!(pool, lease => {
            let mut lease = lease;
            let connection = lease.connection()?;
            connection.query_one_cached(QUERY, &[]).await?
        });
        measure(args.tasks, args.requests, work).await?;
        s.stop();
        Ok::<_, BoxError>(())
    });
    Ok(measured.await?)
}

async fn deadpool(args: Args) -> Result<(), BoxError> {
    use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod};
    let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let manager = Manager::from_config(args.config, NoTls, recycling);
    let pool = Pool::builder(manager).max_size(CONNECTIONS as usize).build()?;
    let work = work!(pool, client => {
        let statement = client.prepare_cached(QUERY).await?;
        client.query_one(&statement, &[]).await?
    });
    measure(args.tasks, args.requests, work).await
}

/// bb8-postgres keeps no statements, so each connection is made with its own.
struct Prepared(bb8_postgres::PostgresConnectionManager<NoTls>);

impl bb8::ManageConnection for Prepared {
    type Connection = (Client, Statement);
    type Error = tokio_postgres::Error;

    async fn connect(&self) -> Result<Self::Connection, Self::Error> {
        let client = self.0.connect().await?;
        let statement = client.prepare(QUERY).await?;
        Ok((client, statement))
    }

    async fn is_valid(&self, connection: &mut Self::Connection) -> Result<(), Self::Error> {
        self.0.is_valid(&mut connection.0).await
    }

    fn has_broken(&self, connection: &mut Self::Connection) -> bool {
        self.0.has_broken(&mut connection.0)
    }
}

async fn bb8(args: Args) -> Result<(), BoxError> {
    let manager = Prepared(bb8_postgres::PostgresConnectionManager::new(args.config, NoTls));
    let patience = Duration::from_secs(30);
    let pool = bb8::Pool::builder()
        .max_size(CONNECTIONS)
        .test_on_check_out(false)
        .connection_timeout(patience)
        .build(manager)
        .await?;
    let work = work!(pool, leased => {
        let (client, statement) = &*leased;
        client.query_one(statement, &[]).await?
    });
    measure(args.tasks, args.requests, work).await
}
