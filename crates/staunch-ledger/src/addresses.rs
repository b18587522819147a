//! From an address in the program's read-only data to a number, without a lock.
//!
//! An open-addressed table that is only ever added to: the addresses are those of `Location`s and
//! literals, so they are as many as the program's source has, and none is ever removed. Additions
//! happen under the lock of whoever owns the table; readers meet at worst an empty cell and take
//! that lock themselves.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// How far from its place an address is sought and put. Beyond, its number is looked up under
/// the lock: slower, and still right.
const REACH: usize = 16;

/// Of `CELLS` cells, 16 bytes each: zeroed memory, of which the kernel gives only the pages that
/// are written.
pub(crate) struct Addresses<const CELLS: usize>([Cell; CELLS]);

struct Cell {
    /// 0 while empty.
    address: AtomicUsize,
    number: AtomicU32,
}

impl<const CELLS: usize> Addresses<CELLS> {
    pub(crate) const fn new() -> Addresses<CELLS> {
        Addresses(
            [const { Cell { address: AtomicUsize::new(0), number: AtomicU32::new(0) } }; CELLS],
        )
    }

    /// The number noted for an address.
    #[inline]
    pub(crate) fn get(&self, address: usize) -> Option<u32> {
        let first = &self.0[place::<CELLS>(address)]; // nearly always the right one
        // Acquire: who sees the address sees its number.
        if first.address.load(Ordering::Acquire) == address {
            return Some(first.number.load(Ordering::Relaxed));
        }
        self.search(address)
    }

    #[cold]
    fn search(&self, address: usize) -> Option<u32> {
        for cell in self.reach(address) {
            match cell.address.load(Ordering::Acquire) {
                known if known == address => return Some(cell.number.load(Ordering::Relaxed)),
                0 => return None,
                _ => {}
            }
        }
        None
    }

    /// Notes a number, if there is room within reach and none is noted. One thread at a time.
    pub(crate) fn put(&self, address: usize, number: u32) {
        for cell in self.reach(address) {
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

    fn reach(&self, address: usize) -> impl Iterator<Item = &Cell> {
        let place = place::<CELLS>(address);
        (0..REACH).map(move |step| &self.0[(place + step) % CELLS])
    }
}

/// Where an address belongs.
#[inline]
fn place<const CELLS: usize>(address: usize) -> usize {
    // Fibonacci hashing: neighbours, which a crate's locations are, come to lie far apart.
    let hash = (address as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    hash as usize % CELLS
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_is_found_until_there_is_no_room() {
        const CELLS: usize = 1 << 14;
        static TABLE: Addresses<CELLS> = Addresses::new();
        let addresses = || (0..2 * CELLS).map(|n| (1 << 40) + n * 24);
        assert!(addresses().all(|address| TABLE.get(address).is_none()));
        for (number, address) in addresses().enumerate() {
            TABLE.put(address, number as u32);
            TABLE.put(address, 0); // is there already
        }
        let found: Vec<Option<u32>> = addresses().map(|address| TABLE.get(address)).collect();
        let kept = found.iter().flatten().count();
        assert!(kept > CELLS * 3 / 4, "{kept} of {CELLS} cells are used");
        let wrong = found.iter().enumerate().find(|(n, got)| got.is_some_and(|g| g as usize != *n));
        assert_eq!(wrong, None);
    }
}
