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
    /// By what is in use alone.
    filled: Level,
}

impl Pressure {
    /// At [`Level::Normal`], with no reading yet.
    pub fn new(marks: Watermarks) -> Pressure {
        Pressure { marks, growth: Growth::default(), filled: Level::Normal }
    }

    /// Takes note of a reading and says the level that it leads to.
    pub fn observe(&mut self, reading: &Reading) -> Level {
        let Watermarks { growth_bytes_per_second: rate, growth_window: window, .. } = self.marks;
        let growing = self.growth.observe(reading.at, reading.memory_bytes, rate, window);
        let risen = self.reached(reading, 0);
        let held = self.reached(reading, self.marks.band_percent);
        self.filled = risen.max(held.min(self.filled));
        if growing { self.filled.max(Level::Warn) } else { self.filled }
    }

    /// The worst level whose mark, lowered by `band` points, has been reached.
    fn reached(&self, reading: &Reading, band: u8) -> Level {
        let marks = [
            (Level::Refuse, self.marks.refuse_percent),
            (Level::Shed, self.marks.shed_percent),
            (Level::Warn, self.marks.warn_percent),
        ];
        let reached = |percent: u8| {
            let percent = percent.saturating_sub(band);
            is_at(reading.memory_bytes, reading.memory_bytes_max, percent)
                || is_at(reading.fds, reading.fds_max, percent)
        };
        marks.into_iter().find(|(_, mark)| reached(*mark)).map_or(Level::Normal, |(level, _)| level)
    }
}

/// Whether `used` is at least `percent` of `most`.
fn is_at(used: u64, most: Option<u64>, percent: u8) -> bool {
    most.is_some_and(|most| u128::from(used) * 100 >= u128::from(most) * u128::from(percent))
}
