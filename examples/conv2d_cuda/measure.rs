//! The time of one call.

use std::time::{Duration, Instant};

use anyhow::Result;
use gaternet::cli::conv_layers::{Gating, Op};
use gaternet::cli::timing::medians_in_turns;
use gaternet::core::Ctx;
use gaternet::kernels::Conv2dDims;
use gaternet::kernels::cuda::conv2d::{self, Backward, Forward};
use gaternet::kernels::cuda::layout::{Rows, stride};
use gaternet::kernels::cuda::{CudaActiveFilters, CudaBuffer, CudaDevice, CudaGraph, bf16};
use rand::RngExt;

/// Calls of a graph at most.
const MOST_COPIES: usize = 8;

/// Some calls of one op on different buffers, as a graph.
pub(crate) struct Convolution {
    graph: CudaGraph,
    calls: usize,
}

/// What one call reads and writes.
struct Operands {
    active: Option<CudaActiveFilters>,
    input: CudaBuffer<bf16>,
    output: CudaBuffer<bf16>,
}

impl Convolution {
    /// `rotate` is the size of all activations of the graph together, in bytes.
    pub(crate) fn new(
        device: &CudaDevice,
        dims: Conv2dDims,
        op: Op,
        gating: Gating,
        density: f64,
        rotate: usize,
    ) -> Result<Convolution> {
        let rows = if gating == Gating::Input { Rows::Channels } else { Rows::Filters };
        let input_len = dims.batch() * dims.in_plane() * stride(dims.in_channels());
        let output_len = dims.batch() * dims.out_plane() * stride(dims.out_channels());
        let bytes = (input_len + output_len) * size_of::<bf16>();
        let calls = rotate.div_ceil(bytes).clamp(1, MOST_COPIES);
        let mut random = Ctx::train(1);
        let mut noise = |len: usize, scale: f32| -> Vec<bf16> {
            (0..len).map(|_| bf16::from_f32(scale * random.rng().random_range(-1.0..1.0))).collect()
        };
        let weight_scale = 1.0 / ((dims.in_channels() * dims.taps()) as f32).sqrt();
        let (input, output) = (noise(input_len, 1.0), noise(output_len, 1.0));
        let weight = CudaBuffer::from_slice(device, &noise(rows.weight_len(&dims), weight_scale))?;
        let mut grad_weight = CudaBuffer::<f32>::zeros(device, rows.weight_len(&dims))?;
        let scratch_len = conv2d::backward_weight_scratch_len(device, &dims, rows);
        let mut scratch = CudaBuffer::<f32>::zeros(device, scratch_len)?;

        let mut operands = Vec::new();
        for seed in 0..calls {
            let filters = rows.count(&dims);
            let active = match gating {
                Gating::None => None,
                _ => Some(active(device, seed as u64, dims.batch(), filters, density)?),
            };
            let input = CudaBuffer::from_slice(device, &input)?;
            operands.push(Operands {
                active,
                input,
                output: CudaBuffer::from_slice(device, &output)?,
            });
        }
        let mut work = || {
            operands.iter_mut().try_for_each(|Operands { active, input, output }| {
                let active = active.as_ref();
                match op {
                    Op::Forward => {
                        let epilogue = Forward::default();
                        conv2d::forward(&dims, rows, active, input, &weight, epilogue, output)
                    }
                    Op::BackwardInput => {
                        let epilogue = Backward::default();
                        conv2d::backward_input(
                            &dims, rows, active, output, &weight, epilogue, input,
                        )
                    }
                    Op::BackwardWeight => conv2d::backward_weight(
                        &dims,
                        rows,
                        active,
                        input,
                        output,
                        &mut scratch,
                        &mut grad_weight,
                    ),
                }
            })
        };
        work()?; // loads the kernels
        Ok(Convolution { graph: CudaGraph::capture(device, work)?, calls })
    }
}

/// Lists of gates, each open with probability `density`.
fn active(
    device: &CudaDevice,
    seed: u64,
    batch: usize,
    filters: usize,
    density: f64,
) -> Result<CudaActiveFilters> {
    let mut random = Ctx::train(seed);
    let gate = |_| f32::from(u8::from(random.rng().random_bool(density)));
    let gates: Vec<f32> = (0..batch * filters).map(gate).collect();
    let mut active = CudaActiveFilters::empty(device, batch, filters)?;
    active.refill(&CudaBuffer::from_slice(device, &gates)?, filters, 0)?;
    Ok(active)
}

/// Median seconds of a call of each case, in runs of about `run`.
pub(crate) fn medians(
    device: &CudaDevice,
    cases: &[Convolution],
    run: Duration,
) -> Result<Vec<f64>> {
    let time = |case: &Convolution, launches: usize| -> Result<f64> {
        let start = Instant::now();
        (0..launches).try_for_each(|_| case.graph.launch())?;
        device.synchronize()?;
        Ok(start.elapsed().as_secs_f64() / (launches * case.calls) as f64)
    };
    device.synchronize()?;
    let mut runs = Vec::with_capacity(cases.len());
    for case in cases {
        time(case, 1)?;
        let once = time(case, 1)? * case.calls as f64;
        runs.push((case, ((run.as_secs_f64() / once) as usize).clamp(1, 10_000)));
    }
    medians_in_turns(&mut runs, |(case, launches)| time(case, *launches))
}
