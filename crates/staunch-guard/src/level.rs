//! How much a process should still take on.

use std::fmt;

/// How much a process should still take on; greater is worse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Level {
    /// Everything.
    #[default]
    Normal = 0,
    /// Everything, but somebody should look.
    Warn = 1,
    /// Not what can wait.
    Shed = 2,
    /// Only what must not be refused.
    Refuse = 3,
}

impl Level {
    /// Every level, the best first.
    pub const ALL: [Level; 4] = [Level::Normal, Level::Warn, Level::Shed, Level::Refuse];

    /// Its name, as reports and metrics show it.
    pub fn name(self) -> &'static str {
        match self {
            Level::Normal => "normal",
            Level::Warn => "warn",
            Level::Shed => "shed",
            Level::Refuse => "refuse",
        }
    }

    pub(crate) fn from_number(number: u8) -> Level {
        Level::ALL.get(usize::from(number)).copied().unwrap_or(Level::Refuse)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
