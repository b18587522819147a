//! Profiles as they come over HTTP.

use std::{
    backtrace::Backtrace,
    panic::{catch_unwind, resume_unwind},
    time::Duration,
};

use staunch::{BoxError, Context, scope, sleep};

use crate::support::{CPU_PROFILES, get, profiling, wait_for, with_console};

#[staunch::test]
async fn tasks_are_shown_as_goroutines_with_who_created_them() {
    with_console(async |console| {
        let ended = scope(&Context::current(), |s| async move {
            let line = line!() + 1;
            s.spawn_named("sleeper", async { Ok(sleep(Duration::from_mins(1)).await?) });
            tokio::task::yield_now().await;
            let here = format!("{}:{line}", file!());

            let listing = get(console, "/debug/pprof/goroutine?debug=2").await;
            let listing = listing.text().split("\n\n");
            let sleeper = listing.into_iter().find(|task| task.contains(&here)).unwrap();
            assert!(sleeper.contains(" [sleep]:\n"), "{sleeper}");
            assert!(sleeper.contains(&format!("task@{here}(sleeper)\n\t{here} +0x0\n")));
            assert!(sleeper.contains("\ncreated by scope@"), "{sleeper}");
            assert!(sleeper.contains(" in goroutine "), "{sleeper}");

            let grouped = get(console, "/debug/pprof/goroutine?debug=1").await;
            assert!(grouped.text().starts_with("goroutine profile: total "));
            assert!(grouped.text().contains(&format!("task@{here}+0x0\t{here}\n")));

            let profile = get(console, "/debug/pprof/goroutine").await;
            assert!(profile.headers.contains("application/octet-stream"));
            assert_eq!(&profile.body[..2], b"\x1f\x8b", "gzip");
            s.stop();
            Ok::<_, BoxError>(())
        });
        ended.await.unwrap();
    })
    .await;
}

#[staunch::test]
async fn wrong_parameters_say_what_is_right() {
    with_console(async |console| {
        let check = async |target: &str, expected: &str| {
            let answer = get(console, target).await;
            assert_eq!((answer.status, answer.text()), (400, expected));
            assert!(answer.headers.contains("\r\nx-go-pprof: 1"), "so that Go's tools show it");
        };
        check(
            "/debug/pprof/goroutine?debug=3",
            "`debug=3`: it must be a whole number from 0 to 2.\n",
        )
        .await;
        check(
            "/debug/pprof/profile?seconds=301",
            "`seconds=301`: it must be a whole number from 1 to 300.\n",
        )
        .await;
        check(
            "/debug/pprof/profile?second=1",
            "There is no parameter `second` here. There is: seconds.\n",
        )
        .await;
        check("/metrics?x=1", "There is no parameter `x` here. It takes none.\n").await;
    })
    .await;
}

#[staunch::test]
async fn one_cpu_profile_is_taken_at_a_time() {
    let _alone = CPU_PROFILES.lock().await;
    with_console(async |console| {
        let first = get(console, "/debug/pprof/profile?seconds=2");
        let second = async {
            wait_for("the first to begin", || profiling() == 1).await;
            get(console, "/debug/pprof/profile?seconds=1").await
        };
        let (first, second) = tokio::join!(first, second);
        assert_eq!(first.status, 200);
        assert_eq!(second.status, 409, "{}", second.text());
    })
    .await;
}

/// The sampler unwinds stacks in a signal handler: it must not wait for what it interrupts.
#[staunch::test]
async fn a_profile_can_be_taken_of_threads_that_unwind_themselves() {
    let _alone = CPU_PROFILES.lock().await;
    with_console(async |console| {
        let ended = scope(&Context::current(), |s| async move {
            for _ in 0..4 {
                let _ = s.blocking(|work| {
                    while !work.is_asked() {
                        let unwound = catch_unwind(|| resume_unwind(Box::new("on purpose")));
                        assert!(unwound.is_err());
                        drop(Backtrace::force_capture());
                    }
                    Ok(())
                });
            }
            let profile = get(console, "/debug/pprof/profile?seconds=3").await;
            assert_eq!(profile.status, 200);
            s.stop();
            Ok::<_, BoxError>(())
        });
        ended.await.unwrap();
    })
    .await;
}

#[cfg(not(feature = "jemalloc"))]
#[staunch::test]
async fn without_jemalloc_the_heap_page_says_how_to_get_one() {
    with_console(async |console| {
        for page in ["/debug/pprof/heap", "/debug/pprof/allocs"] {
            let answer = get(console, page).await;
            assert_eq!(answer.status, 501);
            assert!(answer.text().contains("feature `jemalloc`"), "{}", answer.text());
        }
    })
    .await;
}
