//! The points of F(4x4, 3x3): 0, ±A, ±B and infinity. A = 1/√2, B = √2 round less than the usual 1
//! and 2.

pub(crate) const A: f32 = std::f32::consts::FRAC_1_SQRT_2;
pub(crate) const B: f32 = std::f32::consts::SQRT_2;
