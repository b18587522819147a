//! What a transfer may and may not do.

use serde_json::json;

use crate::harness::{TestBank, transfer, with_both_stores};

with_both_stores!(
    more_than_there_is_is_refused
    a_key_is_booked_once
    many_with_one_key_at_a_time_are_booked_once
    what_makes_no_sense_is_refused
    an_account_cannot_hold_more_than_can_be_written_down
    circles_do_not_deadlock
);

async fn more_than_there_is_is_refused(bank: TestBank) {
    let (poor, rich) = (bank.open("10.00").await, bank.open("0.00").await);
    let refused = bank.transfer("too-much", poor, rich, "10.01").await;
    refused.is_problem(409, "overdraft");
    assert_eq!(refused.json()["detail"], "account 1 has 10.00, which is less than 10.01");
    assert_eq!(bank.balance(poor).await, "10.00");
    assert_eq!(bank.transfer("all", poor, rich, "10.00").await.status, 201);
    assert_eq!(
        (bank.balance(poor).await, bank.balance(rich).await),
        ("0.00".into(), "10.00".into())
    );
    let again = bank.transfer("too-much", poor, rich, "10.01").await;
    assert_eq!(again.body, refused.body, "the same key has the same answer");
}

async fn a_key_is_booked_once(bank: TestBank) {
    let (from, to) = (bank.open("100.00").await, bank.open("0.00").await);
    let first = bank.transfer("rent", from, to, "60.00").await;
    assert_eq!((first.status, first.header("idempotent-replayed")), (201, None), "{}", first.body);
    let again = bank.transfer("\"rent\"", from, to, "60.00").await;
    assert_eq!((again.status, again.header("idempotent-replayed")), (201, Some("true")));
    assert_eq!(again.body, first.body);
    assert_eq!(again.header("location"), first.header("location"));
    bank.transfer("rent", from, to, "59.00").await.is_problem(422, "key-reused");
    bank.transfer("rent", to, from, "60.00").await.is_problem(422, "key-reused");
    assert_eq!(bank.balance(from).await, "40.00");
    let found = bank.get(first.header("location").unwrap()).await;
    assert_eq!(found.body, first.body);
}

async fn many_with_one_key_at_a_time_are_booked_once(bank: TestBank) {
    let (from, to) = (bank.open("100.00").await, bank.open("0.00").await);
    let tries = (0..8).map(|_| bank.transfer("once", from, to, "10.00"));
    let answers = futures_util::future::join_all(tries).await;
    for answer in &answers {
        assert_eq!((answer.status, &answer.body), (201, &answers[0].body));
    }
    let fresh = answers.iter().filter(|it| it.header("idempotent-replayed").is_none());
    assert_eq!(fresh.count(), 1);
    assert_eq!(
        (bank.balance(from).await, bank.balance(to).await),
        ("90.00".into(), "10.00".into())
    );
}

async fn what_makes_no_sense_is_refused(bank: TestBank) {
    let one = bank.open("100.00").await;
    let two = bank.open("0.00").await;
    bank.transfer("a", one, one, "1.00").await.is_problem(422, "same-account");
    bank.transfer("b", one, two, "0.00").await.is_problem(422, "not-positive");
    bank.transfer("c", one, two, "-5.00").await.is_problem(422, "not-positive");
    bank.transfer("d", one, 999, "1.00").await.is_problem(404, "no-account");
    bank.transfer("e", 999, one, "1.00").await.is_problem(404, "no-account");
    bank.transfer("f", one, two, "1.001").await.is_problem(422, "body");
    bank.transfer("", one, two, "1.00").await.is_problem(400, "key-malformed");
    let dollars = json!({"from": one, "to": two, "amount": {"amount": "1.00", "currency": "USD"}});
    let keyed = [("Idempotency-Key", "g")];
    let answer = bank.send("POST", "/v2/transfers", &keyed, &dollars.to_string()).await;
    answer.is_problem(422, "currency");
    let float = json!({ "from": one, "to": two, "amount": 1.5 });
    bank.post("/v1/transfers", &float).await.is_problem(422, "body");
    let unkeyed = bank.send("POST", "/v2/transfers", &[], &transfer(one, two, "1.00")).await;
    unkeyed.is_problem(400, "key-missing");
    assert_eq!(bank.balance(one).await, "100.00");
    assert_eq!(bank.transfer("d", one, two, "1.00").await.status, 201, "404 is not remembered");
}

async fn an_account_cannot_hold_more_than_can_be_written_down(bank: TestBank) {
    let most = bank::Money::MAX.to_string();
    let (full, other) = (bank.open(&most).await, bank.open("0.01").await);
    bank.transfer("drop", other, full, "0.01").await.is_problem(409, "too-much");
    assert_eq!((bank.balance(full).await, bank.balance(other).await), (most, "0.01".into()));
    bank.post("/v1/accounts", &json!({"balance": "-0.01"})).await.is_problem(422, "not-positive");
}

/// Three accounts in a circle, each paying the next: whoever locks in the order of the transfer
/// waits for ever.
async fn circles_do_not_deadlock(bank: TestBank) {
    let mut accounts = Vec::new();
    for _ in 0..3 {
        accounts.push(bank.open("100.00").await);
    }
    let payments = (0..60).map(|n| {
        let (bank, from, to) = (&bank, accounts[n % 3], accounts[(n + 1) % 3]);
        async move { bank.transfer(&format!("circle-{n}"), from, to, "1.00").await }
    });
    for answer in futures_util::future::join_all(payments).await {
        assert_eq!(answer.status, 201, "{}", answer.body);
    }
    for account in accounts {
        assert_eq!(bank.balance(account).await, "100.00");
    }
}
