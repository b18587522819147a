//! Statements: exported whole, and followed as they grow.

use std::time::Duration;

use bank::Database;
use serde_json::{Value, json};
use staunch::Kind;
use staunch_harness::{eventually, live};

use crate::{
    client::Session,
    harness::{TestBank, settings, with_bank, with_both_stores},
};

with_both_stores!(
    a_statement_is_exported_page_by_page
    entries_are_followed_as_they_are_booked
);

async fn a_statement_is_exported_page_by_page(bank: TestBank) {
    let (from, to) = (bank.open("100.00").await, bank.open("0.00").await);
    let (a, b) = (bank::AccountId(from), bank::AccountId(to));
    for _ in 0..1100 {
        bank.bank.transfer(None, a, b, bank::Money::from_cents(1)).await.unwrap();
    }
    let export = bank.get(&format!("/v2/accounts/{from}/statement")).await;
    assert_eq!(export.header("content-type"), Some("application/x-ndjson"));
    let lines: Vec<Value> =
        export.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 1101, "what it was opened with, and each transfer");
    assert_eq!(lines[0].get("transfer"), None);
    assert_eq!(lines[1100]["balance"], json!({"amount": "89.00", "currency": "EUR"}));
    let ids: Vec<i64> = lines.iter().map(|line| line["id"].as_i64().unwrap()).collect();
    assert!(ids.is_sorted_by(|a, b| a < b), "in order, each once");
    let old = bank.get(&format!("/v1/accounts/{to}/statement")).await;
    assert!(old.body.lines().nth(1).unwrap().contains(r#""amount":"0.01""#), "{}", old.body);
}

async fn entries_are_followed_as_they_are_booked(bank: TestBank) {
    let (from, to) = (bank.open("100.00").await, bank.open("0.00").await);
    let mut session = follow(&bank, to, &[]).await;
    bank.transfer("a", from, to, "1.00").await;
    bank.transfer("b", from, to, "2.00").await;
    let first = session.piece().await.unwrap().unwrap();
    assert!(first.starts_with("event: entry\nid: ") && first.ends_with("\n\n"), "{first}");
    assert!(first.contains(r#""amount":{"amount":"1.00","currency":"EUR"}"#), "{first}");
    let second = session.piece().await.unwrap().unwrap();
    assert!(second.contains(r#""amount":"2.00""#), "{second}");
    // Who comes again says what it saw last.
    let seen = first.lines().nth(1).unwrap().trim_start_matches("id: ").to_owned();
    let mut again = follow(&bank, to, &[("Last-Event-ID", &seen)]).await;
    assert_eq!(again.piece().await.unwrap().unwrap(), second);
    drop((session, again));
    eventually("the streams have ended", async || live(Kind::STREAM) == 0).await;
}

/// Follows an account, and reads the greeting.
async fn follow(bank: &TestBank, account: i64, headers: &[(&str, &str)]) -> Session {
    let mut session = Session::connect(bank.address).await.unwrap();
    let path = format!("/v2/accounts/{account}/events");
    let head = session.begin("GET", &path, headers, "").await.unwrap();
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
    assert!(session.piece().await.unwrap().unwrap().starts_with(": "));
    session
}

#[staunch::test]
async fn streams_beat_are_bounded_and_say_why_they_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(Database::Sqlite(folder.path().join("bank.sqlite")));
    settings.api.heartbeat = Duration::from_millis(50);
    settings.bank.followers = 1;
    let mut left = None;
    with_bank(settings, async |bank: TestBank| {
        let account = bank.open("1.00").await;
        let mut session = follow(&bank, account, &[]).await;
        assert_eq!(session.piece().await.unwrap().as_deref(), Some(": heartbeat\n\n"));
        let second = bank.get(&format!("/v2/accounts/{account}/events")).await;
        second.is_problem(503, "too-many-streams");
        left = Some(session);
    })
    .await;
    // The service has drained, and waited for nobody.
    let mut session = left.unwrap();
    let mut last = None;
    while let Some(piece) = session.piece().await.unwrap() {
        last = Some(piece);
    }
    assert_eq!(last.unwrap(), "event: end\ndata: {\"reason\":\"the service is ending\"}\n\n");
}
