//! The pool of plain TCP connections, against a server that echoes lines, late or with more than it
//! was asked for.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may fail as tests do")]

use std::{
    convert::Infallible,
    io::{BufRead, BufReader, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    thread::{self, Builder, JoinHandle},
    time::Duration,
};

use staunch::{BoxError, Scope, timeout};
use staunch_harness::destroyed;
use staunch_net::{DialOptions, Dialer};
use staunch_pool::{Destroyed, InUse, Pool, PoolOptions, Tcp};
use tokio::io::{self, AsyncReadExt};

/// Answers each line with itself; `late` after 300 ms, and `twice` with two lines. One client after
/// the other, until one says `end`.
struct Echo {
    address: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    fn start() -> Echo {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let serve = move || while serve(&listener.accept().unwrap().0) {};
        Echo { address, thread: Some(Builder::new().spawn(serve).unwrap()) }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.write_all(b"end\n").unwrap();
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Serves one client. Whether there will be more.
fn serve(mut stream: &TcpStream) -> bool {
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        match line.as_str() {
            "end" => return false,
            "late" => thread::sleep(Duration::from_millis(300)),
            _ => {}
        }
        let times = if line == "twice" { 2 } else { 1 };
        if stream.write_all(format!("{line}\n").repeat(times).as_bytes()).is_err() {
            break; // the client has gone
        }
    }
    true
}

/// Runs `test` on a pool of one connection; then no socket is left.
async fn with_pool(test: impl AsyncFnOnce(Pool<Tcp>)) {
    let server = Echo::start();
    let address = server.address.to_string();
    let manager = |_: &Scope<BoxError>| {
        Ok::<_, Infallible>(Tcp::new(Dialer::unwatched(DialOptions::default()), address))
    };
    let options = PoolOptions { max_total: 1, ..PoolOptions::default() };
    staunch_harness::with_pool(manager, options, async |pool, _| test(pool).await).await;
}

async fn ask(connection: &mut InUse<'_, Tcp>, line: &str) -> String {
    connection.write_all([line.as_bytes(), b"\n"]).await.unwrap();
    let mut lines = connection.lines();
    let answer = lines.next().await.unwrap().unwrap();
    String::from_utf8(answer.to_vec()).unwrap()
}

fn broken(pool: &Pool<Tcp>) -> u64 {
    destroyed(&pool.status(), Destroyed::Broken)
}

#[staunch::test]
async fn an_answer_that_nobody_read_is_not_that_of_the_next() {
    with_pool(async |pool| {
        let mut lease = pool.acquire().await.unwrap();
        let mut connection = lease.connection().unwrap();
        let asked = timeout(Duration::from_millis(50), ask(&mut connection, "late")).await;
        assert!(asked.is_err(), "cancelled before a byte of the answer came");
        drop(connection);
        drop(lease);
        let mut lease = pool.acquire().await.unwrap();
        let mut connection = lease.connection().unwrap();
        assert_eq!(ask(&mut connection, "mine").await, "mine");
        drop(connection);
        assert_eq!(broken(&pool), 1);
    })
    .await;
}

#[staunch::test]
async fn a_connection_is_used_again_whose_exchange_is_said_to_be_complete() {
    with_pool(async |pool| {
        for turn in 0..10 {
            let mut lease = pool.acquire().await.unwrap();
            let mut connection = lease.connection().unwrap();
            let line = turn.to_string();
            assert_eq!(ask(&mut connection, &line).await, line);
            drop(connection);
            lease.connection().unwrap().exchange_complete();
        }
        drop(pool.acquire().await.unwrap()); // not used at all
        assert_eq!((pool.status().created, pool.status().idle), (1, 1));
    })
    .await;
}

#[staunch::test]
async fn every_way_to_use_it_begins_an_exchange() {
    with_pool(async |pool| {
        for (number, way) in (0..).zip(["write", "write_all", "read", "lines"]) {
            let mut lease = pool.acquire().await.unwrap();
            let mut connection = lease.connection().unwrap();
            connection.exchange_complete();
            match way {
                "write" => io::AsyncWriteExt::write_all(&mut *connection, b"late\n").await.unwrap(),
                "write_all" => connection.write_all([b"late\n"]).await.unwrap(),
                "read" => {
                    let mut byte = [0];
                    let read = timeout(Duration::from_millis(10), connection.read(&mut byte));
                    assert!(read.await.is_err());
                }
                _ => drop(connection.lines()),
            }
            assert_eq!(broken(&pool), number);
            drop(connection);
            drop(lease);
            assert_eq!(broken(&pool), number + 1);
        }
    })
    .await;
}

#[staunch::test]
async fn one_with_bytes_unread_ends_whatever_was_said() {
    with_pool(async |pool| {
        let mut lease = pool.acquire().await.unwrap();
        let mut connection = lease.connection().unwrap();
        connection.write_all([b"twice\n"]).await.unwrap();
        let mut answer = [0; 6];
        connection.read_exact(&mut answer).await.unwrap();
        drop(connection);
        lease.connection().unwrap().exchange_complete();
        drop(lease);
        assert_eq!(broken(&pool), 1);
    })
    .await;
}
