//! Takes on less work before memory or fds run out.
//!
//! A [`Guard`] looks every 50 ms, more rarely far from any mark, at what a process uses of its
//! memory and of its fds, and at how its memory grows. From that comes one of four [`Level`]s, and at
//! each of them it reacts: it says so, has memory given back, refuses new streams, sheds requests,
//! those of the least [`Priority`] first.
//!
//! # The parts
//! | | |
//! | --- | --- |
//! | [`Guard`], [`GuardOptions`] | the one that looks |
//! | [`Watermarks`], [`Reactions`], [`Reaction`] | where each level begins, and what is done there |
//! | [`Guard::admit`], [`Admission`], [`Refused`] | whether a request may begin |
//! | [`Guard::on`], [`Guard::closes_idle`], [`Registration`] | who gives something back |
//! | [`GradientOptions`] | a limit of concurrency that follows how fast answers are made |
//! | [`MemorySource`], [`Allocator`] | figures of your own |
//! | [`Pressure`], [`Reading`], [`Gradient`] | the pure core: no I/O, no clock |
//!
//! # Features
//! `jemalloc`: `Jemalloc`, to read and purge it. `tower`: `Shed`, a layer for HTTP services.
//!
//! # What holds
//! 1. A level begins with the look that sees its mark reached, and is left only below its band.
//! 2. [`Priority::Critical`] is never refused.
//! 3. What was admitted between two looks fits below the mark of [`Level::Refuse`], if each takes at
//!    most [`GuardOptions::request_bytes`] and `request_fds`.
//! 4. When the pressure is over, so are the reactions: nothing is to be reset.
//! 5. What is not known, a limit or an allocator, is said once, and not guessed.

mod admission;
mod closing;
mod growth;
mod guard;
mod level;
mod limiter;
mod options;
mod pressure;
mod priority;
mod reaction;
mod reading;
mod registry;
mod report;
mod room;
mod sampler;
mod shared;
#[cfg(feature = "tower")]
mod shed;
mod shrinkers;
mod source;
mod status;
mod stir;
mod watermarks;

#[cfg(feature = "tower")]
pub use crate::shed::{Shed, ShedBody, ShedService, Shedding, is_stream};
#[cfg(feature = "jemalloc")]
pub use crate::source::jemalloc::{Jemalloc, JemallocError};
pub use crate::{
    admission::{Admission, Refused, Why},
    closing::Closing,
    guard::Guard,
    level::Level,
    limiter::gradient::{Gradient, GradientError, GradientOptions},
    options::{GuardOptions, GuardOptionsError},
    pressure::Pressure,
    priority::Priority,
    reaction::{Reaction, Reactions},
    reading::Reading,
    registry::guards,
    report::Cause,
    shrinkers::{Pressing, Registration},
    source::{
        allocator::{Allocated, Allocator},
        memory::{MemorySource, Usage},
    },
    status::GuardStatus,
    watermarks::Watermarks,
};
/// `Shed::layer` is its method.
#[cfg(feature = "tower")]
pub use tower_layer::Layer;
