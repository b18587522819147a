//! What the rules find in this process: on a page, and in metrics.

use std::time::Duration;

use staunch::{BoxError, Context, Kind, Ledger, Obligation, findings, ledger::Deadline, scope};

use crate::support::{get, wait_for, with_console};

/// Runs `test` while the ledger is watched.
async fn watched(test: impl AsyncFnOnce()) {
    let ended = scope(&Context::current(), |s| async move {
        s.spawn(async { Err(findings::watch(Duration::from_millis(1)).await.unwrap_err().into()) });
        test().await;
        s.stop();
        Ok::<_, BoxError>(())
    });
    let _ = ended.await; // the watch says that it was stopped
}

#[staunch::test]
async fn a_finding_is_on_the_page_for_programs_and_people_and_in_metrics() {
    let ledger = Ledger::current();
    let by = Obligation::EndsBy(Deadline::after(Duration::from_secs(1)));
    let (kept, line) = (ledger.open(Kind::FILE, by), line!());
    ledger.advance_clock(Duration::from_mins(1));
    with_console(async |console| {
        watched(async || {
            let told = || !findings::report(ledger).1.is_empty();
            wait_for("a finding", told).await;

            let page = get(console, "/debug/findings").await.json();
            assert_eq!(page["detector"], "awake");
            let found = &page["findings"][0];
            assert_eq!(found["rule"], "obligation-broken");
            assert_eq!(found["birth"]["line"], line);
            assert!(found["guide"].as_str().unwrap().ends_with("obligation-broken.md"));

            let page = get(console, "/debug/findings?format=text").await;
            assert!(page.text().starts_with("1 finding ("), "{}", page.text());
            for expected in [&*format!("findings.rs:{line}\n"), "\n  why  ", "\n  fix  "] {
                assert!(page.text().contains(expected), "{expected}{}", page.text());
            }
            check_metrics(console, 1).await;

            drop(kept);
            wait_for("its end", || findings::report(ledger).0.findings.is_empty()).await;
            check_metrics(console, 0).await; // and is still known as new once
        })
        .await;
    })
    .await;
}

async fn check_metrics(console: std::net::SocketAddr, now: u64) {
    let labels = "{rule=\"obligation-broken\",severity=\"leak\"}";
    let metrics = get(console, "/metrics").await;
    for expected in [
        format!("staunch_findings{labels} {now}\n"),
        format!("staunch_findings_new_total{labels} 1\n"),
        "staunch_rules_awake 1\n".to_owned(),
    ] {
        assert!(metrics.text().contains(&expected), "{expected}{}", metrics.text());
    }
}

#[staunch::test]
async fn without_a_watch_the_page_shows_what_can_be_seen_at_once() {
    let ledger = Ledger::current();
    let request = ledger.open(Kind::REQUEST, Obligation::EndsWithParent);
    let kept = request.child(Kind::BUFFER, Obligation::EndsWithParent);
    drop(request);
    with_console(async |console| {
        let page = get(console, "/debug/findings?format=json").await.json();
        assert_eq!(page["findings"][0]["rule"], "orphan");
        assert!(page["notes"][0].as_str().unwrap().contains("findings::watch"), "{page}");
        assert_eq!(get(console, "/debug/findings?format=xml").await.status, 400);
    })
    .await;
    drop(kept);
}
