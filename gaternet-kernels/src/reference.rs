//! The specification: naive f64 loops that every kernel is tested against.
