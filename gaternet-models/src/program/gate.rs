//! The gates of a step: which, and where they multiply.

/// The place in a step at which the gates of its filters multiply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GatePosition {
    /// The gate multiplies after the batch norm, before the residual is added.
    BeforeSum,
    /// The gate multiplies after the ReLU: before it, a closed gate would get no gradient. Where
    /// gates are 0 or 1 and there is no gradient, both positions give the same.
    AfterRelu,
}

/// The gates of a step's filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gate {
    /// Number of the gated layer.
    pub(crate) layer: usize,
    pub(crate) position: GatePosition,
}
