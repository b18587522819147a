//! `[guard]`: when the process takes on less, and what it does then.

use std::num::{NonZeroU8, NonZeroU64};
use std::time::Duration;

use crate::reader::Section;
use crate::reader::kinds::{boolean, choices, count, duration, or_word, size};
use crate::size::ByteSize;

/// When the process takes on less, and what it does then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// Between two looks near a mark; five times as long far from all, and ten times while nobody asks for
    /// anything. \[50ms: a second of looks costs two or three thousandths of a core, and what begins between two
    /// of them is bounded\]
    pub every: Duration,
    /// The most resident memory, beside the limit of the control group; the nearer one counts. \[none:
    /// the group's alone\]
    pub memory: Option<NonZeroU64>,
    /// Where the levels begin, in percent of the limit of memory or of descriptors.
    pub marks: GuardMarks,
    /// Memory that grows by so many bytes a second is a warning. \[10MB: a limit of 1GB is then less
    /// than two minutes away\]
    pub growth: NonZeroU64,
    /// For so long must it grow, without a pause. \[10s: longer than filling a cache\]
    pub growth_window: Duration,
    /// What is done at each level.
    pub reactions: GuardReactions,
}

/// Where the levels begin, in percent; in ascending order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuardMarks {
    /// \[75: time for a person to look before anything is refused\]
    pub warn: NonZeroU8,
    /// \[90: what is in flight still needs room to end\]
    pub shed: NonZeroU8,
    /// \[95: the kernel kills at 100, and a burst between two looks is not seen\]
    pub refuse: NonZeroU8,
}

/// What is done at each level, beside saying so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardReactions {
    /// \[purge: it costs nobody anything\]
    pub warn: Vec<GuardReaction>,
    /// \[all that spares those who are being served\]
    pub shed: Vec<GuardReaction>,
    /// \[the same, and whatever may be refused is\]
    pub refuse: Vec<GuardReaction>,
}

/// Something that is done as long as a level lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuardReaction {
    /// The allocator gives back what it keeps for later.
    Purge,
    /// Idle HTTP connections are closed when descriptors run short, the longest idle first.
    CloseIdle,
    /// New streams are answered 503.
    RefuseStreams,
    /// Requests that can wait are answered 503.
    ShedLow,
    /// All but important ones are.
    ShedNormal,
    /// All but health checks are.
    ShedHigh,
    /// New connections are reset; those of the admin endpoint never.
    RefuseConnections,
}

const REACTIONS: [(&str, GuardReaction); 7] = [
    ("purge", GuardReaction::Purge),
    ("close-idle", GuardReaction::CloseIdle),
    ("refuse-streams", GuardReaction::RefuseStreams),
    ("shed-low", GuardReaction::ShedLow),
    ("shed-normal", GuardReaction::ShedNormal),
    ("shed-high", GuardReaction::ShedHigh),
    ("refuse-connections", GuardReaction::RefuseConnections),
];

const EVERY: Duration = Duration::from_millis(50);
const EVERY_MIN: Duration = Duration::from_millis(5);
const EVERY_MAX: Duration = Duration::from_secs(10);
const MEMORY_MIN: ByteSize = ByteSize(1 << 20);
const MEMORY_MAX: ByteSize = ByteSize(1 << 50);
const GROWTH: NonZeroU64 = NonZeroU64::new(10_000_000).unwrap();
const GROWTH_MIN: ByteSize = ByteSize(1_000);
const GROWTH_MAX: ByteSize = ByteSize(1 << 40);
const WINDOW: Duration = Duration::from_secs(10);
const WINDOW_MIN: Duration = Duration::from_secs(1);
const WINDOW_MAX: Duration = Duration::from_hours(1);
const PERCENT_MAX: usize = 100;
const WARN: NonZeroU8 = NonZeroU8::new(75).unwrap();
const SHED: NonZeroU8 = NonZeroU8::new(90).unwrap();
const REFUSE: NonZeroU8 = NonZeroU8::new(95).unwrap();

impl Guard {
    /// `None` if it is switched off.
    pub(crate) fn read(section: &mut Section<'_>) -> Option<Self> {
        let enabled = section.optional("enabled", boolean, true);
        let memory = or_word("none", size(MEMORY_MIN..=MEMORY_MAX));
        let guard = Self {
            every: section.optional("every", duration(EVERY_MIN..=EVERY_MAX), EVERY),
            memory: section.optional("memory", memory, None),
            marks: GuardMarks::read(section),
            growth: section.optional("growth", size(GROWTH_MIN..=GROWTH_MAX), GROWTH),
            growth_window: section.optional(
                "growth_window",
                duration(WINDOW_MIN..=WINDOW_MAX),
                WINDOW,
            ),
            reactions: GuardReactions::read(section),
        };
        enabled.then_some(guard)
    }
}

impl GuardMarks {
    fn read(section: &mut Section<'_>) -> Self {
        let mut mark = |key, default| section.optional(key, count(1..=PERCENT_MAX), default);
        let marks = Self {
            warn: mark("warn", WARN),
            shed: mark("shed", SHED),
            refuse: mark("refuse", REFUSE),
        };
        for (key, mark, above, next) in
            [("warn", marks.warn, "shed", marks.shed), ("shed", marks.shed, "refuse", marks.refuse)]
        {
            if mark > next {
                section.wrong(key, &format!("must be at most `{above}`, which is {next}"));
            }
        }
        marks
    }
}

impl GuardReactions {
    fn read(section: &mut Section<'_>) -> Self {
        use GuardReaction::{
            CloseIdle, Purge, RefuseConnections, RefuseStreams, ShedHigh, ShedLow,
        };
        let reactions = || choices(&REACTIONS);
        Self {
            warn: section.optional("at_warn", reactions(), vec![Purge]),
            shed: section.optional(
                "at_shed",
                reactions(),
                vec![Purge, CloseIdle, RefuseStreams, ShedLow],
            ),
            refuse: section.optional(
                "at_refuse",
                reactions(),
                vec![Purge, CloseIdle, RefuseStreams, ShedHigh, RefuseConnections],
            ),
        }
    }
}
