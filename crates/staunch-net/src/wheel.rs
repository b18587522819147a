//! A coarse timing wheel: when to look at which connection next.
//!
//! Pure: it knows ticks, not time, and holds keys of its own making. Each item is in one of
//! [`SLOTS`] doubly linked lists, so that arming, re-arming and removing are a few writes.
//! A time beyond the horizon is cut to it: whoever looks then sees that it is early and arms
//! again. An item adds 8 bytes to its value, and places are reused.

/// Ticks until the wheel comes round.
pub(crate) const SLOTS: u32 = 256;
const NIL: u32 = u32::MAX;
/// From here on, what comes before an item is no other item but the head of a list.
const HEADS: u32 = NIL - SLOTS;

#[derive(Debug)]
pub(crate) struct Wheel<T> {
    now: u32,
    heads: Box<[u32]>,
    items: Vec<Item<T>>,
    free: u32,
    live: usize,
}

#[derive(Debug)]
struct Item<T> {
    /// `None` while the place is free; then `next` links the free places.
    value: Option<T>,
    /// The item before it, or [`HEADS`] and the number of its list.
    previous: u32,
    next: u32,
}

impl<T> Wheel<T> {
    pub(crate) fn new() -> Wheel<T> {
        let heads = vec![NIL; SLOTS as usize].into_boxed_slice();
        Wheel { now: 0, heads, items: Vec::new(), free: NIL, live: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.live
    }

    /// All of them, in no order.
    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.items.iter().filter_map(|item| item.value.as_ref())
    }

    /// Adds an item to be looked at in `ticks` (at least 1), and returns its key.
    pub(crate) fn insert(&mut self, value: T, ticks: u32) -> u32 {
        let key = self.free;
        let item = Item { value: Some(value), previous: NIL, next: NIL };
        let key = if key == NIL {
            if self.items.len() == self.items.capacity() {
                self.items.reserve_exact(self.items.len() / 8 + 8); // twice would be 24 bytes for each
            }
            self.items.push(item);
            (self.items.len() - 1) as u32
        } else {
            self.free = self.items[key as usize].next;
            self.items[key as usize] = item;
            key
        };
        self.live += 1;
        self.link(key, ticks);
        key
    }

    /// Removes the item.
    pub(crate) fn remove(&mut self, key: u32) -> Option<T> {
        let value = self.items.get_mut(key as usize)?.value.take()?;
        self.unlink(key);
        self.items[key as usize].next = self.free;
        self.free = key;
        self.live -= 1;
        if self.live == 0 {
            self.items = Vec::new();
            self.free = NIL;
        }
        Some(value)
    }

    /// Moves on by one tick and shows every item that is due to `look`, which says in how many
    /// ticks to look again.
    pub(crate) fn tick(&mut self, mut look: impl FnMut(&mut T) -> u32) {
        self.now = (self.now + 1) % SLOTS;
        let mut key = std::mem::replace(&mut self.heads[self.now as usize], NIL);
        while key != NIL {
            let item = &mut self.items[key as usize];
            let next = item.next;
            let ticks = item.value.as_mut().map_or(1, &mut look);
            self.link(key, ticks);
            key = next;
        }
    }

    fn link(&mut self, key: u32, ticks: u32) {
        let slot = (self.now + ticks.clamp(1, SLOTS - 1)) % SLOTS;
        let head = std::mem::replace(&mut self.heads[slot as usize], key);
        let item = &mut self.items[key as usize];
        item.previous = HEADS + slot;
        item.next = head;
        if head != NIL {
            self.items[head as usize].previous = key;
        }
    }

    fn unlink(&mut self, key: u32) {
        let Item { previous, next, .. } = self.items[key as usize];
        match previous.checked_sub(HEADS) {
            Some(slot) => self.heads[slot as usize] = next,
            None => self.items[previous as usize].next = next,
        }
        if next != NIL {
            self.items[next as usize].previous = previous;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The values shown at each of the next `ticks` ticks; each is then armed far away.
    fn shown(wheel: &mut Wheel<u32>, ticks: u32) -> Vec<Vec<u32>> {
        let mut all = Vec::new();
        for _ in 0..ticks {
            let mut now = Vec::new();
            wheel.tick(|value| {
                now.push(*value);
                SLOTS
            });
            now.sort_unstable();
            all.push(now);
        }
        all
    }

    #[test]
    fn items_come_at_their_tick_and_removed_ones_never() {
        let mut wheel = Wheel::new();
        let keys: Vec<u32> = (0..6).map(|value| wheel.insert(value, 1 + value % 3)).collect();
        assert_eq!(wheel.remove(keys[1]), Some(1));
        assert_eq!(wheel.remove(keys[1]), None);
        assert_eq!(shown(&mut wheel, 4), [vec![0, 3], vec![4], vec![2, 5], vec![]]);
        assert_eq!(wheel.len(), 5);
    }

    #[test]
    fn what_lies_beyond_the_horizon_is_shown_early_not_lost() {
        let mut wheel = Wheel::new();
        wheel.insert(7, 10_000);
        let shown = shown(&mut wheel, SLOTS - 1);
        assert_eq!(shown.last(), Some(&vec![7]));
    }

    #[derive(Clone, Debug)]
    enum Step {
        /// Add an item to be looked at in so many ticks.
        Insert(u32),
        /// Remove the n-th oldest item.
        Remove(usize),
        /// Move on by one tick; whoever is due is looked at again in so many.
        Tick(u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..SLOTS + 50).prop_map(Step::Insert),
            (0_usize..64).prop_map(Step::Remove),
            (0..SLOTS + 50).prop_map(Step::Tick),
        ]
    }

    proptest! {
        #[test]
        fn it_does_what_a_list_of_dates_does(steps in proptest::collection::vec(step(), 0..200)) {
            let mut wheel = Wheel::new();
            // Who is due when: key, value, tick.
            let mut dates: Vec<(u32, u32, u32)> = Vec::new();
            let (mut now, mut value) = (0, 0);
            let date = |now: u32, ticks: u32| now + ticks.clamp(1, SLOTS - 1);
            for step in steps {
                match step {
                    Step::Insert(ticks) => {
                        value += 1;
                        dates.push((wheel.insert(value, ticks), value, date(now, ticks)));
                    }
                    Step::Remove(nth) if nth < dates.len() => {
                        let (key, value, _) = dates.remove(nth);
                        prop_assert_eq!(wheel.remove(key), Some(value));
                    }
                    Step::Remove(_) => {}
                    Step::Tick(again) => {
                        now += 1;
                        let mut due: Vec<u32> = Vec::new();
                        wheel.tick(|value| {
                            due.push(*value);
                            again
                        });
                        due.sort_unstable();
                        let mut expected = Vec::new();
                        for (_, value, at) in dates.iter_mut().filter(|(_, _, at)| *at == now) {
                            expected.push(*value);
                            *at = date(now, again);
                        }
                        expected.sort_unstable();
                        prop_assert_eq!(due, expected);
                    }
                }
                prop_assert_eq!(wheel.len(), dates.len());
            }
        }
    }

    #[test]
    fn an_empty_wheel_holds_no_places() {
        let mut wheel = Wheel::new();
        let keys: Vec<u32> = (0..1_000).map(|value| wheel.insert(value, 5)).collect();
        for key in keys {
            wheel.remove(key);
        }
        assert_eq!((wheel.len(), wheel.items.capacity()), (0, 0));
    }
}
