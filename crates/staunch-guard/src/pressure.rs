//! From one reading after another to a level that does not flap.

use crate::{Level, Reading, Watermarks, growth::Growth};

#[cfg(test)]
mod tests;

/// The level of a process, reading after reading.
///
/// It rises at once, to any level; it is left only once both resources are `band_percent` points
/// below the mark where it began. Growth of memory warns, and does no more.
#[derive(Debug)]
pub struct Pressure {
    marks: Watermarks,
    growth: Growth,
    growing: bool,
    /// By what is in use alone.
    filled: Level,
}

impl Pressure {
    /// At [`Level::Normal`], with no reading yet.
    pub fn new(marks: Watermarks) -> Pressure {
        Pressure { marks, growth: Growth::default(), growing: false, filled: Level::Normal }
    }

    /// Takes note of a reading and says the level that it leads to.
    pub fn observe(&mut self, reading: &Reading) -> Level {
        let Watermarks { growth_bytes_per_second: rate, growth_window: window, .. } = self.marks;
        let held = reading.held_bytes.unwrap_or(reading.memory_bytes);
        // A figure that is known already adds nothing.
        let measured = reading.at.saturating_sub(reading.held_age);
        self.growing = self.growth.observe(measured, held, rate, window);
        let risen = self.reached(reading, 0);
        let held = self.reached(reading, self.marks.band_percent);
        self.filled = risen.max(held.min(self.filled));
        if self.growing { self.filled.max(Level::Warn) } else { self.filled }
    }

    /// Whether memory has been growing for long.
    pub fn is_growing(&self) -> bool {
        self.growing
    }

    /// The worst level whose mark, lowered by `band` points, has been reached.
    fn reached(&self, reading: &Reading, band: u8) -> Level {
        let reached = |level: &Level| {
            let percent = self.marks.percent(*level).saturating_sub(band);
            let is_reached =
                |used, most: Option<u64>| most.is_some_and(|it| is_at(used, it, percent));
            is_reached(reading.memory_bytes, reading.memory_bytes_max)
                || is_reached(reading.fds, reading.fds_max)
        };
        [Level::Refuse, Level::Shed, Level::Warn].into_iter().find(reached).unwrap_or_default()
    }
}

/// Whether `used` is at least `percent` of `most`.
pub(crate) fn is_at(used: u64, most: u64, percent: u8) -> bool {
    u128::from(used) * 100 >= u128::from(most) * u128::from(percent)
}
