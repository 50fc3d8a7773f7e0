//! Time of a convolution over its densities, between the measured ones.

/// The densities that are measured: none of those that people ask for most often, which would be
/// measurements instead of predictions, but all.
pub(super) const DENSITIES: [f64; 4] = [0.1, 0.4, 0.7, 1.0];

/// Seconds at the densities of the filters (rows) and of the channels (columns).
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Table {
    seconds: [[f64; DENSITIES.len()]; DENSITIES.len()],
}

impl Table {
    /// `seconds(filters, channels)` at numbers of [`DENSITIES`].
    pub(super) fn new(seconds: impl Fn(usize, usize) -> f64) -> Table {
        let row = |filters| std::array::from_fn(|channels| seconds(filters, channels));
        Table { seconds: std::array::from_fn(row) }
    }

    /// Linear in each of the densities between two that were measured, and below the least as between the
    /// least two; never negative.
    pub(super) fn at(&self, filters: f64, channels: f64) -> f64 {
        let ((row, down), (column, along)) = (cell(filters), cell(channels));
        let [above, below] = [row, row + 1].map(|row| {
            let [left, right] = [column, column + 1].map(|column| self.seconds[row][column]);
            left + along * (right - left)
        });
        (above + down * (below - above)).max(0.0)
    }
}

/// Number of the measured density before this one, and the share of the way to the next.
fn cell(density: f64) -> (usize, f64) {
    let next = DENSITIES.iter().position(|measured| density <= *measured);
    let next = next.unwrap_or(DENSITIES.len() - 1).max(1);
    let [before, after] = [DENSITIES[next - 1], DENSITIES[next]];
    (next - 1, (density - before) / (after - before))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(got: f64, want: f64) {
        assert!((got - want).abs() < 1e-12, "{got}, not {want}");
    }

    #[test]
    fn what_was_measured_comes_back() {
        let seconds = |f: usize, c: usize| (7 * f * f + 3 * c + f * c + 1) as f64;
        let table = Table::new(seconds);
        for (f, filters) in DENSITIES.into_iter().enumerate() {
            for (c, channels) in DENSITIES.into_iter().enumerate() {
                close(table.at(filters, channels), seconds(f, c));
            }
        }
    }

    #[test]
    fn work_that_is_bilinear_is_met_everywhere() {
        let seconds = |f: f64, c: f64| 0.1 + 0.3 * f + 0.2 * c + 0.9 * f * c;
        let table = Table::new(|f, c| seconds(DENSITIES[f], DENSITIES[c]));
        for (f, c) in [(0.25, 0.5), (0.05, 0.99), (0.0, 0.0), (0.75, 0.1), (1.0, 0.3)] {
            close(table.at(f, c), seconds(f, c));
        }
    }

    #[test]
    fn no_time_is_negative() {
        let table = Table::new(|f, _| f as f64);
        close(table.at(0.0, 0.5), 0.0);
        close(table.at(0.25, 0.5), 0.5);
    }
}
