//! Prepared statements are kept, not too many, and none that is of no use.

use std::convert::Infallible;

use staunch::{BoxError, Scope};
use staunch_harness::{PostgresServer, destroyed};
use staunch_pool::{Destroyed, PoolOptions, Postgres, PostgresSession};
use tokio_postgres::error::SqlState;

use crate::{single, with_pool};

/// The texts that are prepared in a session, by their names on the server.
async fn prepared(session: &PostgresSession) -> Vec<(String, String)> {
    let all = "SELECT name, statement FROM pg_prepared_statements ORDER BY prepare_time";
    let rows = session.query_typed(all, &[]).await.unwrap(); // which prepares none
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

#[staunch::test]
async fn one_is_prepared_once_in_a_session_also_after_a_reset() {
    let server = PostgresServer::start(&[]).unwrap();
    with_pool(&server.config(), single(), async |pool| {
        let mut before = Vec::new();
        for touches in [false, true, false] {
            let mut lease = pool.acquire().await.unwrap();
            let connection = lease.connection().unwrap();
            let row = connection.query_one_cached("SELECT $1 + 1", &[&1]).await.unwrap();
            assert_eq!(row.get::<_, i32>(0), 2);
            let found = prepared(&connection).await;
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(before.is_empty() || before == found, "{before:?} {found:?}");
            before = found;
            if touches {
                connection.batch_execute("SET application_name = 'mine'").await.unwrap();
            }
        }
        assert_eq!(pool.status().created, 1);
    })
    .await;
}

#[staunch::test]
async fn no_more_are_kept_than_wanted() {
    let server = PostgresServer::start(&[]).unwrap();
    let config: tokio_postgres::Config = server.config().parse().unwrap();
    let manager =
        |s: &Scope<BoxError>| Ok::<_, Infallible>(Postgres::new(s, config).statements_max(2));
    staunch_harness::with_pool(manager, PoolOptions::default(), async |pool, _| {
        let mut lease = pool.acquire().await.unwrap();
        let connection = lease.connection().unwrap();
        for text in ["SELECT 1", "SELECT 2", "SELECT 1", "SELECT 3"] {
            connection.query_one_cached(text, &[]).await.unwrap();
        }
        let found = prepared(&connection).await;
        let texts: Vec<&str> = found.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(texts, ["SELECT 1", "SELECT 3"], "the one not used for longest has gone");
    })
    .await;
}

#[staunch::test]
async fn one_whose_table_has_changed_is_prepared_again() {
    let server = PostgresServer::start(&[]).unwrap();
    with_pool(&server.config(), single(), async |pool| {
        let mut lease = pool.acquire().await.unwrap();
        let mut connection = lease.connection().unwrap();
        connection.execute("CREATE TABLE t (a int)", &[]).await.unwrap();
        connection.execute("INSERT INTO t VALUES (1)", &[]).await.unwrap();
        let select = "SELECT * FROM t";
        assert_eq!(connection.query_one_cached(select, &[]).await.unwrap().len(), 1);
        connection.execute("ALTER TABLE t ADD b int", &[]).await.unwrap();
        assert_eq!(connection.query_one_cached(select, &[]).await.unwrap().len(), 2);

        let statement = connection.prepare_cached(select).await.unwrap();
        connection.execute("ALTER TABLE t ADD c int", &[]).await.unwrap();
        let error = connection.query_one(&statement, &[]).await.unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::FEATURE_NOT_SUPPORTED), "{error}");
        let statement = connection.prepare_cached(select).await.unwrap();
        assert_eq!(connection.query_one(&statement, &[]).await.unwrap().len(), 3);

        connection.execute("ALTER TABLE t ADD d int", &[]).await.unwrap();
        let transaction = connection.transaction().await.unwrap();
        let error = transaction.query_one_cached(select, &[]).await.unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::FEATURE_NOT_SUPPORTED), "not: it was aborted");
        transaction.rollback().await.unwrap();
        let transaction = connection.transaction().await.unwrap();
        assert_eq!(transaction.query_one_cached(select, &[]).await.unwrap().len(), 4);
        transaction.commit().await.unwrap();
        drop(connection);
        drop(lease);
        drop(pool.acquire().await.unwrap());
        assert_eq!((pool.status().idle, pool.status().created), (1, 1));
    })
    .await;
}

#[staunch::test]
async fn after_one_was_missing_the_session_ends_with_its_lease() {
    let server = PostgresServer::start(&[]).unwrap();
    with_pool(&server.config(), single(), async |pool| {
        let mut lease = pool.acquire().await.unwrap();
        let connection = lease.connection().unwrap();
        connection.query_one_cached("SELECT 1", &[]).await.unwrap();
        connection.batch_execute("DEALLOCATE ALL").await.unwrap();
        connection.query_one_cached("SELECT 1", &[]).await.unwrap();
        drop(connection);
        drop(lease);
        let mut lease = pool.acquire().await.unwrap();
        lease.connection().unwrap().query_one_cached("SELECT 1", &[]).await.unwrap();
        assert_eq!(destroyed(&pool.status(), Destroyed::Broken), 1);
    })
    .await;
}
