//! How much a process should still take on.

/// How much a process should still take on; greater is worse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Everything.
    #[default]
    Normal,
    /// Everything, but somebody should look.
    Warn,
    /// Not what can wait.
    Shed,
    /// Only what must not be refused.
    Refuse,
}
