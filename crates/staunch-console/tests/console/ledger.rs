//! The ledger and the sockets over HTTP.

use staunch::{Kind, Ledger, Obligation};
use tokio::net::TcpStream;

use crate::support::{Answer, ask, get, with_console};

#[staunch::test]
async fn the_ledger_is_filtered_and_mistakes_are_named() {
    with_console(async |console| {
        let line = line!() + 1;
        let file = Ledger::current().open(Kind::FILE, Obligation::Perpetual("for the test"));
        let shown = get(console, "/debug/ledger?kind=file&site=ledger.rs").await.json();
        let entry = &shown["entries"][0];
        assert_eq!(entry["number"], file.id().number().to_string());
        assert_eq!(entry["obligation"], "perpetual: for the test");
        assert_eq!(entry["born_at"], format!("{}:{line}", file!()));

        let check = async |target: &str, expected: &str| {
            let answer = get(console, target).await;
            assert_eq!(answer.status, 400, "{}", answer.text());
            assert!(answer.text().starts_with(expected), "{}", answer.text());
        };
        let kinds = "`kind=x`: it must be one of listener, connection, task, lease, body, ";
        check("/debug/ledger?kind=x", kinds).await;
        check("/debug/ledger?state=x", "`state=x`: it must be one of open, running, ").await;
        check("/debug/ledger?limit=1001", "`limit=1001`: it must be a whole number").await;
        check("/debug/ledger?min_age=10", "`min_age=10`: it must be a time such as ").await;
        check("/debug/ledger?colour=red", "There is no parameter `colour` here. There is: kind, ")
            .await;
    })
    .await;
}

#[staunch::test]
async fn backtraces_of_a_line_are_switched_on_and_off() {
    with_console(async |console| {
        let open = || Ledger::current().open(Kind::OTHER, Obligation::Perpetual("for the test"));
        let site = format!("{}:{}", file!(), line!() - 1);
        let _before = open();
        let switch = async |at: &str, escalate| -> Answer {
            let target = format!("/debug/ledger/sites?at={at}&escalate={escalate}");
            ask(console, &format!("POST {target} HTTP/1.1\r\nHost: localhost\r\n")).await
        };
        assert_eq!(switch(&site, "1").await.json()["sites"][0]["escalated"], true);
        let after = open();
        let after_number = after.id().number().to_string();
        let sites = get(console, "/debug/ledger/sites").await.json();
        let found = sites["sites"].as_array().unwrap().iter().find(|s| s["at"] == site.as_str());
        let found = found.unwrap();
        assert_eq!((&found["live"], &found["backtraces"]), (&2.into(), &1.into()));

        let shown = get(console, "/debug/ledger?kind=other").await.json();
        for entry in shown["entries"].as_array().unwrap() {
            let is_after = entry["number"].as_str() == Some(&after_number);
            assert_eq!(entry["backtrace"].is_array(), is_after, "{entry}");
        }
        assert_eq!(switch(&site, "0").await.json()["sites"][0]["backtraces"], 0);

        let unknown = switch("nowhere.rs:1", "1").await;
        assert_eq!(unknown.status, 404);
        assert!(unknown.text().starts_with("No entry was ever born at `nowhere.rs:1`"));
        let missing = "POST /debug/ledger/sites?escalate=1 HTTP/1.1\r\nHost: localhost\r\n";
        let missing = ask(console, missing).await;
        assert_eq!(missing.text(), "The parameter `at` is missing: a line, as FILE:LINE.\n");
    })
    .await;
}

#[staunch::test]
async fn sockets_are_shown_with_their_entries() {
    with_console(async |console| {
        let client = TcpStream::connect(console).await.unwrap();
        let peer = client.local_addr().unwrap().to_string();
        let shown = get(console, "/debug/sockets?limit=100000").await.json();
        let sockets = shown["sockets"].as_array().unwrap();
        let find = |field: &str, value: &str| {
            sockets
                .iter()
                .find(|socket| socket[field] == value)
                .unwrap_or_else(|| panic!("{shown}"))
        };
        let listener = sockets
            .iter()
            .find(|s| s["state"] == "LISTEN" && s["local"] == console.to_string())
            .unwrap();
        assert_eq!(listener["owner"]["kind"], "listener");
        assert_eq!(listener["owner"]["label"], console.to_string());
        let accepted = find("remote", &peer);
        assert_eq!(
            (&accepted["state"], &accepted["protocol"]),
            (&"ESTABLISHED".into(), &"tcp".into())
        );
        assert_eq!(accepted["owner"]["kind"], "connection");
        let ours = find("local", &peer);
        assert!(ours["owner"].is_null(), "the client's end is not on the ledger");
        assert_eq!(shown["agrees"], false);

        let listening = get(console, "/debug/sockets?state=LISTEN&limit=100000").await.json();
        let mut states = listening["sockets"].as_array().unwrap().iter().map(|s| &s["state"]);
        assert!(states.all(|state| state == "LISTEN"));
        let wrong = get(console, "/debug/sockets?state=OPEN").await;
        assert!(wrong.text().contains("one of ESTABLISHED, SYN_SENT"), "{}", wrong.text());
    })
    .await;
}

#[staunch::test]
async fn sockets_that_the_kernel_alone_holds_are_shown_with_their_listener() {
    with_console(async |console| {
        // Our side closes first, so the kernel keeps it.
        assert_eq!(get(console, "/healthz").await.status, 200);
        let target = "/debug/sockets?state=TIME_WAIT&limit=100000";
        let shown = get(console, target).await.json();
        let closed = shown["sockets"].as_array().unwrap();
        let closed = closed.iter().find(|socket| socket["local"] == console.to_string());
        let closed = closed.unwrap_or_else(|| panic!("{shown}"));
        assert_eq!(closed["owner"]["kind"], "listener");
        assert!(closed["fd"].is_null(), "{closed}");
    })
    .await;
}
