//! What an entry is: a few kinds of our own, and those a program names for itself.

use std::{
    fmt,
    sync::{PoisonError, RwLock},
};

/// The kind of a resource on the ledger.
///
/// # Examples
/// ```
/// use staunch_ledger::Kind;
/// assert_eq!(Kind::CONNECTION.name(), "connection");
/// let session = Kind::user("chat-session").unwrap();
/// assert_eq!(session, Kind::user("chat-session").unwrap());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kind(pub(crate) u8);

/// How many kinds a process can have, ours included.
pub(crate) const MAX_KINDS: usize = 64;

/// Names of our own kinds, in the order of their numbers.
const BUILT_IN: [&str; 13] = [
    "listener",
    "connection",
    "task",
    "lease",
    "body",
    "buffer",
    "stream",
    "timer",
    "file",
    "scope",
    "channel",
    "other",
    "request",
];

static USER: RwLock<Vec<&'static str>> = RwLock::new(Vec::new());

impl Kind {
    /// A socket that accepts connections, or a bound datagram socket.
    pub const LISTENER: Kind = Kind(0);
    /// A connected socket.
    pub const CONNECTION: Kind = Kind(1);
    /// An asynchronous task, or a call on a blocking thread.
    pub const TASK: Kind = Kind(2);
    /// Something borrowed from a pool.
    pub const LEASE: Kind = Kind(3);
    /// The body of a message, being read or written.
    pub const BODY: Kind = Kind(4);
    /// Memory held for input or output.
    pub const BUFFER: Kind = Kind(5);
    /// One of several streams on a connection, or an endless response.
    pub const STREAM: Kind = Kind(6);
    /// A timer or ticker.
    pub const TIMER: Kind = Kind(7);
    /// An open file.
    pub const FILE: Kind = Kind(8);
    /// A scope: the owner of tasks.
    pub const SCOPE: Kind = Kind(9);
    /// One end of a channel.
    pub const CHANNEL: Kind = Kind(10);
    /// Anything else.
    pub const OTHER: Kind = Kind(11);
    /// A request that is being answered, until all of its answer is made.
    pub const REQUEST: Kind = Kind(12);

    /// The kind called `name`, registered on first use.
    ///
    /// # Errors
    /// A process has at most 64 kinds, so that counting by kind needs no map; see
    /// [`RegisterKindError`].
    pub fn user(name: &'static str) -> Result<Kind, RegisterKindError> {
        if let Some(kind) = Kind::find(name) {
            return Ok(kind);
        }
        let mut user = USER.write().unwrap_or_else(PoisonError::into_inner);
        let position = match user.iter().position(|known| *known == name) {
            Some(position) => position,
            None if BUILT_IN.len() + user.len() >= MAX_KINDS => {
                return Err(RegisterKindError { name });
            }
            None => {
                user.push(name);
                user.len() - 1
            }
        };
        Ok(Kind((BUILT_IN.len() + position) as u8))
    }

    /// The kind called `name`, if there is one.
    pub fn find(name: &str) -> Option<Kind> {
        let user = USER.read().unwrap_or_else(PoisonError::into_inner);
        let position = BUILT_IN.iter().chain(user.iter()).position(|known| *known == name)?;
        Some(Kind(position as u8))
    }

    /// Its name, as reports and metrics show it.
    pub fn name(self) -> &'static str {
        let number = usize::from(self.0);
        if let Some(name) = BUILT_IN.get(number) {
            return name;
        }
        let user = USER.read().unwrap_or_else(PoisonError::into_inner);
        user.get(number - BUILT_IN.len()).copied().unwrap_or("other")
    }

    /// Every kind known to the process.
    pub fn all() -> impl Iterator<Item = Kind> {
        let user = USER.read().unwrap_or_else(PoisonError::into_inner).len();
        (0..BUILT_IN.len() + user).map(|number| Kind(number as u8))
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// [`Kind::user`] was asked for one kind too many.
#[derive(Debug, thiserror::Error)]
#[error(
    "kind `{name}` cannot be registered: a process has at most {MAX_KINDS} kinds; use one kind and tell its entries apart by label"
)]
pub struct RegisterKindError {
    name: &'static str,
}
