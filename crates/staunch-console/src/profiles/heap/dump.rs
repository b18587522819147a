//! A dump of jemalloc's heap profile, in its text format `heap_v2` (`prof_data.c`):
//!
//! ```text
//! heap_v2/524288
//!   t*: 2: 1052672 [5: 2629632]
//! @ 0x55d0a1b2c3d4 0x55d0a1b2c3e5
//!   t*: 2: 1052672 [5: 2629632]
//!   t0: 2: 1052672 [5: 2629632]
//! MAPPED_LIBRARIES:
//! ```
//!
//! `t*` is all threads together: objects and bytes in use, and in brackets ever allocated.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read},
};

use super::Shown;
use crate::{
    profiles::{
        builder::{Builder, Call, Frame, Measure},
        source::in_full,
    },
    refusal::Refusal,
};

/// Most bytes read of a dump; a stack takes some 500. What is beyond is not in the profile.
const DUMP_BYTES_MAX: u64 = 256 << 20;

/// In the order in which Go has them.
const MEASURES: [Measure; 4] = [
    ("alloc_objects", "count"),
    ("alloc_space", "bytes"),
    ("inuse_objects", "count"),
    ("inuse_space", "bytes"),
];

/// Jemalloc's and Rust's own functions, between the program and the sample. Tools leave out the
/// outermost that matches and all it calls, so these must match nothing nearer to `main`.
const ALLOCATOR: &str = concat!(
    r"_rjem_.*|<tikv_jemallocator::.*|__rustc::__rust_.*|<?alloc::(alloc|raw_vec)::.*",
    r"|[^@]*@alloc/src/(alloc|raw_vec)[./].*|(box_)?new(_uninit)?@alloc/src/boxed\.rs",
    r"|(push|push_mut|reserve|with_capacity(_in)?|shrink_to_fit|from_elem)@alloc/src/vec/.*",
);

/// What jemalloc has sampled.
#[derive(Debug, PartialEq)]
pub(super) struct Dump {
    /// Bytes between two samples, on average.
    bytes_per_sample: u64,
    stacks: Vec<Stack>,
}

/// What was allocated from one stack of return addresses, the innermost first.
#[derive(Debug, PartialEq)]
struct Stack {
    addresses: Vec<u64>,
    in_use: Sampled,
    allocated: Sampled,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Sampled {
    objects: u64,
    bytes: u64,
}

impl Dump {
    /// Has jemalloc write a dump and reads it.
    pub(super) fn take() -> Result<Dump, Refusal> {
        let file = jemalloc_pprof::PROF_CTL
            .as_ref()
            .and_then(|control| {
                let mut control = control.blocking_lock();
                control.activated().then(|| control.dump())
            })
            .ok_or(Refusal::NotActive(
                "Heap profiling is off: start the process with \
                 _RJEM_MALLOC_CONF=prof:true,prof_accum:true, or build it with \
                 JEMALLOC_SYS_WITH_MALLOC_CONF set to the same.",
            ))?
            .map_err(Refusal::failed)?;
        Dump::parse(BufReader::new(file.take(DUMP_BYTES_MAX)))
    }

    fn parse(text: impl BufRead) -> Result<Dump, Refusal> {
        let mut dump = Dump { bytes_per_sample: 0, stacks: Vec::new() };
        let mut addresses = None;
        for line in text.lines() {
            let line = line.map_err(Refusal::failed)?;
            if let Some(rate) = line.strip_prefix("heap_v2/") {
                dump.bytes_per_sample = rate.parse().map_err(Refusal::failed)?;
            } else if let Some(list) = line.strip_prefix("@ ") {
                addresses = Some(list.split_ascii_whitespace().filter_map(hexadecimal).collect());
            } else if let Some(counts) = line.trim_start().strip_prefix("t*: ")
                && let Some(addresses) = addresses.take()
            {
                let [in_use, allocated] =
                    counted(counts).ok_or_else(|| Refusal::failed(format!("jemalloc: {line}")))?;
                dump.stacks.push(Stack { addresses, in_use, allocated });
            }
        }
        match dump.bytes_per_sample {
            0 => Err(Refusal::failed("jemalloc's dump is not in the format heap_v2")),
            _ => Ok(dump),
        }
    }

    /// Whether jemalloc counts what was ever allocated (`prof_accum`).
    pub(super) fn knows_all_ever_allocated(&self) -> bool {
        self.stacks.iter().all(|stack| stack.allocated.objects >= stack.in_use.objects)
    }

    pub(super) fn build(&self, shown: Shown) -> Builder {
        let period = (("space", "bytes"), self.bytes_per_sample.cast_signed());
        let shown = if shown == Shown::InUse { 3 } else { 1 };
        let mut builder = Builder::new(&MEASURES, shown, period);
        builder.drop_frames(ALLOCATOR);
        let mut frames = HashMap::new();
        for stack in &self.stacks {
            let resolved = stack
                .addresses
                .iter()
                .map(|address| frames.entry(*address).or_insert_with(|| resolve(*address)).clone());
            let estimates = [stack.allocated, stack.in_use];
            let values = estimates.map(|sampled| sampled.estimate(self.bytes_per_sample));
            builder.sample(resolved, values.concat(), &[]);
        }
        builder
    }
}

impl Sampled {
    /// Objects and bytes that stand behind those sampled. An allocation of `size` bytes is
    /// sampled with probability `1 - exp(-size / bytes_per_sample)` (jeprof, `AdjustSamples`).
    fn estimate(self, bytes_per_sample: u64) -> [i64; 2] {
        if self.objects == 0 {
            return [0, 0];
        }
        let size = self.bytes as f64 / self.objects as f64;
        let sampled = -(-size / bytes_per_sample as f64).exp_m1();
        [self.objects, self.bytes].map(|count| (count as f64 / sampled).round() as i64)
    }
}

/// `2: 1052672 [5: 2629632]`.
fn counted(text: &str) -> Option<[Sampled; 2]> {
    let numbers = text.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty());
    let numbers: Vec<u64> = numbers.map_while(|number| number.parse().ok()).collect();
    let [objects, bytes, ever_objects, ever_bytes] = numbers[..] else { return None };
    Some([Sampled { objects, bytes }, Sampled { objects: ever_objects, bytes: ever_bytes }])
}

fn hexadecimal(text: &str) -> Option<u64> {
    u64::from_str_radix(text.trim_start_matches("0x"), 16).ok()
}

/// The functions at a return address; the call itself is just before it.
fn resolve(address: u64) -> Frame {
    let address = address.saturating_sub(1);
    let mut calls = Vec::new();
    backtrace::resolve(std::ptr::without_provenance_mut(address as usize), |symbol| {
        let Some(name) = symbol.name() else { return };
        let file = symbol.filename().map(|file| file.display().to_string()).unwrap_or_default();
        let function = in_full(format!("{name:#}"), &file);
        calls.push(Call { function, file, line: symbol.lineno().unwrap_or(0) });
    });
    Frame { calls, address }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUMP: &str = "heap_v2/524288\n  t*: 3: 1056768 [8: 3000000]\n  t0: 3: 1056768 [8: 3000000]\n\
        @ 0x10 0x20\n  t*: 2: 1052672 [5: 2629632]\n  t0: 2: 1052672 [5: 2629632]\n\
        @ 0x30\n  t*: 0: 0 [3: 370368]\n  t0: 0: 0 [3: 370368]\n\nMAPPED_LIBRARIES:\n10-20 r-xp\n";

    #[test]
    fn stacks_are_read_with_the_sums_of_all_threads() {
        let dump = Dump::parse(DUMP.as_bytes()).unwrap();
        assert_eq!(dump.bytes_per_sample, 524_288);
        let first = Stack {
            addresses: vec![0x10, 0x20],
            in_use: Sampled { objects: 2, bytes: 1_052_672 },
            allocated: Sampled { objects: 5, bytes: 2_629_632 },
        };
        assert_eq!(dump.stacks.len(), 2);
        assert_eq!(dump.stacks[0], first);
        assert!(dump.knows_all_ever_allocated());
    }

    #[test]
    fn what_is_not_a_dump_is_an_error() {
        for text in ["", "heap_v3\n", "heap_v2/x\n", "heap_v2/1\n@ 0x1\n t*: 1: [\n"] {
            assert!(Dump::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn samples_stand_for_what_was_not_sampled() {
        assert_eq!(Sampled::default().estimate(524_288), [0, 0]);
        // Large objects are always sampled, small ones once in many.
        let large = Sampled { objects: 1, bytes: 100 << 20 };
        assert_eq!(large.estimate(524_288), [1, 100 << 20]);
        let small = Sampled { objects: 1, bytes: 64 };
        let [objects, bytes] = small.estimate(524_288);
        assert!((8_190..8_195).contains(&objects) && (524_000..525_000).contains(&bytes));
    }
}
