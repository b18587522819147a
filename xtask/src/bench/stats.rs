//! Medians, ranges and slopes.

/// The middle and the ends of a set of values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Spread {
    /// `None` when there are no values. Of an even number the median is the mean of the two
    /// in the middle.
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (&min, &max) = (sorted.first()?, sorted.last()?);
        let (low, high) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        Some(Self { median: f64::midpoint(low, high), min, max })
    }
}

/// The line that fits best through values that are one apart (least squares).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Line {
    /// Of the values, from one to the next.
    pub(super) slope: f64,
    /// What the slope may be wrong by: with 95 % certainty it is within this of the true one, if the
    /// values lie about a line by chance.
    pub(super) error: f64,
}

/// Values of this many neighbours are taken together, so that what stays for a while does not count
/// as often as it was looked at.
const BLOCKS: usize = 20;

/// Student's t for 95 % and 18 degrees of freedom: two less than there are blocks.
const T: f64 = 2.101;

impl Line {
    pub(super) fn through(values: &[f64]) -> Line {
        let count = values.len() as f64;
        let middle = (count - 1.0) / 2.0;
        let mean = values.iter().sum::<f64>() / count.max(1.0);
        let (mut with, mut of) = (0.0, 0.0);
        for (index, value) in values.iter().enumerate() {
            let x = index as f64 - middle;
            with += x * (value - mean);
            of += x * x;
        }
        let slope = if of > 0.0 { with / of } else { 0.0 };
        let off = |(index, value): (usize, &f64)| value - mean - slope * (index as f64 - middle);
        let off: f64 = values.iter().enumerate().map(off).map(|off| off * off).sum();
        let error = if count > 2.0 { T * (off / (count - 2.0) / of).sqrt() } else { f64::INFINITY };
        Line { slope, error }
    }

    /// Through the means of twenty stretches; the slope is still that from one value to the next.
    pub(super) fn through_blocks(values: &[f64]) -> Line {
        let length = (values.len() / BLOCKS).max(1);
        let mean = |block: &[f64]| block.iter().sum::<f64>() / block.len() as f64;
        let blocks: Vec<f64> = values.chunks_exact(length).map(mean).collect();
        let Line { slope, error } = Line::through(&blocks);
        Line { slope: slope / length as f64, error: error / length as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(values: &[f64], median: f64, min: f64, max: f64) {
        assert_eq!(Spread::of(values.iter().copied()), Some(Spread { median, min, max }));
    }

    #[test]
    fn a_spread_has_median_and_ends() {
        check(&[3.0], 3.0, 3.0, 3.0);
        check(&[9.0, 1.0, 2.0], 2.0, 1.0, 9.0);
        check(&[4.0, 1.0, 3.0, 2.0], 2.5, 1.0, 4.0);
    }

    #[test]
    fn nothing_has_no_spread() {
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn a_line_has_its_slope_and_says_how_sure_it_is() {
        let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
        let line = Line::through(&[1.0, 3.0, 5.0]);
        assert!(near(line.slope, 2.0) && near(line.error, 0.0));
        assert!(near(Line::through(&[4.0; 7]).slope, 0.0));
        assert!(near(Line::through(&[]).slope, 0.0) && near(Line::through(&[3.0]).slope, 0.0));
        let rising: Vec<f64> = (0..200).map(|at| f64::from(at) + f64::from(at % 7)).collect();
        let line = Line::through_blocks(&rising);
        assert!((line.slope - 1.0).abs() < line.error && line.error < 0.05, "{line:?}");
        let flat: Vec<f64> = (0..200).map(|at| f64::from(at * 37 % 11)).collect();
        let line = Line::through_blocks(&flat);
        assert!(line.slope.abs() < line.error, "{line:?}");
    }
}
