//! jemalloc, as a program's allocator.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may fail as tests do")]

use std::hint::black_box;

use staunch_guard::{Allocator, Jemalloc};
use tikv_jemalloc_ctl::{Access, AsName};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const MIB: usize = 1 << 20;

fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// Otherwise pages would go by themselves, a second after they were freed.
fn keep_pages() {
    let arenas: u32 = b"arenas.narenas\0".name().read().unwrap();
    for arena in 0..arenas {
        let name = format!("arena.{arena}.dirty_decay_ms\0");
        let _ = name.as_bytes().name().write(-1_isize); // one that was never used has no time to set
    }
}

/// One test, so that no other allocates meanwhile.
#[test]
fn it_is_seen_what_is_allocated_and_given_back_what_is_not() {
    keep_pages();
    let jemalloc = Jemalloc::new().unwrap();
    let before = jemalloc.allocated().unwrap();
    let blocks: Vec<Vec<u8>> = (0..6400).map(|_| black_box(vec![1; 10 << 10])).collect();
    let with_blocks = jemalloc.allocated().unwrap();
    let more = (with_blocks.bytes - before.bytes) as usize;
    assert!((56 * MIB..80 * MIB).contains(&more), "{more}");
    let objects = with_blocks.objects.unwrap() - before.objects.unwrap();
    assert!((6000..7000).contains(&objects), "{objects}");

    drop(blocks);
    let freed = jemalloc.allocated().unwrap();
    assert!(freed.bytes < before.bytes + MIB as u64, "{freed:?} after {before:?}");
    assert!(freed.objects >= with_blocks.objects, "what was counted stays counted");
    let blocks: Vec<Vec<u8>> = (0..64).map(|_| black_box(vec![1; 4 << 10])).collect();
    drop(blocks); // the thread keeps some for the next
    let cached = jemalloc.allocated().unwrap();
    assert!(cached.bytes < freed.bytes + (16 << 10), "{cached:?} after {freed:?}");
    let kept = resident();
    jemalloc.purge();
    let left = resident();
    println!("resident: {} MiB, after the purge {} MiB", kept / MIB, left / MIB);
    assert!(left + 40 * MIB < kept, "{left} of {kept}");
}
