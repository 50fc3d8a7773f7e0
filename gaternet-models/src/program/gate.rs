//! The gates of a step.

/// Where the gates of a step's filters multiply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GatePosition {
    /// After the batch norm, before the residual is added.
    BeforeSum,
    /// After the ReLU: a gate before it would get no gradient while it is closed. Where gates are
    /// 0 or 1 and there is no gradient, both are one.
    AfterRelu,
}

/// The gates of a step's filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gate {
    /// Number of the gated layer.
    pub(crate) slot: usize,
    pub(crate) position: GatePosition,
}
