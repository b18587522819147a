//! What a guard does at each level.

use crate::{Level, Priority};

/// Something that a guard does for as long as a level lasts.
///
/// Beside these, each change of the level is logged, counted and noted on the ledger: that is no
/// choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reaction {
    /// Has the allocator give back what it keeps for later.
    Purge,
    /// Calls what was registered for this level, or for one before it
    /// ([`Guard::on`](crate::Guard::on)).
    Shrink,
    /// Refuses new streams, whatever their priority, [`Priority::Critical`] excepted.
    RefuseStreams,
    /// Refuses requests of this priority and of lesser ones; [`Priority::Critical`] never.
    Shed(Priority),
    /// Closes idle connections when fds run short, those idle for the longest first, until fewer are open
    /// than at the mark of the first level that lists this ([`Guard::closes_idle`](crate::Guard::closes_idle)).
    CloseIdle,
    /// Refuses connections, where a listener asks for it
    /// ([`Guard::refuses_connections`](crate::Guard::refuses_connections)).
    RefuseConnections,
    /// Lowers the limit of concurrency, if there is one
    /// ([`GuardOptions::concurrency`](crate::GuardOptions::concurrency)), look after look.
    LowerConcurrency,
}

/// What a guard does at each level; nothing at [`Level::Normal`].
///
/// A level does what is listed for it, and nothing that is listed for another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reactions {
    /// Purge, which costs nobody anything but a moment of one processor, and call what was
    /// registered for this level.
    pub warn: Vec<Reaction>,
    /// Purge, shrink, close idle connections, refuse streams, which would stay for long, and shed what can
    /// wait; and lower the limit of concurrency.
    pub shed: Vec<Reaction>,
    /// The same, and everything is shed that may be, connections too.
    pub refuse: Vec<Reaction>,
}

impl Default for Reactions {
    fn default() -> Reactions {
        use Reaction::{
            CloseIdle, LowerConcurrency, Purge, RefuseConnections, RefuseStreams, Shed, Shrink,
        };
        let shed = [Purge, Shrink, CloseIdle, RefuseStreams, LowerConcurrency];
        Reactions {
            warn: vec![Purge, Shrink],
            shed: [&shed[..], &[Shed(Priority::Low)]].concat(),
            refuse: [&shed[..], &[Shed(Priority::High), RefuseConnections]].concat(),
        }
    }
}

impl Reactions {
    pub(crate) fn of(&self, level: Level) -> &[Reaction] {
        match level {
            Level::Normal => &[],
            Level::Warn => &self.warn,
            Level::Shed => &self.shed,
            Level::Refuse => &self.refuse,
        }
    }

    pub(crate) fn has(&self, level: Level, reaction: Reaction) -> bool {
        self.of(level).contains(&reaction)
    }

    /// The first level up to `level` that lists it.
    pub(crate) fn first(&self, level: Level, reaction: Reaction) -> Option<Level> {
        Level::ALL.into_iter().filter(|it| *it <= level).find(|it| self.has(*it, reaction))
    }

    /// The greatest priority that is refused at `level`.
    pub(crate) fn shed(&self, level: Level) -> Option<Priority> {
        let priorities = self.of(level).iter().filter_map(|reaction| match reaction {
            Reaction::Shed(priority) => Some((*priority).min(Priority::High)),
            _ => None,
        });
        priorities.max()
    }
}
