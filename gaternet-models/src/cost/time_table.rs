//! Time of a convolution over its densities, interpolated between measured ones.

use gaternet_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// Seconds over the densities of a convolution's filters and of its channels: linear in each of the
/// two between measured densities, extrapolated from the nearest two beyond them, never negative.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Rows")]
pub struct TimeTable {
    /// Measured densities, two at least, ascending.
    densities: Vec<f64>,
    /// Seconds at each density of the filters (rows) and of the channels (columns).
    seconds: Vec<Vec<f64>>,
}

/// The rows of a file, which may be no valid table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rows {
    densities: Vec<f64>,
    seconds: Vec<Vec<f64>>,
}

impl TryFrom<Rows> for TimeTable {
    type Error = Error;

    fn try_from(Rows { densities, seconds }: Rows) -> Result<TimeTable> {
        TimeTable { densities, seconds }.checked()
    }
}

/// Seconds at a pair of densities, and their derivatives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Time {
    /// Seconds, not negative.
    pub seconds: f64,
    /// Change of the seconds with the density of the filters.
    pub by_filters: f64,
    /// Change of the seconds with the density of the channels.
    pub by_channels: f64,
}

impl TimeTable {
    /// Makes the table of `seconds(filters, channels)`, whose arguments are indices of `densities`.
    ///
    /// # Errors
    /// [`Error::Config`] with the table unless the densities are two or more, ascending, and the
    /// times finite.
    pub fn new(densities: &[f64], seconds: impl Fn(usize, usize) -> f64) -> Result<TimeTable> {
        let row =
            |filters| (0..densities.len()).map(|channels| seconds(filters, channels)).collect();
        let rows = (0..densities.len()).map(row).collect();
        TimeTable { densities: densities.to_vec(), seconds: rows }.checked()
    }

    /// The table with all times multiplied by `factor`.
    #[must_use]
    pub fn scaled(&self, factor: f64) -> TimeTable {
        let scaled = |row: &Vec<f64>| row.iter().map(|seconds| factor * seconds).collect();
        let seconds = self.seconds.iter().map(scaled).collect();
        TimeTable { densities: self.densities.clone(), seconds }
    }

    fn checked(self) -> Result<TimeTable> {
        let TimeTable { densities, seconds } = &self;
        let ascending = densities.len() >= 2 && densities.is_sorted_by(|a, b| a < b);
        let square = seconds.len() == densities.len()
            && seconds.iter().all(|row| row.len() == densities.len());
        if ascending && square && seconds.iter().flatten().all(|seconds| seconds.is_finite()) {
            return Ok(self);
        }
        let rule = "must hold a finite number for each pair of two ascending densities or more";
        Err(Error::Config { field: "time table", value: format!("{self:?}"), rule })
    }

    /// The time at these densities.
    #[must_use]
    pub fn at(&self, filters: f64, channels: f64) -> Time {
        let ((row, down, height), (column, along, width)) =
            (self.cell(filters), self.cell(channels));
        let side = |row: usize| {
            let [left, right] = [column, column + 1].map(|column| self.seconds[row][column]);
            (left + along * (right - left), (right - left) / width)
        };
        let ((above, above_slope), (below, below_slope)) = (side(row), side(row + 1));
        let seconds = above + down * (below - above);
        if seconds <= 0.0 {
            return Time { seconds: 0.0, by_filters: 0.0, by_channels: 0.0 };
        }
        let by_channels = above_slope + down * (below_slope - above_slope);
        Time { seconds, by_filters: (below - above) / height, by_channels }
    }

    /// Number of the measured density before this one, the fraction of the way to the next, and the
    /// length of the way.
    fn cell(&self, density: f64) -> (usize, f64, f64) {
        let next = self.densities.iter().position(|measured| density <= *measured);
        let next = next.unwrap_or(self.densities.len() - 1).max(1);
        let [before, after] = [self.densities[next - 1], self.densities[next]];
        (next - 1, (density - before) / (after - before), after - before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DENSITIES: [f64; 4] = [0.1, 0.4, 0.7, 1.0];

    fn close(got: f64, want: f64) {
        assert!((got - want).abs() < 1e-12, "{got}, not {want}");
    }

    #[test]
    fn what_was_measured_comes_back() {
        let seconds = |f: usize, c: usize| (7 * f * f + 3 * c + f * c + 1) as f64;
        let table = TimeTable::new(&DENSITIES, seconds).expect("a table");
        for (f, filters) in DENSITIES.into_iter().enumerate() {
            for (c, channels) in DENSITIES.into_iter().enumerate() {
                close(table.at(filters, channels).seconds, seconds(f, c));
                close(table.scaled(0.5).at(filters, channels).seconds, 0.5 * seconds(f, c));
            }
        }
    }

    #[test]
    fn work_that_is_bilinear_is_met_everywhere_with_its_slopes() {
        let seconds = |f: f64, c: f64| 0.1 + 0.3 * f + 0.2 * c + 0.9 * f * c;
        let table = TimeTable::new(&DENSITIES, |f, c| seconds(DENSITIES[f], DENSITIES[c]));
        let table = table.expect("a table");
        for (f, c) in [(0.25, 0.5), (0.05, 0.99), (0.0, 0.0), (0.75, 0.1), (1.0, 0.3)] {
            let time = table.at(f, c);
            close(time.seconds, seconds(f, c));
            close(time.by_filters, 0.3 + 0.9 * c);
            close(time.by_channels, 0.2 + 0.9 * f);
        }
    }

    #[test]
    fn no_time_is_negative() {
        let table = TimeTable::new(&DENSITIES, |f, _| f as f64).expect("a table");
        let none = Time { seconds: 0.0, by_filters: 0.0, by_channels: 0.0 };
        assert_eq!(table.at(0.0, 0.5), none);
        close(table.at(0.25, 0.5).seconds, 0.5);
    }

    #[test]
    fn what_is_no_table_is_refused() {
        let table = |densities: &[f64], seconds: f64| TimeTable::new(densities, |_, _| seconds);
        for bad in [table(&[0.5], 1.0), table(&[0.5, 0.2], 1.0), table(&[0.1, 1.0], f64::NAN)] {
            let text = bad.expect_err("no table").to_string();
            assert!(text.contains("time table"), "{text}");
        }
        let json = r#"{"densities": [0.1, 1.0], "seconds": [[1.0]]}"#;
        let text = serde_json::from_str::<TimeTable>(json).expect_err("one row").to_string();
        assert!(text.contains("time table"), "{text}");
    }
}
