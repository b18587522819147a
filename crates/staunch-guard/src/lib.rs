//! How near a process is to the end of its memory or its fds, as one of four [`Level`]s.
//!
//! This is the pure core: no I/O, no clock. Whoever has a [`Reading`] gives it to a [`Pressure`]
//! and is told the level.
//!
//! ```
//! use staunch_guard::{Level, Pressure, Reading, Watermarks};
//!
//! let mut pressure = Pressure::new(Watermarks::default());
//! let reading = Reading { memory_bytes: 91, memory_bytes_max: Some(100), ..Reading::default() };
//! assert_eq!(pressure.observe(&reading), Level::Shed);
//! ```

mod growth;
mod level;
mod pressure;
mod reading;
mod watermarks;

pub use crate::{level::Level, pressure::Pressure, reading::Reading, watermarks::Watermarks};
