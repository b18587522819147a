//! Guards on the console.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use staunch::{BoxError, Context, scope};
use staunch_guard::{Guard, GuardOptions, Level, Priority, Usage};

use crate::support::{get, wait_for, with_console};

#[staunch::test]
async fn a_guard_shows_what_it_sees_and_whom_it_refused() {
    with_console(async |console| {
        let before = get(console, "/metrics").await;
        assert!(!before.text().contains("staunch_guard"), "there is none");
        assert_eq!(get(console, "/debug/guard").await.json(), serde_json::json!([]));
        let bytes = Arc::new(AtomicU64::new(96));
        let used = Arc::clone(&bytes);
        let memory = move || Usage { bytes: used.load(Ordering::SeqCst), limit: Some(100) };
        let ended = scope(&Context::current(), |s| async move {
            let memory: Arc<dyn staunch_guard::MemorySource> = Arc::new(memory);
            let options =
                GuardOptions { name: "edge", memory: Some(memory), ..GuardOptions::default() };
            let guard = Guard::start(&s, options)?;
            let _shrinks = guard.on(Level::Warn, "cache", |_| {});
            assert!(
                guard.admit(Priority::Low).is_err() && guard.admit_stream(Priority::High).is_err()
            );
            let admission = guard.admit(Priority::Critical)?;

            let page = get(console, "/debug/guard").await.json();
            let edge = &page[0];
            assert_eq!(
                (&edge["name"], &edge["level"]),
                (&"edge".into(), &"refuse".into()),
                "{page}"
            );
            assert_eq!((&edge["memory_bytes"], &edge["in_flight"]), (&96.into(), &1.into()));
            assert_eq!((&edge["looks_every_ms"], &edge["rests"]), (&50.into(), &false.into()));
            assert_eq!(
                edge["refused"],
                serde_json::json!({"low": {"level": 1}, "high": {"level": 1}})
            );
            assert_eq!(edge["level_began"]["refuse"], 1);
            assert_eq!(edge["shrinkers"][0]["name"], "cache");

            let metrics = get(console, "/metrics").await;
            for line in [
                "staunch_guard_level{guard=\"edge\"} 3",
                "staunch_guard_memory_bytes{guard=\"edge\"} 96",
                "staunch_guard_memory_limit_bytes{guard=\"edge\"} 100",
                "staunch_guard_shed_total{guard=\"edge\",priority=\"low\",reason=\"level\"} 1",
                "staunch_guard_level_changes_total{guard=\"edge\",level=\"refuse\"} 1",
                "staunch_guard_in_flight{guard=\"edge\"} 1",
                "staunch_observations_total{rule=\"pressure\"} 1",
            ] {
                assert!(metrics.text().contains(line), "{line}\n{}", metrics.text());
            }
            assert!(metrics.text().contains("staunch_guard_fds{guard=\"edge\"} "));
            assert!(!metrics.text().contains("staunch_guard_concurrency_limit{"), "there is none");
            drop(admission);
            bytes.store(1, Ordering::SeqCst);
            wait_for("the level", || guard.level() == Level::Normal).await;
            let ledger = get(console, "/debug/ledger").await;
            assert!(ledger.text().contains("edge: normal -> refuse: "), "{}", ledger.text());
            s.stop();
            Ok::<_, BoxError>(())
        });
        ended.await.unwrap();
    })
    .await;
}
