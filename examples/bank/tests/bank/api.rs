//! Versions, problems, limits, probes.

use std::time::Duration;

use bank::Database;
use serde_json::{Value, json};

use crate::{
    client::Session,
    harness::{TestBank, settings, with_bank, with_sqlite},
};

#[staunch::test]
async fn version_1_says_that_it_is_deprecated_and_version_2_does_not() {
    with_sqlite(async |bank: TestBank| {
        let account = bank.open("1.00").await;
        for path in [format!("/v1/accounts/{account}"), "/v1/accounts/77".to_owned()] {
            let old = bank.get(&path).await;
            assert_eq!(old.header("deprecation"), Some("@1793491200"), "RFC 9745");
            assert_eq!(old.header("sunset"), Some("Tue, 01 Jun 2027 00:00:00 GMT"), "RFC 8594");
            let link = old.header("link").unwrap();
            assert!(link.contains(r#"</v2>; rel="successor-version""#), "{link}");
        }
        let new = bank.get(&format!("/v2/accounts/{account}")).await;
        assert_eq!(new.json()["balance"], json!({"amount": "1.00", "currency": "EUR"}));
        assert!(["deprecation", "sunset", "link"].iter().all(|name| new.header(name).is_none()));
    })
    .await;
}

#[staunch::test]
async fn what_the_description_promises_is_there() {
    with_sqlite(async |bank: TestBank| {
        let document = bank.get("/openapi.json").await.json();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for method in methods.as_object().unwrap().keys() {
                let path = path.replace("{id}", "99");
                let answer = bank.send(&method.to_uppercase(), &path, &[], "").await;
                let problem = serde_json::from_str(&answer.body).unwrap_or(Value::Null);
                let name = problem["type"].as_str().unwrap_or_default();
                let is_there = !name.ends_with(":no-page") && answer.status != 405;
                assert!(is_there, "{method} {path}: {}", answer.body);
            }
        }
    })
    .await;
}

#[staunch::test]
async fn whatever_is_wrong_is_a_problem() {
    with_sqlite(async |bank: TestBank| {
        bank.get("/v3/accounts/1").await.is_problem(404, "no-page");
        bank.get("/v2/accounts/1").await.is_problem(404, "no-account");
        bank.get("/v2/accounts/one").await.is_problem(400, "no-number");
        bank.get("/v2/transfers/1").await.is_problem(404, "no-transfer");
        bank.get("/v2/transfers").await.is_problem(405, "method");
        bank.get("/v2/accounts/9/statement").await.is_problem(404, "no-account");
        bank.get("/v2/accounts/9/events").await.is_problem(404, "no-account");
        bank.send("POST", "/v2/accounts", &[], "{").await.is_problem(400, "body");
        let unknown = json!({"balance": "1.00", "colour": "red"});
        bank.post("/v1/accounts", &unknown).await.is_problem(422, "body");
        let long = json!({ "balance": "1".repeat(20 << 10) });
        bank.post("/v1/accounts", &long).await.is_problem(413, "too-large");
    })
    .await;
}

#[staunch::test]
async fn probes_see_the_pools() {
    with_sqlite(async |bank: TestBank| {
        assert_eq!(bank.get("/healthz").await.status, 200);
        let ready = bank.get("/readyz").await;
        assert_eq!(ready.status, 200);
        assert_eq!(ready.json()["phase"], "ready");
        assert_eq!(ready.json()["pools"][0]["name"], "sqlite writer");
    })
    .await;
}

#[staunch::test]
async fn a_request_has_a_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(Database::Sqlite(folder.path().join("bank.sqlite")));
    settings.api.deadline = Duration::from_millis(100);
    with_bank(settings, async |bank: TestBank| {
        let mut session = Session::connect(bank.address).await.unwrap();
        // The head promises a body that does not come.
        let late = [("content-length", "50"), ("content-type", "application/json")];
        let answer = session.send("POST", "/v2/accounts", &late, "").await.unwrap();
        answer.is_problem(503, "too-late");
    })
    .await;
}
