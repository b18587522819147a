//! Who is remembered: at most so many, the ones heard of last.
//!
//! Pure: it knows moments, not clocks. The peers are in a list by the moment they were last
//! heard of, so that both bounds, of number and of silence, work on its old end, and hearing of
//! a peer is a look-up and a few writes. Places are reused.

use std::{collections::HashMap, net::SocketAddr, time::Duration};

use staunch_ledger::Stamp;

const NIL: u32 = u32::MAX;

#[derive(Debug)]
pub(super) struct Peers<T> {
    most: usize,
    places: HashMap<SocketAddr, u32>,
    items: Vec<Item<T>>,
    oldest: u32,
    newest: u32,
    free: u32,
}

#[derive(Debug)]
struct Item<T> {
    address: SocketAddr,
    /// `None` while the place is free; then `newer` links the free places.
    value: Option<T>,
    heard: Stamp,
    older: u32,
    newer: u32,
}

impl<T> Peers<T> {
    /// Remembers at most `most` peers, and at least one.
    pub(super) fn new(most: usize) -> Peers<T> {
        let most = most.clamp(1, NIL as usize);
        let (places, items) = (HashMap::new(), Vec::new());
        Peers { most, places, items, oldest: NIL, newest: NIL, free: NIL }
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// The peer, of whom was heard `now`.
    pub(super) fn hear(&mut self, address: SocketAddr, now: Stamp) -> Option<&T> {
        let key = *self.places.get(&address)?;
        self.unlink(key);
        self.link_newest(key);
        let item = &mut self.items[key as usize];
        item.heard = now;
        item.value.as_ref()
    }

    /// Remembers a new peer, of whom was heard `now`. Returns whom it forgot for that.
    pub(super) fn insert(&mut self, address: SocketAddr, value: T, now: Stamp) -> Option<T> {
        let forgotten = if self.len() == self.most { self.forget_oldest() } else { None };
        let item = Item { address, value: Some(value), heard: now, older: NIL, newer: NIL };
        let key = if self.free == NIL {
            self.items.push(item);
            (self.items.len() - 1) as u32
        } else {
            let key = self.free;
            self.free = self.items[key as usize].newer;
            self.items[key as usize] = item;
            key
        };
        self.places.insert(address, key);
        self.link_newest(key);
        forgotten
    }

    /// Forgets one peer of whom nothing was heard for `idle`, if there is one.
    pub(super) fn forget_silent(&mut self, now: Stamp, idle: Duration) -> Option<T> {
        let oldest = self.items.get(self.oldest as usize)?;
        if now.since(oldest.heard) < idle { None } else { self.forget_oldest() }
    }

    fn forget_oldest(&mut self) -> Option<T> {
        let key = self.oldest;
        let address = self.items.get(key as usize)?.address;
        self.unlink(key);
        self.places.remove(&address);
        let item = &mut self.items[key as usize];
        item.newer = std::mem::replace(&mut self.free, key);
        let value = item.value.take();
        if self.places.is_empty() {
            *self = Peers::new(self.most); // gives its memory back
        }
        value
    }

    fn link_newest(&mut self, key: u32) {
        let before = std::mem::replace(&mut self.newest, key);
        let item = &mut self.items[key as usize];
        (item.older, item.newer) = (before, NIL);
        match self.items.get_mut(before as usize) {
            Some(before) => before.newer = key,
            None => self.oldest = key,
        }
    }

    fn unlink(&mut self, key: u32) {
        let Item { older, newer, .. } = self.items[key as usize];
        match self.items.get_mut(older as usize) {
            Some(older) => older.newer = newer,
            None => self.oldest = newer,
        }
        match self.items.get_mut(newer as usize) {
            Some(newer) => newer.older = older,
            None => self.newest = older,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        /// Something comes from a peer.
        Hear(u16),
        /// Time passes.
        Wait(u64),
        /// Who was silent for so long is forgotten.
        Forget(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0_u16..12).prop_map(Step::Hear),
            2 => (0_u64..5).prop_map(Step::Wait),
            1 => (0_u64..10).prop_map(Step::Forget),
        ]
    }

    fn address(number: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], number))
    }

    fn stamp(seconds: u64) -> Stamp {
        Stamp::default().plus(Duration::from_secs(100 + seconds))
    }

    proptest! {
        #[test]
        fn it_does_what_a_sorted_list_does(
            most in 1_usize..8,
            steps in proptest::collection::vec(step(), 0..200),
        ) {
            let mut peers = Peers::new(most);
            // Whom we know, the one heard of last at the end: number, last heard.
            let mut known: Vec<(u16, u64)> = Vec::new();
            let mut now = 0;
            for step in steps {
                match step {
                    Step::Wait(seconds) => now += seconds,
                    Step::Hear(number) => {
                        let at = known.iter().position(|(known, _)| *known == number);
                        let heard = peers.hear(address(number), stamp(now)).copied();
                        prop_assert_eq!(heard, at.map(|_| number));
                        if let Some(at) = at {
                            known.remove(at);
                        } else {
                            let full = known.len() == most;
                            let expected = full.then(|| known.remove(0).0);
                            let forgotten = peers.insert(address(number), number, stamp(now));
                            prop_assert_eq!(forgotten, expected);
                        }
                        known.push((number, now));
                    }
                    Step::Forget(idle) => {
                        let mut forgotten = Vec::new();
                        let seconds = Duration::from_secs(idle);
                        while let Some(number) = peers.forget_silent(stamp(now), seconds) {
                            forgotten.push(number);
                        }
                        let stay = known.iter().position(|(_, heard)| now - heard < idle);
                        let gone = known.drain(..stay.unwrap_or(known.len()));
                        let expected: Vec<u16> = gone.map(|(number, _)| number).collect();
                        prop_assert_eq!(forgotten, expected);
                    }
                }
                prop_assert_eq!(peers.len(), known.len());
            }
        }
    }

    #[test]
    fn nobody_known_is_nothing_held() {
        let mut peers = Peers::new(100);
        for number in 0..1_000 {
            peers.insert(address(number), (), stamp(0));
        }
        assert_eq!((peers.len(), peers.items.len()), (100, 100));
        while peers.forget_silent(stamp(1), Duration::from_secs(1)).is_some() {}
        assert_eq!((peers.len(), peers.items.capacity(), peers.places.capacity()), (0, 0, 0));
    }
}
