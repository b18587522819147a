//! From the address of a `Location` to the number of its site, without a lock.
//!
//! An open-addressed table that is only ever added to: the addresses come from the program's
//! read-only data, so they are as many as the calls in its source that open entries, and none
//! is ever removed. Additions happen under the lock of [`site`](crate::site); readers meet at
//! worst an empty cell and take that lock themselves.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// 256 KiB of zeroed memory, of which the kernel gives only the pages that are written.
const CELLS: usize = 1 << 14;

/// How far from its place an address is sought and put. Beyond, its site is looked up under the
/// lock: slower, and still right.
const REACH: usize = 16;

struct Cell {
    /// 0 while empty.
    address: AtomicUsize,
    number: AtomicU32,
}

static TABLE: [Cell; CELLS] =
    [const { Cell { address: AtomicUsize::new(0), number: AtomicU32::new(0) } }; CELLS];

/// The number noted for an address.
#[inline]
pub(crate) fn get(address: usize) -> Option<u32> {
    let first = &TABLE[place(address)]; // nearly always the right one
    // Acquire: who sees the address sees its number.
    if first.address.load(Ordering::Acquire) == address {
        return Some(first.number.load(Ordering::Relaxed));
    }
    search(address)
}

#[cold]
fn search(address: usize) -> Option<u32> {
    for cell in reach(address) {
        match cell.address.load(Ordering::Acquire) {
            known if known == address => return Some(cell.number.load(Ordering::Relaxed)),
            0 => return None,
            _ => {}
        }
    }
    None
}

/// Notes a number, if there is room within reach. One thread at a time.
pub(crate) fn put(address: usize, number: u32) {
    for cell in reach(address) {
        match cell.address.load(Ordering::Relaxed) {
            known if known == address => return,
            0 => {
                cell.number.store(number, Ordering::Relaxed);
                cell.address.store(address, Ordering::Release);
                return;
            }
            _ => {}
        }
    }
}

fn reach(address: usize) -> impl Iterator<Item = &'static Cell> {
    let place = place(address);
    (0..REACH).map(move |step| &TABLE[(place + step) % CELLS])
}

/// Where an address belongs.
#[inline]
fn place(address: usize) -> usize {
    // Fibonacci hashing: neighbours, which a crate's locations are, come to lie far apart.
    let hash = (address as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    hash as usize % CELLS
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Addresses that no `Location` has: the table is shared with the whole process.
    const NOWHERE: usize = 1 << 60;

    #[test]
    fn what_was_put_is_found_until_there_is_no_room() {
        let addresses = || (0..2 * CELLS).map(|n| NOWHERE + n * 24);
        assert!(addresses().all(|address| get(address).is_none()));
        for (number, address) in addresses().enumerate() {
            put(address, number as u32);
            put(address, 0); // is there already
        }
        let found: Vec<Option<u32>> = addresses().map(get).collect();
        let kept = found.iter().flatten().count();
        assert!(kept > CELLS * 3 / 4, "{kept} of {CELLS} cells are used");
        let wrong = found.iter().enumerate().find(|(n, got)| got.is_some_and(|g| g as usize != *n));
        assert_eq!(wrong, None);
    }
}
