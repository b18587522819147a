//! Money is neither made nor lost, whatever happens to requests and sessions.
//!
//! Workers send transfers at random and drop some of them on their way; each is then sent again
//! with its key until an answer comes. So at the end it is known which transfers there must be.
//! `BANK_TRANSFERS` says how many; 100 000 of them are for a release build.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use serde_json::Value;
use staunch::{BoxError, Context, Scope, scope};
use staunch_harness::{PostgresServer, eventually};
use staunch_pool::{Pool, PoolOptions, Postgres};

use crate::{
    client::{Answer, Session},
    harness::{TestBank, postgres, settings, transfer, with_bank, with_sqlite},
};

const ACCOUNTS: u64 = 20;
const WORKERS: u64 = 16;

fn transfers() -> u64 {
    std::env::var("BANK_TRANSFERS").map_or(2000, |text| text.parse().unwrap())
}

#[staunch::test(flavor = "multi_thread")]
async fn money_is_conserved_in_sqlite() {
    with_sqlite(async |bank: TestBank| {
        open(&bank).await;
        let booked = work(&bank).await;
        check(&bank, &booked).await;
    })
    .await;
}

#[staunch::test(flavor = "multi_thread")]
async fn money_is_conserved_in_postgres_while_sessions_are_killed() {
    let server = PostgresServer::start(&["deadlock_timeout=10ms"]).unwrap();
    let config: tokio_postgres::Config = server.config().parse().unwrap();
    let test = async |bank: TestBank| {
        open(&bank).await;
        let ended = scope(&Context::current(), |s| work_while_killing(s, bank, config));
        if let Err(error) = ended.await {
            panic!("{}", error.resume_panic());
        }
    };
    Box::pin(with_bank(settings(postgres(&server)), test)).await;
}

async fn work_while_killing(
    s: Scope<BoxError>,
    bank: TestBank,
    config: tokio_postgres::Config,
) -> Result<(), BoxError> {
    let admin = Pool::new(&s, Postgres::new(&s, config), PoolOptions::default())?;
    let killer = admin.clone();
    let (context, stop) = s.context().with_cancel();
    let killed = s.fork(async move { kill(&killer, &context).await });
    let booked = work(&bank).await;
    stop.cancel();
    let killed = killed.join().await?;
    assert!(killed > 10, "only {killed} sessions were killed");
    check(&bank, &booked).await;
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = 'postgres'";
    assert_eq!(ask(&admin, deadlocks).await?, 0, "deadlocks");
    s.stop();
    Ok(())
}

async fn open(bank: &TestBank) {
    for _ in 0..ACCOUNTS {
        bank.open("1000.00").await;
    }
}

/// Ends sessions of the bank at random, until it is told to stop; how many.
async fn kill(admin: &Pool<Postgres>, context: &Context) -> Result<i64, BoxError> {
    let mut killed = 0;
    while context.run(tokio::time::sleep(Duration::from_millis(20))).await.is_ok() {
        let one = "SELECT count(pg_terminate_backend(pid)) FROM (\
                   SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' \
                   AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1) AS chosen";
        killed += ask(admin, one).await?;
    }
    Ok(killed)
}

async fn ask(admin: &Pool<Postgres>, question: &str) -> Result<i64, BoxError> {
    let mut lease = admin.acquire().await?;
    let connection = lease.connection()?;
    Ok(connection.query_one(question, &[]).await?.try_get(0)?)
}

/// Sends all transfers; the numbers of those that were booked.
async fn work(bank: &TestBank) -> HashSet<i64> {
    let ended = scope(&Context::current(), |s| {
        let bank = bank.clone();
        async move {
            let worker = |number| {
                let bank = bank.clone();
                s.fork(async move { Ok::<_, BoxError>(Worker::new(bank, number).work().await) })
            };
            let mut booked = HashSet::new();
            for worker in (0..WORKERS).map(worker).collect::<Vec<_>>() {
                for id in worker.join().await? {
                    assert!(booked.insert(id), "transfer {id} was booked twice");
                }
            }
            Ok(booked)
        }
    });
    ended.await.unwrap_or_else(|error| panic!("{}", error.resume_panic()))
}

struct Worker {
    bank: TestBank,
    number: u64,
    random: u64,
    session: Option<Session>,
}

impl Worker {
    fn new(bank: TestBank, number: u64) -> Worker {
        Worker { bank, number, random: number + 1, session: None }
    }

    async fn work(&mut self) -> Vec<i64> {
        let mut booked = Vec::new();
        for turn in 0..transfers() / WORKERS {
            let from = 1 + self.random(ACCOUNTS);
            let to = 1 + (from + self.random(ACCOUNTS - 1)) % ACCOUNTS;
            let cents = 1 + self.random(60_000);
            let amount = format!("{}.{:02}", cents / 100, cents % 100);
            let body = transfer(from.cast_signed(), to.cast_signed(), &amount);
            let answer = self.insist(&format!("{}-{turn}", self.number), &body).await;
            match answer.status {
                201 => booked.push(answer.json()["id"].as_i64().unwrap()),
                409 => answer.is_problem(409, "overdraft"),
                status => panic!("{status}: {}", answer.body),
            }
        }
        booked
    }

    /// Sends a transfer, again and again, until there is an answer.
    async fn insist(&mut self, key: &str, body: &str) -> Answer {
        loop {
            let patience = match self.random(6) {
                0 => Duration::from_micros(self.random(8000)),
                _ => Duration::from_secs(30),
            };
            match tokio::time::timeout(patience, self.attempt(key, body)).await {
                Ok(Ok(answer)) if answer.status == 503 => {
                    tokio::time::sleep(Duration::from_millis(2)).await; // as Retry-After asks, if sooner
                }
                Ok(Ok(answer)) => return answer,
                Ok(Err(error)) => panic!("{error}"),
                Err(_dropped_on_its_way) => {}
            }
        }
    }

    async fn attempt(&mut self, key: &str, body: &str) -> std::io::Result<Answer> {
        let mut session = match self.session.take() {
            Some(session) => session,
            None => Session::connect(self.bank.address).await?,
        };
        let headers = [("Idempotency-Key", key)];
        let answer = session.send("POST", "/v2/transfers", &headers, body).await?;
        self.session = Some(session);
        Ok(answer)
    }

    /// A number below `bound` (xorshift).
    fn random(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % bound
    }
}

/// The sum is what it was, each entry is there once, and the pools have everything back.
async fn check(bank: &TestBank, booked: &HashSet<i64>) {
    eventually("all leases are back", async || {
        bank.bank.pools().iter().all(|pool| pool.leased == 0 && pool.waiters == 0)
    })
    .await;
    let mut sum = 0;
    let mut sides: HashMap<i64, i64> = HashMap::new();
    for account in 1..=ACCOUNTS {
        let entries = statement(bank, account).await;
        let total: i64 = entries.iter().map(|entry| cents(&entry["amount"])).sum();
        let last = entries.last().map_or(0, |entry| cents(&entry["balance"]));
        assert_eq!(total, last, "the entries of account {account} are its balance");
        sum += total;
        for transfer in entries.iter().filter_map(|entry| entry.get("transfer")) {
            *sides.entry(transfer.as_i64().unwrap()).or_default() += 1;
        }
    }
    assert_eq!(sum, ACCOUNTS.cast_signed() * 100_000, "the sum is what it was");
    assert!(sides.values().all(|sides| *sides == 2), "each transfer has two entries");
    assert_eq!(&sides.into_keys().collect::<HashSet<_>>(), booked, "no other was booked");
}

/// The entries of an account. A session that was killed while it was idle is noticed by whoever
/// uses it next, who is told to try again.
async fn statement(bank: &TestBank, account: u64) -> Vec<Value> {
    const TRIES: u32 = 100; // more than there are sessions to be found dead
    for _ in 0..TRIES {
        let export = bank.get(&format!("/v1/accounts/{account}/statement")).await;
        if export.status == 503 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        }
        assert_eq!(export.status, 200, "{}", export.body);
        return export.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    }
    panic!("account {account} cannot be asked for");
}

fn cents(amount: &Value) -> i64 {
    amount.as_str().unwrap().parse::<bank::Money>().unwrap().cents()
}
