//! Memory for what begins between two looks.
//!
//! What a request takes is seen by the next look, and not before. Until then it counts for
//! `request_bytes`: while it lives, in the interval in which it was admitted and in the one after
//! that. So no burst passes the mark unseen.
//!
//! **Invariant.** A cell holds the requests admitted in one interval that live, and the number of
//! the interval: who was admitted in another one does not count there.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// How many more may begin before the next look.
#[derive(Debug)]
pub(crate) struct Room {
    request_bytes: u64,
    /// What the last look left below the mark.
    left_bytes: AtomicU64,
    interval: AtomicU32,
    /// By the last bit of the interval: its number above, the count below.
    cells: [AtomicU64; 2],
}

impl Room {
    pub(crate) fn new(request_bytes: u64) -> Room {
        Room {
            request_bytes,
            left_bytes: AtomicU64::new(u64::MAX),
            interval: AtomicU32::new(0),
            cells: [cell(0, 0), cell(1, 0)].map(AtomicU64::new),
        }
    }

    /// A look was taken, and so many bytes are left: the next interval begins.
    pub(crate) fn turn(&self, left_bytes: u64) {
        let next = self.interval.load(Ordering::Relaxed).wrapping_add(1);
        self.cell(next).store(cell(next, 0), Ordering::Relaxed);
        self.left_bytes.store(left_bytes, Ordering::Relaxed);
        self.interval.store(next, Ordering::Release);
    }

    /// Takes the room of one request, if there is any or `is_forced`; the interval, to give it
    /// back.
    pub(crate) fn take(&self, is_forced: bool) -> Option<u32> {
        let interval = loop {
            let interval = self.interval.load(Ordering::Acquire);
            if self.change(interval, |count| count.saturating_add(1)) {
                break interval;
            }
        };
        let live = |interval| u64::from(self.cell(interval).load(Ordering::Relaxed) as u32);
        let count = live(interval) + live(interval.wrapping_sub(1));
        let taken = count.saturating_mul(self.request_bytes);
        if is_forced || taken <= self.left_bytes.load(Ordering::Relaxed) {
            return Some(interval);
        }
        self.give_back(interval);
        None
    }

    pub(crate) fn give_back(&self, interval: u32) {
        self.change(interval, |count| count.saturating_sub(1)); // `false`: it counts no more
    }

    /// Whether the cell was still that of `interval`.
    fn change(&self, interval: u32, to: impl Fn(u32) -> u32) -> bool {
        let changed =
            self.cell(interval).fetch_update(Ordering::Relaxed, Ordering::Relaxed, |it| {
                ((it >> 32) as u32 == interval).then(|| cell(interval, to(it as u32)))
            });
        changed.is_ok()
    }

    fn cell(&self, interval: u32) -> &AtomicU64 {
        &self.cells[(interval & 1) as usize]
    }
}

fn cell(interval: u32, count: u32) -> u64 {
    u64::from(interval) << 32 | u64::from(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many are admitted, of more than there can be.
    fn fitting(room: &Room) -> usize {
        (0..1000).take_while(|_| room.take(false).is_some()).count()
    }

    #[test]
    fn there_is_room_until_it_is_taken_and_two_looks_later_again() {
        let room = Room::new(10);
        assert!(room.take(false).is_some(), "before the first look there is no limit");
        room.turn(50);
        let first = room.take(false).unwrap();
        for _ in 0..3 {
            assert!(room.take(false).is_some());
        }
        assert_eq!(room.take(false), None, "the one from before the look counts too");
        assert!(room.take(true).is_some());
        room.give_back(first);
        assert_eq!(room.take(false), None, "the forced one is in its place");
        room.turn(50);
        assert_eq!(fitting(&room), 1, "the four of the last interval are perhaps not seen yet");
        room.turn(50);
        room.give_back(first); // of an interval that is over: nothing changes
        assert_eq!(fitting(&room), 4);
        room.turn(0);
        assert_eq!(room.take(false), None);
    }

    #[test]
    fn no_size_is_no_check() {
        let room = Room::new(0);
        room.turn(0);
        assert!((0..1000).all(|_| room.take(false).is_some()));
    }

    /// Whatever happens at once, what is given back is as much as was taken.
    #[test]
    fn nothing_is_lost_when_intervals_change_meanwhile() {
        let room = Room::new(1);
        std::thread::scope(|threads| {
            for _ in 0..2 {
                threads.spawn(|| {
                    for _ in 0..20_000 {
                        let taken = room.take(true).unwrap();
                        room.give_back(taken);
                    }
                });
            }
            for _ in 0..2_000 {
                room.turn(100);
            }
        });
        room.turn(3);
        assert_eq!(fitting(&room), 3);
    }
}
