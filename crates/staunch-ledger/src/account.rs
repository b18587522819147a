//! The right to an entry: held by whoever holds the resource.

use std::{fmt, net::SocketAddr, panic::Location};

use crate::{
    arena::{Arena, Cell},
    clock::Stamp,
    kind::Kind,
    label::{self, CellRef, Decoded, LabelWord, MAX_LABEL_BYTES, RoutedBytes},
    ledger::{EntryId, Ledger, pack, unpack},
    obligation::Obligation,
    shard::{self, Shard},
    slot::Slot,
    state::State,
};

/// An open entry on a ledger. Keep it with the resource it stands for; dropping it closes the
/// entry. 16 bytes; may be dropped on any thread.
///
/// # Examples
/// ```
/// use staunch_ledger::{Kind, Ledger, Obligation, State};
/// use std::time::Duration;
///
/// let ledger = Ledger::new();
/// let body = ledger.open(Kind::BODY, Obligation::ProgressWithin(Duration::from_secs(30)));
/// body.label("GET /export");
/// body.add_bytes(4096);
/// body.set_state(State::Read);
/// assert_eq!(ledger.snapshot().entries()[0].bytes(), 4096);
/// drop(body);
/// assert_eq!(ledger.live(), 0);
/// ```
#[must_use = "dropping an account closes its entry: keep it with the resource it stands for"]
pub struct Account {
    shard: &'static Shard,
    /// `None` when the ledger had no room.
    slot: Option<&'static Slot>,
}

impl Account {
    #[inline]
    pub(crate) fn new(shard: &'static Shard, slot: &'static Slot) -> Account {
        Account { shard, slot: Some(slot) }
    }

    pub(crate) fn unrecorded(shard: &'static Shard) -> Account {
        Account { shard, slot: None }
    }

    /// The ledger it is on.
    pub fn ledger(&self) -> Ledger {
        Ledger { inner: self.shard.ledger }
    }

    /// Its name in reports.
    #[inline]
    pub fn id(&self) -> EntryId {
        let (generation, index) =
            self.slot.map_or((0, u32::MAX), |slot| (slot.generation(), slot.index()));
        EntryId::new(generation, self.shard.number, index)
    }

    /// Progress was made: bytes moved, a message was handled.
    #[inline]
    pub fn touch(&self) {
        if let Some(slot) = self.slot {
            slot.touch(self.ledger().now());
        }
    }

    /// Progress was made at `stamp`.
    pub(crate) fn touch_at(&self, stamp: Stamp) {
        if let Some(slot) = self.slot {
            slot.touch(stamp);
        }
    }

    /// When progress was made last.
    pub fn progress(&self) -> Stamp {
        self.slot.map_or_else(|| self.ledger().now(), Slot::progress)
    }

    /// When the entry was opened.
    pub fn born(&self) -> Stamp {
        self.slot.map_or_else(|| self.ledger().now(), Slot::born)
    }

    /// Says what the resource is doing.
    #[inline]
    pub fn set_state(&self, state: State) {
        if let Some(slot) = self.slot {
            slot.set_state(state);
        }
    }

    /// What was said last.
    pub fn state(&self) -> State {
        self.slot.map_or(State::Open, Slot::state)
    }

    /// For a task: it is being polled. Counts the poll and makes it the latest progress.
    #[inline]
    pub fn begin_poll(&self) -> Stamp {
        let now = self.ledger().now();
        if let Some(slot) = self.slot {
            slot.count_poll();
            slot.touch(now);
            slot.set_state(State::Running);
        }
        now
    }

    /// The resource holds `bytes` more.
    #[inline]
    pub fn add_bytes(&self, bytes: u64) {
        if let Some(slot) = self.slot {
            slot.add_amount(bytes);
        }
    }

    /// The resource holds `bytes` less.
    #[inline]
    pub fn sub_bytes(&self, bytes: u64) {
        if let Some(slot) = self.slot {
            slot.sub_amount(bytes);
        }
    }

    /// Labels the entry; text beyond [`MAX_LABEL_BYTES`](crate::MAX_LABEL_BYTES) is cut. Never
    /// put a secret here: labels are shown.
    pub fn label(&self, text: &str) {
        self.label_text(&label::cut(text));
    }

    /// Labels the entry with `parts`, one after the other: [`Account::label`] without a `String` of
    /// the caller's.
    pub fn label_with(&self, parts: &[&str]) {
        let mut room = [0; MAX_LABEL_BYTES];
        match label::joined(parts, &mut room) {
            Some(text) => self.label_text(text),
            None => self.label(&parts.concat()),
        }
    }

    /// Labels what is held for a route with `parts`, one after the other, and the route's name, so
    /// that [`Snapshot::holdings`](crate::Snapshot::holdings) finds it there. Who works for it is
    /// said by [`set_upstream`](Self::set_upstream).
    ///
    /// # Examples
    /// ```
    /// use staunch_ledger::{Kind, Ledger, Obligation};
    ///
    /// let ledger = Ledger::new();
    /// let request = ledger.open(Kind::REQUEST, Obligation::EndsWithParent);
    /// request.label_routed("export", &["GET ", "/export/17"]);
    /// request.set_upstream("10.0.0.9:8080");
    /// let holding = &ledger.snapshot().holdings()[0];
    /// assert_eq!((&*holding.route, holding.count), ("export", 1));
    /// ```
    pub fn label_routed(&self, route: &str, parts: &[&str]) {
        self.label_bytes(RoutedBytes::new(route, "", parts).as_bytes(), LabelWord::routed);
    }

    /// Names the server that works for what is held for a route, or another one than before; does
    /// nothing with another label.
    pub fn set_upstream(&self, name: &str) {
        let Some(slot) = self.slot else { return };
        let word = slot.label();
        let Decoded::Routed(at) = word.decode() else { return };
        let (shard, index) = unpack(at.cell);
        let Some(shard) = self.shard.ledger.shard(shard) else { return };
        let bytes = shard.labels.cell(index).read(at.length);
        if slot.label() != word {
            return; // somebody else has labelled it meanwhile, and the cell may be another's
        }
        if let Some([route, _, text]) = RoutedBytes::parts(&bytes[..at.length]) {
            let bytes = RoutedBytes::new(route, name, &[text]);
            self.label_bytes(bytes.as_bytes(), LabelWord::routed);
        }
    }

    fn label_text(&self, text: &str) {
        self.label_bytes(text.as_bytes(), LabelWord::text);
    }

    fn label_bytes(&self, bytes: &[u8], as_word: fn(CellRef, LabelWord) -> LabelWord) {
        let word = |previous| {
            let packed = shard::with_own(self.shard.ledger, |own| {
                let (index, cell) = own.labels.take()?;
                cell.write(bytes);
                Some(pack(own.number, index))
            });
            packed.flatten().map_or(LabelWord::none(previous), |cell| {
                as_word(CellRef { cell, length: bytes.len() }, previous)
            })
        };
        if let Some(slot) = self.slot {
            let previous = slot.label();
            let new = if bytes.is_empty() { LabelWord::none(previous) } else { word(previous) };
            self.free_label(slot.swap_label(new));
        }
    }

    /// Labels the entry with the address of its peer.
    pub fn peer(&self, peer: SocketAddr) {
        match peer {
            SocketAddr::V4(peer) => {
                if let Some(slot) = self.slot {
                    let word = LabelWord::peer(peer, slot.label());
                    self.free_label(slot.swap_label(word));
                }
            }
            SocketAddr::V6(peer) => self.label(&peer.to_string()),
        }
    }

    /// Names the socket or file that the resource is by its descriptor, for
    /// [`Ledger::reconcile`](crate::Ledger::reconcile).
    pub fn set_fd(&self, fd: std::os::fd::RawFd) {
        if let (Some(slot), Ok(fd)) = (self.slot, u32::try_from(fd)) {
            slot.set_fd(fd);
        }
    }

    /// Changes the promise, for instance when a stream turns out to be endless. A promise to
    /// make progress counts from now on.
    pub fn set_obligation(&self, obligation: Obligation) {
        if let Some(slot) = self.slot {
            slot.set_obligation(obligation, self.ledger().now());
        }
    }

    /// Opens an entry owned by this one, born on the caller's line.
    #[track_caller]
    #[inline]
    pub fn child(&self, kind: Kind, obligation: Obligation) -> Account {
        self.ledger().open_at(Location::caller(), kind, obligation, Some(self.id()))
    }

    fn free_label(&self, word: LabelWord) {
        let Some(at) = word.decode().cell() else { return };
        let (shard, index) = unpack(at.cell);
        let Some(shard) = self.shard.ledger.shard(shard) else { return };
        give_back(shard, &shard.labels, index, shard.labels.cell(index));
    }
}

/// Gives a cell of one of `shard`'s arenas back, on whatever thread this is.
#[inline]
fn give_back<C: Cell>(shard: &Shard, arena: &Arena<C>, index: u32, cell: &C) {
    if shard.is_hot() {
        arena.give_back(index, cell);
    } else {
        arena.give_back_remote(index, cell);
    }
}

impl Drop for Account {
    #[inline]
    fn drop(&mut self) {
        let Some(slot) = self.slot else { return };
        let label = slot.close();
        if label != LabelWord::UNSET {
            self.free_label(label);
        }
        give_back(self.shard, &self.shard.slots, slot.index(), slot);
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").field("id", &self.id()).field("state", &self.state()).finish()
    }
}
