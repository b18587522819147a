//! A birth line as a place in a stack.
//!
//! The ledger knows lines, pprof wants functions with addresses. So each line is a function of
//! its own: named by what is born there and where (`task@src/main.rs:42`; no blanks, which
//! tools split at), with an address made from the line's text, the same in every process of one
//! build.

use std::panic::Location;

use staunch_ledger::{Entry, Kind};

use super::{
    builder::{Call, Frame},
    source::short,
};

/// What addresses are multiples of.
const ALIGNED: u64 = 16;

/// A line that entries of a kind are born on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    kind: Kind,
    line: &'static Location<'static>,
}

impl Place {
    pub(super) fn of(entry: &Entry) -> Place {
        Place { kind: entry.kind(), line: entry.born_at() }
    }

    /// The name of its function.
    pub(super) fn name(self) -> String {
        format!("{}@{}:{}", self.kind, short(self.line.file()), self.line.line())
    }

    pub(super) fn file(self) -> &'static str {
        self.line.file()
    }

    pub(super) fn line(self) -> u32 {
        self.line.line()
    }

    /// FNV-1a of its text, kept within the addresses that a user's program can have.
    pub(super) fn address(self) -> u64 {
        let text = format!("{} {}", self.kind, self.line);
        let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        ((hash & 0x7fff_ffff_ffff) | 0x1000) / ALIGNED * ALIGNED
    }

    /// The address that is meant by one that Go's tools ask for: they take it for a return
    /// address and look just before.
    pub(super) fn asked_for(address: u64) -> u64 {
        address.saturating_add(1) / ALIGNED * ALIGNED
    }

    pub(super) fn frame(self) -> Frame {
        let call = Call { function: self.name(), file: self.file().to_owned(), line: self.line() };
        Frame { calls: vec![call], address: self.address() }
    }
}
