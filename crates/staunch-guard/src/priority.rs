//! What is given up first.

use std::fmt;

/// What a request is worth when not all can be served; the least is shed first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Priority {
    /// Can wait: a prefetch, a report, a crawler.
    Low = 0,
    /// Everything that nobody said anything about.
    #[default]
    Normal = 1,
    /// Somebody waits for it, and would pay for it: a checkout.
    High = 2,
    /// Never refused: a health check, the request of whoever has come to help.
    Critical = 3,
}

impl Priority {
    /// Every priority, the least first.
    pub const ALL: [Priority; 4] =
        [Priority::Low, Priority::Normal, Priority::High, Priority::Critical];

    /// Its name, as metrics show it.
    pub fn name(self) -> &'static str {
        match self {
            Priority::Low => "low",
            Priority::Normal => "normal",
            Priority::High => "high",
            Priority::Critical => "critical",
        }
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
