//! What an entry is doing, as far as its owner said.

use std::fmt;

/// What an entry is doing now. For tasks: what the task waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
#[non_exhaustive]
pub enum State {
    /// Nothing was said since it was opened.
    Open = 0,
    /// Being polled, or at work.
    Running = 1,
    /// A task waits for something that our primitives do not know.
    Waiting = 2,
    /// Nothing to do, and holding nothing but itself.
    Idle = 3,
    /// Waits for a connection to accept.
    Accept = 4,
    /// Waits for a peer to connect, or to answer a handshake.
    Handshake = 5,
    /// Waits for the first byte of a message.
    Read = 6,
    /// Waits for the rest of a message that has begun.
    ReadRest = 7,
    /// Waits for the peer to take what is written.
    Write = 8,
    /// Waits for a channel.
    Channel = 9,
    /// Sleeps.
    Sleep = 10,
    /// Waits for a lease from a pool.
    Lease = 11,
    /// Waits for children to end.
    Join = 12,
    /// Has been asked to end.
    Stopping = 13,
    /// Its owner is gone; it is being ended by the reaper.
    Reaping = 14,
    /// Runs on a thread of its own, where it may block.
    Blocking = 15,
}

impl State {
    /// Every state, in the order of its number.
    pub const ALL: [State; 16] = [
        State::Open,
        State::Running,
        State::Waiting,
        State::Idle,
        State::Accept,
        State::Handshake,
        State::Read,
        State::ReadRest,
        State::Write,
        State::Channel,
        State::Sleep,
        State::Lease,
        State::Join,
        State::Stopping,
        State::Reaping,
        State::Blocking,
    ];

    /// Its name, as reports show it and filters take it.
    pub fn name(self) -> &'static str {
        match self {
            State::Open => "open",
            State::Running => "running",
            State::Waiting => "waiting",
            State::Idle => "idle",
            State::Accept => "accept",
            State::Handshake => "handshake",
            State::Read => "read",
            State::ReadRest => "read rest",
            State::Write => "write",
            State::Channel => "channel",
            State::Sleep => "sleep",
            State::Lease => "lease",
            State::Join => "join",
            State::Stopping => "stopping",
            State::Reaping => "reaping",
            State::Blocking => "blocking",
        }
    }

    /// The state called `name`, if there is one.
    pub fn find(name: &str) -> Option<State> {
        State::ALL.into_iter().find(|state| state.name() == name)
    }

    pub(crate) fn from_number(number: u8) -> State {
        State::ALL.get(usize::from(number)).copied().unwrap_or(State::Open)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
