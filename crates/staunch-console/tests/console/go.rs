//! Go's own tool reads the profiles, where there is one.

use std::{
    hint::black_box,
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use staunch::{BoxError, Context, scope, sleep};

use crate::support::{CPU_PROFILES, command, with_console};

/// What `go tool pprof -top` says of a profile; `None` without Go.
pub(crate) async fn top(console: SocketAddr, target: &str) -> Option<String> {
    let target = format!("http://{console}{target}");
    let arguments = ["tool", "pprof", "-top", &target].map(str::to_owned);
    let output = command("go", arguments.to_vec()).await;
    let Some(output) = output else {
        eprintln!("skipped: there is no `go` on the PATH");
        return None;
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    println!("{text}");
    Some(text)
}

#[staunch::test]
async fn go_reads_the_tasks() {
    with_console(async |console| {
        let ended = scope(&Context::current(), |s| async move {
            let line = line!() + 2;
            for _ in 0..5 {
                s.spawn(async { Ok(sleep(Duration::from_hours(1)).await?) });
            }
            tokio::task::yield_now().await;
            for query in ["", "?debug=1"] {
                let target = format!("/debug/pprof/goroutine{query}");
                let Some(top) = top(console, &target).await else { continue };
                assert!(top.contains("Type: goroutine"), "{top}");
                let ours = format!(" task@{}:{line}", file!());
                let ours = top.lines().find(|row| row.ends_with(&ours));
                let ours = ours.unwrap_or_else(|| panic!("{top}"));
                assert!(ours.trim_start().starts_with("5 "), "five tasks of one line: {ours}");
            }
            s.stop();
            Ok::<_, BoxError>(())
        });
        ended.await.unwrap();
    })
    .await;
}

#[staunch::test]
async fn go_reads_where_cpu_time_goes() {
    let _alone = CPU_PROFILES.lock().await;
    with_console(async |console| {
        let ended = scope(&Context::current(), |s| async move {
            static ENOUGH: AtomicBool = AtomicBool::new(false);
            let burning = s.blocking(|_| {
                burn(&ENOUGH);
                Ok(())
            });
            let enough = Raised(&ENOUGH); // also when Go fails: the burning must end
            let top = top(console, "/debug/pprof/profile?seconds=2").await;
            drop(enough);
            burning.join().await?;
            if let Some(top) = top {
                assert!(top.contains("Type: cpu"), "{top}");
                assert!(top.contains("burn"), "{top}");
                assert!(!top.contains("perf_signal_handler"), "{top}");
            }
            Ok::<_, BoxError>(())
        });
        ended.await.unwrap();
    })
    .await;
}

/// Raises a flag when it is dropped.
struct Raised(&'static AtomicBool);

impl Drop for Raised {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[inline(never)]
fn burn(enough: &AtomicBool) {
    let mut number = 1_u64;
    while !enough.load(Ordering::Relaxed) {
        number = black_box(number.wrapping_mul(6_364_136_223_846_793_005) >> 1 | 1);
    }
}
