//! What every page has in common, and the small ones.

use std::time::{Duration, Instant};

use serde_json::json;
use staunch::{
    BoxError, Context,
    pool::{KeyedPool, KeyedPoolOptions, Manager, Pool, PoolOptions},
    scope,
};
use staunch_console::{Access, Console, Phase, Readiness};

use crate::support::{ask, get, with, with_console};

#[staunch::test]
async fn pages_are_listed_and_missing_ones_say_what_there_is() {
    with_console(async |console| {
        let index = get(console, "/").await;
        assert_eq!(index.status, 200);
        assert!(index.headers.contains("content-type: text/html"));
        for path in ["/debug/pprof/", "/debug/ledger", "/debug/sockets", "/debug/pools", "/readyz"]
        {
            assert!(index.text().contains(&format!("href=\"{path}\"")), "{path}");
        }
        let missing = get(console, "/debug/pprof").await;
        assert_eq!(missing.status, 404);
        assert!(missing.text().starts_with("There is no `/debug/pprof` here. There is:\n"));
        assert!(missing.text().contains("/debug/ledger/sites"));
        let profiles = get(console, "/debug/pprof/").await;
        assert!(profiles.text().contains("href=\"/debug/pprof/goroutine?debug=2\""));
        assert!(profiles.text().contains("the tasks, as goroutines ("), "with their count");
    })
    .await;
}

#[staunch::test]
async fn other_methods_are_refused_with_those_that_are_taken() {
    with_console(async |console| {
        let host = "HTTP/1.1\r\nHost: localhost\r\n";
        let post = ask(console, &format!("POST /metrics {host}Content-Length: 0\r\n")).await;
        assert_eq!(post.status, 405);
        assert!(post.headers.contains("\r\nallow: get, head\r\n"), "{}", post.headers);
        assert_eq!(post.text(), "`/metrics` takes GET, HEAD, not POST.\n");
        let delete = ask(console, &format!("DELETE /debug/ledger/sites {host}")).await;
        assert_eq!(delete.text(), "`/debug/ledger/sites` takes GET, HEAD, POST, not DELETE.\n");
    })
    .await;
}

#[staunch::test]
async fn head_answers_as_get_without_the_body() {
    with_console(async |console| {
        for path in ["/healthz", "/debug/pprof/cmdline", "/debug/none"] {
            let get = get(console, path).await;
            let head = ask(console, &format!("HEAD {path} HTTP/1.1\r\nHost: localhost\r\n")).await;
            assert_eq!(head.status, get.status);
            assert!(head.body.is_empty());
            let length = format!("\r\ncontent-length: {}\r\n", get.body.len());
            assert!(head.headers.contains(&length), "{}", head.headers);
        }
    })
    .await;
}

/// Connects to nothing.
struct Nothing;

impl Manager for Nothing {
    type Connection = ();
    type Error = std::convert::Infallible;

    async fn connect(&self) -> Result<(), Self::Error> {
        Ok(())
    }
}

#[staunch::test]
async fn pools_show_who_has_their_connections() {
    let ended = scope(&Context::current(), |s| async move {
        let pool = Pool::new(&s, Nothing, PoolOptions { name: "db", ..PoolOptions::default() })?;
        drop((pool.acquire().await?, pool.acquire().await?));
        let leased_at = line!() + 1;
        let lease = pool.acquire().await?;
        with_console(async |console| {
            let pools = get(console, "/debug/pools").await.json();
            let db = &pools[0];
            assert_eq!(
                (&db["name"], &db["size"], &db["idle"]),
                (&json!("db"), &json!(2), &json!(1))
            );
            assert_eq!((&db["created"], &db["destroyed"]["idle"]), (&json!(2), &json!(0)));
            let holder = &db["holders"][0];
            let born_at = holder["born_at"].as_str().unwrap();
            assert!(born_at.contains(&format!("pages.rs:{leased_at}:")), "{born_at}");
            assert_eq!(holder["count"], 1);

            let metrics = get(console, "/metrics").await;
            let metrics = metrics.text();
            assert!(metrics.contains("staunch_pool_leased{pool=\"db\"} 1\n"), "{metrics}");
            assert!(metrics.contains("staunch_pool_created_total{pool=\"db\"} 2\n"), "{metrics}");
        })
        .await;
        drop(lease);
        s.stop();
        Ok::<_, BoxError>(())
    });
    ended.await.unwrap();
}

#[staunch::test]
async fn who_abandons_leases_is_in_the_metrics_by_line() {
    let ended = scope(&Context::current(), |s| async move {
        let pause = Duration::from_millis(10);
        let options = PoolOptions {
            name: "db",
            abandoned_timeout: 4 * pause,
            maintenance_interval: pause,
            ..PoolOptions::default()
        };
        let pool = Pool::new(&s, Nothing, options)?;
        let line = line!() + 1;
        let lease = pool.acquire().await?;
        with_console(async |console| {
            let expected = format!("pages.rs:{line}:");
            let end = Instant::now() + Duration::from_secs(10);
            let abandoned = loop {
                assert!(Instant::now() < end, "it is never abandoned");
                let metrics = get(console, "/metrics").await.text().to_owned();
                let family = "staunch_pool_abandoned_total{pool=\"db\"";
                let line = metrics.lines().find(|line| line.starts_with(family));
                if let Some(line) = line {
                    break line.to_owned();
                }
                tokio::time::sleep(pause).await;
            };
            assert!(abandoned.contains(&expected) && abandoned.ends_with("\"} 1"), "{abandoned}");
            let pools = get(console, "/debug/pools").await.json();
            assert_eq!(pools[0]["abandoned"].as_object().unwrap().len(), 1);
        })
        .await;
        drop(lease);
        s.stop();
        Ok::<_, BoxError>(())
    });
    ended.await.unwrap();
}

#[staunch::test]
async fn keys_of_a_pool_are_on_its_page_and_not_in_the_metrics() {
    let ended = scope(&Context::current(), |s| async move {
        let per_key = PoolOptions { name: "upstreams", ..PoolOptions::default() };
        let options = KeyedPoolOptions { per_key, ..KeyedPoolOptions::default() };
        let pool = KeyedPool::new(&s, |_: &&str| Nothing, options)?;
        let leases = [pool.acquire(&"a:80").await?, pool.acquire(&"b:80").await?];
        with_console(async |console| {
            let pools = get(console, "/debug/pools").await.json();
            let [upstreams] = &pools.as_array().unwrap()[..] else { panic!("{pools}") };
            assert_eq!((&upstreams["size"], &upstreams["max_total"]), (&json!(2), &json!(500)));
            let [a, b] = &upstreams["keys"].as_array().unwrap()[..] else { panic!("{pools}") };
            assert_eq!((&a["key"], &a["leased"]), (&json!("a:80"), &json!(1)));
            assert_eq!((&b["key"], &b["holders"][0]["count"]), (&json!("b:80"), &json!(1)));
            let metrics = get(console, "/metrics").await;
            let metrics = metrics.text();
            let leased = "staunch_pool_leased{pool=\"upstreams\"} 2\n";
            assert!(metrics.contains(leased) && !metrics.contains("a:80"), "{metrics}");
        })
        .await;
        drop(leases);
        s.stop();
        Ok::<_, BoxError>(())
    });
    ended.await.unwrap();
}

#[staunch::test]
async fn probes_follow_the_phase_of_the_service() {
    let readiness = Readiness::default();
    let handle = readiness.clone();
    with(Access::Loopback, readiness, Console::limits(), async |console| {
        let check = async |status, text: &str| {
            let ready = get(console, "/readyz").await;
            assert_eq!((ready.status, ready.text()), (status, text));
            assert_eq!(get(console, "/healthz").await.text(), "ok\n");
        };
        check(503, "starting\n").await;
        handle.advance(Phase::Ready);
        check(200, "ready\n").await;
        handle.advance(Phase::Draining);
        check(503, "draining\n").await;
    })
    .await;
}

#[staunch::test]
async fn the_command_line_is_separated_by_nul_as_in_go() {
    with_console(async |console| {
        let expected: Vec<String> = std::env::args().collect();
        assert_eq!(get(console, "/debug/pprof/cmdline").await.text(), expected.join("\0"));
        assert_eq!(get(console, "/debug/pprof/symbol").await.text(), "num_symbols: 1\n");
    })
    .await;
}

#[staunch::test]
async fn metrics_are_in_the_openmetrics_format() {
    with_console(async |console| {
        let metrics = get(console, "/metrics").await;
        assert!(metrics.headers.contains("application/openmetrics-text"));
        let text = metrics.text();
        assert!(text.ends_with("# EOF\n"));
        let line = |start: &str| text.lines().any(|line| line.starts_with(start));
        for start in [
            "staunch_entries{kind=\"listener\",state=\"accept\"} 1",
            "staunch_births_total{kind=\"connection\"} ",
            "staunch_overdue{kind=\"task\"} 0",
            "staunch_bytes{kind=\"listener\"} 0",
            "staunch_unrecorded_total 0",
            "staunch_detector_awake 1",
            "process_resident_memory_bytes ",
            "process_open_fds ",
            "process_max_fds ",
            "process_cpu_seconds_total ",
            "process_start_time_seconds ",
        ] {
            assert!(line(start), "{start} in:\n{text}");
        }
        let value = |name: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().parse().unwrap()
        };
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
        let age = now - value("process_start_time_seconds ");
        assert!((-1.0..3_600.0).contains(&age), "started {age} s ago");
    })
    .await;
}
