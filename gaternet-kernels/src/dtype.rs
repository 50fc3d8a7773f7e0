//! Types of the numbers that are multiplied.

use std::fmt;

/// The type of the numbers that are multiplied. Inputs, sums and outputs are f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum DType {
    /// Single precision, the default.
    #[default]
    F32,
    /// bfloat16: the upper 16 bits of an f32, which are 8 significant ones. Input and weights, or
    /// what Winograd's algorithm transforms them to, are rounded to the nearest, ties to even;
    /// products are exact.
    ///
    /// For normally distributed inputs, outputs differ from those in f32 by 0.0024 of their root
    /// mean square (direct), 0.004 (F(2x2)) or 0.012 (F(4x4)), and skipping has the bits of
    /// masking. It is fast where the processor has AVX512-BF16, and slower than f32 elsewhere.
    Bf16,
}

impl DType {
    /// All types.
    pub const ALL: [DType; 2] = [DType::F32, DType::Bf16];

    /// Returns the bytes of a number.
    #[must_use]
    pub fn itemsize(self) -> usize {
        match self {
            DType::F32 => 4,
            DType::Bf16 => 2,
        }
    }
}

/// Writes `f32` or `bf16`.
impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            DType::F32 => "f32",
            DType::Bf16 => "bf16",
        })
    }
}
