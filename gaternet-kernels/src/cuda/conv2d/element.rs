//! The element types of a convolution, and which kernels are for each.

use half::bf16;

use super::super::buffer::CudaElement;
use super::super::launch::Kernel;
use super::super::source::{Source, source};

pub(in super::super) static SOURCES: [&Source; 4] =
    [&SOURCE, &F32_SOURCE, &WEIGHT_GRAD_SOURCE, &WGMMA_SOURCE];
static SOURCE: Source = source!("conv2d.cu", ["conv2d.cuh", "conv2d_epilogue.cuh", "dev.cuh"]);
static WGMMA_SOURCE: Source = source!(
    "conv2d_wgmma.cu",
    ["conv2d.cuh", "conv2d_epilogue.cuh", "dev.cuh", "dev90.cuh"],
    Some("sm_90a")
);
static F32_SOURCE: Source =
    source!("conv2d_f32.cu", ["conv2d.cuh", "conv2d_epilogue.cuh", "dev.cuh"]);
static WEIGHT_GRAD_SOURCE: Source = source!("conv2d_weight_grad.cu", ["conv2d.cuh", "dev.cuh"]);

/// What activations and weights are made of: bf16 or f32.
pub trait ConvElement: CudaElement {
    #[doc(hidden)]
    const KERNELS: &'static Kernels;
    #[doc(hidden)]
    const WEIGHT_GRAD: &'static WeightGradKernels;
}

/// The kernels for one element, and their tiles.
#[derive(Debug)]
#[doc(hidden)]
pub struct Kernels {
    pub(super) to_rows: Kernel,
    pub(super) from_rows: Kernel,
    /// Of a block.
    pub(super) threads: u32,
    /// Outputs of a block; 0 if every place of the target's stride is one block.
    pub(super) tile_outputs: usize,
    /// Bytes of shared memory, without the lists of where rows begin.
    pub(super) tile_bytes: usize,
    /// Whether *to rows* has such a list, of the block's outputs.
    pub(super) lists_outputs: bool,
    /// Whether *from rows* has one, of all active rows.
    pub(super) lists_rows: bool,
    /// Those to use instead where it is worth it.
    pub(super) wgmma: Option<&'static Kernels>,
}

/// The kernels of the gradient of the weight.
#[derive(Debug)]
#[doc(hidden)]
pub struct WeightGradKernels(pub(super) WeightGradKind);

#[derive(Debug)]
pub(super) enum WeightGradKind {
    /// For weights of at most 64 rows and of more, and the sum of what groups of samples give.
    TensorCores { tiles_of_64: Kernel, tiles_of_128: Kernel, sum_splits: Kernel },
    /// One for all.
    Plain(Kernel),
}

/// Pixels of a block, in all kernels.
pub(super) const TILE_PIXELS: usize = 128;

/// Those of compute capability 9.0.
static WGMMA: Kernels = Kernels {
    to_rows: Kernel { source: &WGMMA_SOURCE, name: "conv2d_wgmma_to_rows" },
    from_rows: Kernel { source: &WGMMA_SOURCE, name: "conv2d_wgmma_from_rows" },
    threads: 256,
    tile_outputs: 128,
    tile_bytes: 64 << 10,
    lists_outputs: true,
    lists_rows: true,
    wgmma: None,
};

impl ConvElement for bf16 {
    const KERNELS: &'static Kernels = &Kernels {
        to_rows: Kernel { source: &SOURCE, name: "conv2d_to_rows" },
        from_rows: Kernel { source: &SOURCE, name: "conv2d_from_rows" },
        threads: 128,
        tile_outputs: 64,
        tile_bytes: 48 << 10,
        lists_outputs: false,
        lists_rows: true,
        wgmma: Some(&WGMMA),
    };

    const WEIGHT_GRAD: &'static WeightGradKernels =
        &WeightGradKernels(WeightGradKind::TensorCores {
            tiles_of_64: Kernel { source: &WEIGHT_GRAD_SOURCE, name: "conv2d_weight_grad_64" },
            tiles_of_128: Kernel { source: &WEIGHT_GRAD_SOURCE, name: "conv2d_weight_grad_128" },
            sum_splits: Kernel { source: &WEIGHT_GRAD_SOURCE, name: "conv2d_sum_splits" },
        });
}

impl ConvElement for f32 {
    const KERNELS: &'static Kernels = &Kernels {
        to_rows: Kernel { source: &F32_SOURCE, name: "conv2d_f32_to_rows" },
        from_rows: Kernel { source: &F32_SOURCE, name: "conv2d_f32_from_rows" },
        threads: 128,
        tile_outputs: 0,
        tile_bytes: 16,
        lists_outputs: false,
        lists_rows: false,
        wgmma: None,
    };

    const WEIGHT_GRAD: &'static WeightGradKernels =
        &WeightGradKernels(WeightGradKind::Plain(Kernel {
            source: &F32_SOURCE,
            name: "conv2d_f32_weight_grad",
        }));
}
