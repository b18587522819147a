//! Transactions end, and leave nothing.

use std::{mem::ManuallyDrop, time::Duration};

use staunch::timeout;
use staunch_harness::{PostgresServer, poll_times};
use staunch_pool::{Pool, Postgres};
use tokio_postgres::{IsolationLevel, error::SqlState};

use crate::{backend, single, with_pool};

#[staunch::test]
async fn a_transaction_dropped_in_the_middle_of_a_query_is_rolled_back() {
    let server = PostgresServer::start(&[]).unwrap();
    with_pool(&server.config(), single(), async |pool| {
        let mut lease = pool.acquire().await.unwrap();
        let mut connection = lease.connection().unwrap();
        connection.batch_execute("CREATE TABLE t (n int)").await.unwrap();
        let transaction = connection.transaction().await.unwrap();
        transaction.execute("INSERT INTO t VALUES (1)", &[]).await.unwrap();
        let sleeping = transaction.query("SELECT pg_sleep(600)", &[]);
        assert!(timeout(Duration::from_millis(200), sleeping).await.is_err());
        drop(transaction);
        drop(connection);
        drop(lease);
        let mut lease = pool.acquire().await.unwrap();
        let connection = lease.connection().unwrap();
        let row = connection.query_one("SELECT count(*) FROM t", &[]).await.unwrap();
        assert_eq!(row.get::<_, i64>(0), 0);
    })
    .await;
}

#[staunch::test]
async fn one_that_has_ended_leaves_the_session_clean() {
    let server = PostgresServer::start(&[]).unwrap();
    with_pool(&server.config(), single(), async |pool| {
        let mut lease = pool.acquire().await.unwrap();
        let create = "CREATE TABLE t (n int)";
        lease.connection().unwrap().execute(create, &[]).await.unwrap();
        drop(lease);
        for (commits, expected) in [(true, 1), (false, 1), (true, 2)] {
            let mut lease = pool.acquire().await.unwrap();
            let mut connection = lease.connection().unwrap();
            let transaction = connection.transaction().await.unwrap();
            transaction.execute_cached("INSERT INTO t VALUES (1)", &[]).await.unwrap();
            if commits {
                transaction.commit().await.unwrap();
            } else {
                transaction.rollback().await.unwrap();
            }
            drop(connection);
            drop(lease);
            assert_eq!(pool.status().idle, 1, "it needs no reset, so it is back at once");
            assert_eq!(rows(&pool).await, expected);
        }
    })
    .await;
}

#[staunch::test]
async fn one_that_is_dropped_is_over_for_its_own_lease_and_for_the_next() {
    let server = PostgresServer::start(&[]).unwrap();
    with_pool(&server.config(), single(), async |pool| {
        let first = backend(&pool).await;
        let mut lease = pool.acquire().await.unwrap();
        let mut connection = lease.connection().unwrap();
        connection.execute("CREATE TABLE t (n int)", &[]).await.unwrap();
        let transaction = connection.transaction().await.unwrap();
        transaction.execute("INSERT INTO t VALUES (1)", &[]).await.unwrap();
        drop(transaction);
        connection.execute("INSERT INTO t VALUES (2)", &[]).await.unwrap();
        drop(connection);
        drop(lease);
        assert_eq!(pool.status().idle, 0, "it is reset first");
        assert_eq!((rows(&pool).await, backend(&pool).await), (1, first));
    })
    .await;
}

/// No destructor tells of it.
#[staunch::test]
async fn one_that_is_forgotten_is_rolled_back_before_the_next_lease() {
    let server = PostgresServer::start(&[]).unwrap();
    with_pool(&server.config(), single(), async |pool| {
        let mut lease = pool.acquire().await.unwrap();
        let create = "CREATE TABLE t (n int)";
        lease.connection().unwrap().execute(create, &[]).await.unwrap();
        drop(lease);
        let mut lease = pool.acquire().await.unwrap();
        let mut connection = lease.connection().unwrap();
        let transaction = connection.transaction().await.unwrap();
        transaction.execute_cached("INSERT INTO t VALUES (1)", &[]).await.unwrap();
        let _forgotten = ManuallyDrop::new(transaction); // as `mem::forget` does
        drop(connection);
        drop(lease);
        assert_eq!(pool.status().idle, 0, "it is reset first");
        assert_eq!((rows(&pool).await, pool.status().created), (0, 1));
    })
    .await;
}

#[staunch::test]
async fn a_session_that_was_touched_before_is_reset_after_it() {
    let server = PostgresServer::start(&[]).unwrap();
    with_pool(&server.config(), single(), async |pool| {
        let mut lease = pool.acquire().await.unwrap();
        let mut connection = lease.connection().unwrap();
        connection.batch_execute("SET application_name = 'mine'").await.unwrap();
        connection.transaction().await.unwrap().commit().await.unwrap();
        drop(connection);
        drop(lease);
        let mut lease = pool.acquire().await.unwrap();
        let connection = lease.connection().unwrap();
        let row = connection.query_one("SHOW application_name", &[]).await.unwrap();
        assert_eq!(row.get::<_, String>(0), "");
    })
    .await;
}

#[staunch::test]
async fn one_whose_begin_is_dropped_has_not_begun() {
    let server = PostgresServer::start(&[]).unwrap();
    with_pool(&server.config(), single(), async |pool| {
        let mut lease = pool.acquire().await.unwrap();
        let mut connection = lease.connection().unwrap();
        connection.execute("CREATE TABLE t (n int)", &[]).await.unwrap();
        let begun = poll_times(1, connection.transaction()).await;
        assert!(begun.is_none(), "it is sent, and not answered");
        drop(begun);
        connection.execute("INSERT INTO t VALUES (1)", &[]).await.unwrap();
        drop(connection);
        drop(lease);
        assert_eq!(rows(&pool).await, 1);
    })
    .await;
}

#[staunch::test]
async fn a_part_can_be_undone_by_itself() {
    let server = PostgresServer::start(&[]).unwrap();
    with_pool(&server.config(), single(), async |pool| {
        let mut lease = pool.acquire().await.unwrap();
        let create = "CREATE TABLE t (n int)";
        lease.connection().unwrap().execute(create, &[]).await.unwrap();
        drop(lease);
        let mut lease = pool.acquire().await.unwrap();
        let mut connection = lease.connection().unwrap();
        let insert = "INSERT INTO t VALUES (1)";
        let mut whole = connection.transaction().await.unwrap();
        let mut kept = whole.savepoint("a \"quoted\" name").await.unwrap();
        kept.execute_cached(insert, &[]).await.unwrap();
        let undone = kept.transaction().await.unwrap();
        undone.execute_cached(insert, &[]).await.unwrap();
        assert!(undone.execute_cached("SELECT 1 / 0", &[]).await.is_err());
        undone.rollback().await.unwrap();
        let dropped = kept.transaction().await.unwrap();
        dropped.execute_cached(insert, &[]).await.unwrap();
        drop(dropped);
        kept.commit().await.unwrap();
        whole.commit().await.unwrap();
        drop(connection);
        drop(lease);
        assert_eq!(pool.status().idle, 1, "it is clean");
        assert_eq!(rows(&pool).await, 1);
    })
    .await;
}

#[staunch::test]
async fn one_begins_as_it_is_asked_to() {
    let server = PostgresServer::start(&[]).unwrap();
    with_pool(&server.config(), single(), async |pool| {
        let mut lease = pool.acquire().await.unwrap();
        let mut connection = lease.connection().unwrap();
        let builder = connection.build_transaction().isolation_level(IsolationLevel::Serializable);
        let transaction = builder.read_only(true).deferrable(true).start().await.unwrap();
        let modes = "SELECT current_setting('transaction_isolation'), \
                     current_setting('transaction_read_only'), \
                     current_setting('transaction_deferrable')";
        let row = transaction.query_one(modes, &[]).await.unwrap();
        let found: [String; 3] = [row.get(0), row.get(1), row.get(2)];
        assert_eq!(found, ["serializable", "on", "on"]);
        transaction.commit().await.unwrap();
    })
    .await;
}

/// What a commit says that cannot be kept.
#[staunch::test]
async fn one_that_cannot_be_committed_is_rolled_back() {
    let server = PostgresServer::start(&[]).unwrap();
    with_pool(&server.config(), single(), async |pool| {
        let mut lease = pool.acquire().await.unwrap();
        let mut connection = lease.connection().unwrap();
        let create = "CREATE TABLE t (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)";
        connection.execute(create, &[]).await.unwrap();
        let transaction = connection.transaction().await.unwrap();
        transaction.execute("INSERT INTO t VALUES (1), (1)", &[]).await.unwrap();
        let error = transaction.commit().await.unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::UNIQUE_VIOLATION), "{error}");
        drop(connection);
        drop(lease);
        assert_eq!(rows(&pool).await, 0);
    })
    .await;
}

/// How many rows others see.
async fn rows(pool: &Pool<Postgres>) -> i64 {
    let mut lease = pool.acquire().await.unwrap();
    let connection = lease.connection().unwrap();
    connection.query_one("SELECT count(*) FROM t", &[]).await.unwrap().get(0)
}
