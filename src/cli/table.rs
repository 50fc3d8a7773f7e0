//! Plain-text tables.

use crate::cli::report::{OutputError, say};

/// Names in the left column, values aligned behind them.
///
/// # Errors
/// If stdout cannot be written.
pub fn print_table(rows: &[(&str, String)]) -> Result<(), OutputError> {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    rows.iter().try_for_each(|(name, value)| say!("{name:width$}  {value}"))
}

/// `0.7123` as `71.23 %`.
pub fn percent(fraction: f64) -> String {
    format!("{:.2} %", 100.0 * fraction)
}

/// `x` to as many parts of 1: `rounded(0.1234, 100.0)` is 0.12.
pub fn rounded(x: f64, parts: f64) -> f64 {
    (x * parts).round() / parts
}

/// `40814250` as `40.81 M`.
pub fn millions(count: f64) -> String {
    format!("{:.2} M", count / 1e6)
}
