//! Plain-text tables.

use crate::report::{OutputError, say};

/// Names in the left column, values aligned behind them.
pub(crate) fn print_table(rows: &[(&str, String)]) -> Result<(), OutputError> {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    rows.iter().try_for_each(|(name, value)| say!("{name:width$}  {value}"))
}

/// `0.7123` as `71.23 %`.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

/// `40814250` as `40.81 M`.
pub(crate) fn millions(count: f64) -> String {
    format!("{:.2} M", count / 1e6)
}
