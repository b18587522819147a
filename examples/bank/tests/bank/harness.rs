//! A bank for a test, on a free port, with a store of its own.

use std::net::SocketAddr;

use bank::{Bank, Database, Service, Settings};
use serde_json::{Value, json};
use staunch::{BoxError, Context, scope};
use staunch_harness::PostgresServer;

use crate::client::{Answer, Session};

/// Runs each test with both stores.
macro_rules! with_both_stores {
    ($($name:ident)*) => {
        mod sqlite {
            $(#[staunch::test]
            async fn $name() {
                crate::harness::with_sqlite(super::$name).await;
            })*
        }
        mod postgres {
            $(#[staunch::test]
            async fn $name() {
                crate::harness::with_postgres(super::$name).await;
            })*
        }
    };
}
pub(crate) use with_both_stores;

pub(crate) async fn with_sqlite(test: impl AsyncFnOnce(TestBank)) {
    let folder = tempfile::tempdir().unwrap();
    with_bank(settings(Database::Sqlite(folder.path().join("bank.sqlite"))), test).await;
}

pub(crate) async fn with_postgres(test: impl AsyncFnOnce(TestBank)) {
    let server = PostgresServer::start(&[]).unwrap();
    with_bank(settings(postgres(&server)), test).await;
}

pub(crate) fn postgres(server: &PostgresServer) -> Database {
    Database::Postgres(Box::new(server.config().parse().unwrap()))
}

pub(crate) fn settings(database: Database) -> Settings {
    Settings::new(([127, 0, 0, 1], 0).into(), database)
}

/// Serves a bank while `test` runs, then drains it: nobody has to be cut or forced.
pub(crate) async fn with_bank(settings: Settings, test: impl AsyncFnOnce(TestBank)) {
    let ended = scope(&Context::current(), |s| async move {
        let service = Service::start(&s, &settings).await?;
        let bank = TestBank { address: service.address(), bank: service.bank().clone() };
        let (context, stop) = s.context().with_cancel();
        let serving = s.fork(async move { Ok(service.serve(&context).await) });
        test(bank).await;
        stop.cancel();
        let served = serving.join().await?;
        assert!(served.cut.is_empty(), "{:?}", served.cut);
        s.stop();
        Ok::<_, BoxError>(())
    });
    if let Err(error) = ended.await {
        panic!("{}", error.resume_panic());
    }
}

/// A bank that is served.
#[derive(Clone)]
pub(crate) struct TestBank {
    pub(crate) address: SocketAddr,
    pub(crate) bank: Bank,
}

impl TestBank {
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &[], &body.to_string()).await
    }

    /// One request on a connection of its own.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut session = Session::connect(self.address).await.unwrap();
        session.send(method, path, headers, body).await.unwrap()
    }

    /// Opens an account, by version 1, and returns its number.
    pub(crate) async fn open(&self, balance: &str) -> i64 {
        let answer = self.post("/v1/accounts", &json!({ "balance": balance })).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        answer.json()["id"].as_i64().unwrap()
    }

    /// What is on an account, by version 1.
    pub(crate) async fn balance(&self, account: i64) -> String {
        let answer = self.get(&format!("/v1/accounts/{account}")).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()["balance"].as_str().unwrap().to_owned()
    }

    /// Sends a transfer, by version 2.
    pub(crate) async fn transfer(&self, key: &str, from: i64, to: i64, amount: &str) -> Answer {
        let body = transfer(from, to, amount);
        self.send("POST", "/v2/transfers", &[("Idempotency-Key", key)], &body).await
    }
}

/// The body of a transfer of version 2.
pub(crate) fn transfer(from: i64, to: i64, amount: &str) -> String {
    let amount = json!({ "amount": amount, "currency": "EUR" });
    json!({ "from": from, "to": to, "amount": amount }).to_string()
}
