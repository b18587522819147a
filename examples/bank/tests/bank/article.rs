//! The test of the article that this project began with.

use serde_json::json;

use crate::harness::{TestBank, with_both_stores};

with_both_stores!(account_1_has_1000_and_100_go_to_account_2);

async fn account_1_has_1000_and_100_go_to_account_2(bank: TestBank) {
    assert_eq!((bank.open("1000.00").await, bank.open("0.00").await), (1, 2));
    let transfer = json!({ "from": 1, "to": 2, "amount": "100.00" });
    let answer = bank.post("/v1/transfers", &transfer).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    assert_eq!(answer.json()["amount"], "100.00");
    assert_eq!(bank.balance(1).await, "900.00");
    assert_eq!(bank.balance(2).await, "100.00");
}
