//! Names of the buffers of a pass, before they are made.

/// An activation or its gradient, (N, P, S); dense, or compact by the gates of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Map(pub(super) usize);

/// Vectors (N, C) of f32, or their gradients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Row(pub(super) usize);

/// A value of a network on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// Maps, dense.
    Map(Map),
    /// The active channels of maps, by the gates of a slot.
    Open(Map, usize),
    /// Vectors.
    Row(Row),
}

/// What the channels of a sample are multiplied by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Factors {
    /// The gates of a slot.
    Gates(usize),
    /// (N, C), as in squeeze-and-excitation.
    Row(Row),
}
