//! Options of a plan.

use gaternet_kernels::DType;

/// Options of a plan: size and number of the images, skipping, and the type of products.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanOptions {
    /// Size (H, W) of the images; 32x32 by default.
    pub size: [usize; 2],
    /// Whether inactive filters are left out, the default. Otherwise they are computed and their
    /// output is set to 0, with the same bits: what gates cost in an implementation that masks.
    pub skip: bool,
    /// Number of images of a usual run, 64 by default. Any number can be run; with many weights,
    /// other algorithms are the fastest for one image than for several that share them.
    pub batch: usize,
    /// Type of the operands of all convolutions, those of the gater included; f32 by default.
    /// Activations, sums and all other layers are f32 with each.
    pub dtype: DType,
}

impl Default for PlanOptions {
    fn default() -> PlanOptions {
        PlanOptions { size: [32, 32], skip: true, batch: 64, dtype: DType::F32 }
    }
}
