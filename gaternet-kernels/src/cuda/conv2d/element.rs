//! The types of numbers of a convolution, and the kernels for each.

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

/// The type of the numbers of activations and weights: bf16 or f32.
pub trait ConvElement: CudaElement {
    #[doc(hidden)]
    const KERNELS: &'static Kernels;
    #[doc(hidden)]
    const WEIGHT_GRAD: &'static WeightGradKernels;
}

/// The kernels for one type, and the sizes of their tiles.
#[derive(Debug)]
#[doc(hidden)]
pub struct Kernels {
    pub(super) to_rows: Kernel,
    pub(super) from_rows: Kernel,
    /// The threads of a block.
    pub(super) threads: u32,
    /// The outputs of a block; 0 if every place of the target's stride is a block of its own.
    pub(super) tile_outputs: usize,
    /// The bytes of shared memory, without the lists of where rows begin.
    pub(super) tile_bytes: usize,
    /// Whether *to rows* lists where the rows of a block's outputs begin.
    pub(super) lists_outputs: bool,
    /// Whether *from rows* lists where all active rows begin.
    pub(super) lists_rows: bool,
    /// The kernels with `wgmma`, to be used instead where it is worth it.
    pub(super) wgmma: Option<&'static Kernels>,
}

/// The kernels of the gradient of the weight.
#[derive(Debug)]
#[doc(hidden)]
pub struct WeightGradKernels(pub(super) WeightGradKind);

#[derive(Debug)]
pub(super) enum WeightGradKind {
    /// Kernels on tensor cores, for weights of at most 64 rows and of more, and the sum of the
    /// results of groups of samples.
    TensorCores { tiles_of_64: Kernel, tiles_of_128: Kernel, sum_splits: Kernel },
    /// One kernel for all weights.
    Plain(Kernel),
}

/// The pixels of a block in all kernels.
pub(super) const TILE_PIXELS: usize = 128;

/// The kernels for compute capability 9.0.
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
