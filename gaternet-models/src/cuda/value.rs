//! Handles of the buffers of a pass, before they are made.

/// An activation or its gradient, (N, P, S); dense, or compact by the gates of a gated layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Map(pub(super) usize);

/// Vectors (N, C) of f32, or their gradients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Row(pub(super) usize);

/// A value of a network on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// Dense maps.
    Map(Map),
    /// The active channels of maps alone, by the gates of the gated layer with this number.
    Active(Map, usize),
    /// Vectors.
    Row(Row),
}

/// The factors of a sample's channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Factors {
    /// The gates of the gated layer with this number.
    Gates(usize),
    /// Vectors (N, C), as in squeeze-and-excitation.
    Row(Row),
}
