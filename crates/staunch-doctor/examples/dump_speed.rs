//! Reads a generated dump, looks for leaks in it, and says what that took.
//!
//! `cargo run --release -p staunch-doctor --example dump_speed -- 500000`: so many goroutines of some
//! thousand different stacks, 400 bytes each. The text is made while it is read, so the memory that is
//! shown is the reader's.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, BufReader, Read};
use std::time::Instant;

use staunch_diagnosis::{History, Options, Snapshot, diagnose};
use staunch_doctor::source::go::{GoroutineDumpLimits, read_goroutine_dump};

const STACKS: u64 = 2_000;

fn main() -> Result<(), Box<dyn Error>> {
    let goroutines = std::env::args().nth(1).map_or(Ok(500_000), |count| count.parse())?;
    let mut text = Text { next: 0, goroutines, record: String::new(), sent: 0, bytes: 0 };
    let begin = Instant::now();
    let reader = BufReader::with_capacity(1 << 16, &mut text);
    let tasks = read_goroutine_dump(reader, &GoroutineDumpLimits::default())?;
    let took = begin.elapsed();
    let megabytes = text.bytes as f64 / 1e6;
    println!(
        "{goroutines} goroutines, {} stacks, {megabytes:.0} MB in {took:.2?}",
        tasks.groups.len()
    );
    let begin = Instant::now();
    let history = History::single(Snapshot { tasks: Some(tasks), ..Snapshot::default() });
    let findings = diagnose(&history, &Options::default());
    println!("{} findings in {:.2?}", findings.len(), begin.elapsed());
    let status = std::fs::read_to_string("/proc/self/status")?;
    for line in status.lines().filter(|line| line.starts_with("VmHWM")) {
        println!("{line}");
    }
    Ok(())
}

/// A dump that is written as it is read.
struct Text {
    next: u64,
    goroutines: u64,
    record: String,
    sent: usize,
    bytes: u64,
}

impl Read for Text {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.sent == self.record.len() {
            if self.next == self.goroutines {
                return Ok(0);
            }
            self.make_record();
        }
        let part = &self.record.as_bytes()[self.sent..];
        let len = part.len().min(buffer.len());
        buffer[..len].copy_from_slice(&part[..len]);
        self.sent += len;
        self.bytes += len as u64;
        Ok(len)
    }
}

impl Text {
    fn make_record(&mut self) {
        let (id, stack) = (self.next, self.next % STACKS);
        let address = 0xc0_0000_0000 + id * 64;
        self.record.clear();
        self.sent = 0;
        self.next += 1;
        // Writing to a string cannot fail.
        let _ = write!(
            self.record,
            "goroutine {id} [chan receive, {} minutes]:\n\
             example.com/service/store.(*Cache).wait({address:#x}, {{0x51a730, {address:#x}}})\n\
             \t/home/build/service/store/cache.go:{stack} +0x1d\n\
             example.com/service/store.(*Cache).load({address:#x}, 0x7?)\n\
             \t/home/build/service/store/cache.go:71 +0x245\n\
             example.com/service/api.(*Handler{stack}).serve(...)\n\
             \t/home/build/service/api/handler.go:140\n\
             created by example.com/service/api.(*Handler).Start in goroutine {}\n\
             \t/home/build/service/api/handler.go:33 +0x4f\n\n",
            id % 60,
            id / 2,
        );
    }
}
