//! Heap profiles. jemalloc reads its options when a process starts, so this process starts
//! itself again with other options, to run one test there.

use std::{hint::black_box, process::Command};

use crate::{
    go::top,
    support::{get, with_console},
};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Runs an ignored test of this file in a process of its own.
fn run_with(options: &str, test: &str) {
    let run = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--nocapture", test])
        .env("_RJEM_MALLOC_CONF", options)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{text}{}", String::from_utf8_lossy(&run.stderr));
    assert!(text.contains("1 passed"), "{text}");
    println!("{text}");
}

#[test]
fn with_profiling_go_reads_the_heap() {
    run_with("prof:true,prof_accum:true,lg_prof_sample:14", "heap::profiled");
}

#[test]
fn without_profiling_the_page_says_how_to_switch_it_on() {
    run_with("prof:false", "heap::unprofiled");
}

#[test]
fn without_sums_the_page_of_all_allocations_says_so() {
    run_with("prof:true,prof_accum:false", "heap::without_sums");
}

#[staunch::test]
#[ignore = "run by another test, in a process with other options"]
async fn profiled() {
    with_console(async |console| {
        let held = hold();
        churn();
        let heap = top(console, "/debug/pprof/heap").await;
        let allocs = top(console, "/debug/pprof/allocs").await;
        drop(held);
        let (Some(heap), Some(allocs)) = (heap, allocs) else { return };
        assert!(heap.contains("Type: inuse_space") && allocs.contains("Type: alloc_space"));
        // The sixth column is the function, the fourth what it and its callees have.
        let megabytes = |top: &str, function: &str| -> f64 {
            let is_it = |row: &&str| {
                let name = row.split_whitespace().nth(5).unwrap_or_default();
                name.starts_with(&format!("{function}@"))
                    || name.ends_with(&format!("::{function}"))
            };
            let row = top.lines().find(is_it).unwrap_or_default();
            let sum = row.split_whitespace().nth(3).unwrap_or_default();
            sum.trim_end_matches("MB").parse().unwrap_or_default()
        };
        assert!((60.0..70.0).contains(&megabytes(&heap, "hold")), "{heap}");
        assert!((30.0..35.0).contains(&megabytes(&allocs, "churn")), "{allocs}");
        assert!(megabytes(&heap, "churn") < 1.0, "what was freed is not in use:\n{heap}");
    })
    .await;
}

#[staunch::test]
#[ignore = "run by another test, in a process with other options"]
async fn unprofiled() {
    with_console(async |console| {
        for page in ["/debug/pprof/heap", "/debug/pprof/allocs"] {
            let answer = get(console, page).await;
            assert_eq!(answer.status, 501);
            assert!(answer.text().contains("_RJEM_MALLOC_CONF=prof:true"), "{}", answer.text());
        }
    })
    .await;
}

#[staunch::test]
#[ignore = "run by another test, in a process with other options"]
async fn without_sums() {
    with_console(async |console| {
        assert_eq!(get(console, "/debug/pprof/heap").await.status, 200);
        let answer = get(console, "/debug/pprof/allocs").await;
        assert_eq!(answer.status, 501);
        assert!(answer.text().contains("prof_accum:true"), "{}", answer.text());
    })
    .await;
}

/// 64 MiB.
#[inline(never)]
fn hold() -> Vec<Box<[u8]>> {
    (0..1024).map(|_| black_box(vec![7; 1 << 16].into_boxed_slice())).collect()
}

/// 32 MiB, of which nothing is kept.
#[inline(never)]
fn churn() {
    for _ in 0..512 {
        drop(black_box(vec![7_u8; 1 << 16].into_boxed_slice()));
    }
}
