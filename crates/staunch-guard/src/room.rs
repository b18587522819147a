//! Room for what begins between two looks.
//!
//! What a request takes, memory and fds, is seen by the next look, and not before. Until then it
//! counts for what a request may take: while it lives, in the interval in which it was admitted and
//! in the one after that. So no burst passes a mark unseen.
//!
//! **Invariant.** A cell holds the requests admitted in one interval that live, and the number of
//! the interval: who was admitted in another one does not count there.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::stir::Stir;

/// How many more may begin before the next look.
#[derive(Debug)]
pub(crate) struct Room {
    /// So many requests fit below the marks, by the last look.
    left: AtomicU64,
    interval: AtomicU32,
    /// By the last bit of the interval: its number above, the count below.
    cells: [AtomicU64; 2],
    /// Half of what was left has been taken.
    presses: Stir,
}

impl Room {
    /// There is no limit before the first look.
    pub(crate) fn new() -> Room {
        Room {
            left: AtomicU64::new(u64::MAX),
            interval: AtomicU32::new(0),
            cells: [cell(0, 0), cell(1, 0)].map(AtomicU64::new),
            presses: Stir::new(),
        }
    }

    /// A look was taken, and there is room for so many requests: the next interval begins.
    pub(crate) fn turn(&self, left: u64) {
        let next = self.interval.load(Ordering::Relaxed).wrapping_add(1);
        // First: who no longer finds the requests of the last interval but one counted must know what
        // is left beside them.
        self.left.store(left, Ordering::Release);
        self.cell(next).store(cell(next, 0), Ordering::Release);
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
        let live = |interval| u64::from(self.cell(interval).load(Ordering::Acquire) as u32);
        let count = live(interval) + live(interval.wrapping_sub(1));
        let left = self.left.load(Ordering::Acquire);
        if count > left / 2 {
            self.presses.begin();
        }
        if is_forced || count <= left {
            return Some(interval);
        }
        self.give_back(interval);
        None
    }

    /// Says when half of what was left at the last look has been taken: it is time for the next.
    pub(crate) fn presses(&self) -> &Stir {
        &self.presses
    }

    pub(crate) fn give_back(&self, interval: u32) {
        self.change(interval, |count| count.saturating_sub(1)); // `false`: it counts no more
    }

    /// Whether the cell was still that of `interval`.
    fn change(&self, interval: u32, to: impl Fn(u32) -> u32) -> bool {
        let changed = self.cell(interval).fetch_update(Ordering::AcqRel, Ordering::Acquire, |it| {
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
        let room = Room::new();
        assert!(room.take(false).is_some(), "before the first look there is no limit");
        room.turn(5);
        let first = room.take(false).unwrap();
        for _ in 0..3 {
            assert!(room.take(false).is_some());
        }
        assert_eq!(room.take(false), None, "the one from before the look counts too");
        assert!(room.take(true).is_some());
        room.give_back(first);
        assert_eq!(room.take(false), None, "the forced one is in its place");
        room.turn(5);
        assert_eq!(fitting(&room), 1, "the four of the last interval are perhaps not seen yet");
        room.turn(5);
        room.give_back(first); // of an interval that is over: nothing changes
        assert_eq!(fitting(&room), 4);
        room.turn(0);
        assert_eq!(room.take(false), None);
    }

    #[test]
    fn it_presses_when_half_is_taken() {
        let room = Room::new();
        room.turn(4);
        assert!(room.presses().take(), "the first look has to come");
        room.take(false).unwrap();
        room.take(false).unwrap();
        assert!(!room.presses().take());
        room.take(false).unwrap();
        assert!(room.presses().take());
        room.turn(0);
        assert!(room.take(false).is_none() && room.presses().take(), "nothing is left");
    }

    /// Whatever happens at once, what is given back is as much as was taken.
    #[test]
    fn nothing_is_lost_when_intervals_change_meanwhile() {
        let room = Room::new();
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
