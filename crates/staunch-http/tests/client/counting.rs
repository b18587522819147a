//! What a client counts of its requests.

use std::time::Duration;

use hyper::{Request, StatusCode, header::LOCATION};
use staunch_harness::{eventually, free_port, poll_times};
use staunch_http::{Client, ClientOptions, Outcome, clients};
use staunch_ledger::Ledger;

use crate::support::{says, text, with_client, with_server};

/// The outcomes of which there are any.
fn outcomes(client: &Client) -> Vec<(Outcome, u64)> {
    client.status().outcomes.into_iter().filter(|(_, count)| *count > 0).collect()
}

/// What became of a request for a path, and all that were in flight then.
async fn check(client: &Client, url: String, timeout: u64, expected: Outcome) {
    let before = outcomes(client).iter().find(|it| it.0 == expected).map_or(0, |it| it.1);
    let request = client.get(url).timeout(Duration::from_millis(timeout)).send().await;
    if let Ok(answer) = request {
        assert_eq!(client.status().in_flight, 1, "{expected:?}");
        let _ = answer.bytes(100).await;
    }
    assert_eq!(client.status().in_flight, 0, "{expected:?}");
    assert!(outcomes(client).contains(&(expected, before + 1)), "{expected:?}: {client:?}");
}

#[staunch::test]
async fn every_request_has_one_outcome() {
    let answer = |request: &Request<_>| {
        let mut answer = text("answer");
        let path = request.uri().path().trim_matches('/');
        *answer.status_mut() = path.parse().unwrap_or(StatusCode::OK);
        answer.headers_mut().insert(LOCATION, "/200".parse().unwrap());
        answer
    };
    with_server(ClientOptions::default(), answer, async |client, address| {
        let to = |path: &str| format!("http://{address}/{path}");
        check(client, to("200"), 9999, Outcome::Success).await;
        check(client, to("302"), 9999, Outcome::Success).await;
        check(client, to("300"), 9999, Outcome::Redirect).await;
        check(client, to("404"), 9999, Outcome::ClientError).await;
        check(client, to("500"), 9999, Outcome::ServerError).await;
        check(client, "ftp://a/".into(), 9999, Outcome::Unsent).await;
        let port = free_port().unwrap();
        check(client, format!("http://127.0.0.1:{port}/"), 9999, Outcome::Unreached).await;
        let sum: u64 = outcomes(client).iter().map(|(_, count)| count).sum();
        assert_eq!(sum, 7);
    })
    .await;
}

#[staunch::test]
async fn what_has_no_answer_has_an_outcome_too() {
    with_client(ClientOptions::default(), async |client, s| {
        let [silent, broken] = [says(s, "").await, says(s, "nonsense\r\n\r\n").await];
        check(client, format!("http://{silent}/"), 50, Outcome::TimedOut).await;
        check(client, format!("http://{broken}/"), 9999, Outcome::Unanswered).await;
        let (request, cancel) = client.get(format!("http://{silent}/")).cancellable();
        drop(cancel);
        assert!(request.send().await.is_err());
        assert!(poll_times(1, client.get(format!("http://{silent}/")).send()).await.is_none());
        assert!(outcomes(client).contains(&(Outcome::Cancelled, 2)), "{client:?}");
        assert_eq!(client.status().in_flight, 0);
    })
    .await;
}

#[staunch::test]
async fn a_body_is_in_flight_until_its_end() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n";
    with_client(ClientOptions::default(), async |client, s| {
        let short = says(s, format!("{head}ha")).await;
        let answer = client.get(format!("http://{short}/")).send().await.unwrap();
        assert_eq!(client.status().in_flight, 1);
        drop(answer);
        eventually("it is not", async || client.status().in_flight == 0).await;
    })
    .await;
}

#[staunch::test]
async fn reports_are_of_the_clients_of_a_ledger() {
    assert_eq!(clients(Ledger::current()).len(), 0);
    with_client(ClientOptions::default(), async |_, _| {
        let line = clients(Ledger::current())[0].born_at;
        assert!(line.file().ends_with("support.rs"), "{line}");
        assert_eq!(clients(Ledger::current()).len(), 1);
    })
    .await;
    assert_eq!(clients(Ledger::current()).len(), 0, "it holds none alive");
}
