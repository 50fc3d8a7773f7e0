//! An op of one's own with weights and gates: a depthwise convolution, as in MobileNets (Howard et
//! al. 2017). Where a gate is closed, neither its filter runs nor the one before it that it reads.

use std::sync::Arc;

use gaternet::core::nn::{State, scoped};
use gaternet::core::ops::Active;
use gaternet::core::{Backward, Ctx, Error, Parameter, Result, Tensor};
use gaternet::models::{Filters, Inputs, Op, PlanContext, Planned, Pruning, Reads, SampleKernel};
use rayon::prelude::*;

const SIDE: usize = 3;
const TAPS: usize = SIDE * SIDE;

/// A 3x3 convolution with a border of 1 in which filter i reads channel i. State: `weight`
/// (C, 1, 3, 3).
#[derive(Debug, Clone)]
pub(crate) struct Depthwise {
    weight: Parameter,
}

impl Depthwise {
    /// Of `channels` channels, Kaiming normal.
    pub(crate) fn new(channels: usize, ctx: &mut Ctx) -> Result<Depthwise> {
        let deviation = (2.0 / TAPS as f32).sqrt();
        let weight = Tensor::randn([channels, 1, SIDE, SIDE], deviation, ctx.rng())?;
        Ok(Depthwise { weight: Parameter::new(weight) })
    }
}

impl Op for Depthwise {
    fn name(&self) -> &str {
        "depthwise convolution"
    }

    fn shape(&self, inputs: &[[usize; 3]]) -> Result<[usize; 3]> {
        let channels = self.weight.shape().dims()[0];
        if inputs[0][0] == channels {
            return Ok(inputs[0]);
        }
        let rule = "there must be a filter for each channel";
        let got = format!("{channels} filters for {:?}", inputs[0]);
        Err(Error::Shape { op: "depthwise", rule, got })
    }

    fn forward(&self, inputs: &[&Tensor], _: &Active, ctx: &mut Ctx) -> Result<Tensor> {
        let (x, weight) = (inputs[0], self.weight.value(ctx));
        let [_, channels, h, w] = *x.dims() else {
            let rule = "the input must be (N, C, H, W)";
            return Err(Error::Shape { op: "depthwise", rule, got: x.shape().to_string() });
        };
        let mut y = vec![0.0; x.len()];
        let planes = y.par_chunks_exact_mut(h * w).zip(x.data().par_chunks_exact(h * w));
        planes.enumerate().for_each(|(plane, (y, x))| {
            convolve(x, filter(weight.data(), plane % channels), [h, w], y);
        });
        let saved = [x.detach(), weight.detach()];
        Tensor::from_op(y, x.shape(), &[x, &weight], |_| DepthwiseBackward { saved })
    }

    fn plan(&self, at: &mut PlanContext<'_>) -> Result<Planned> {
        let [_, h, w] = at.inputs()[0];
        Ok(Planned::each_sample(Kernel { weight: self.weight.tensor(), size: [h, w] }))
    }

    fn macs(&self, inputs: &[[usize; 3]]) -> u64 {
        (inputs[0].iter().product::<usize>() * TAPS) as u64
    }

    fn filters(&self) -> Option<Filters> {
        let count = self.weight.shape().dims()[0];
        Some(Filters { count, channels: 1, kernel: [SIDE; 2], reads: Reads::Same })
    }

    fn collect(&self, prefix: &str, out: &mut Vec<(String, State)>) {
        out.push((scoped(prefix, "weight"), State::Parameter(self.weight.clone())));
    }

    fn pruned(&self, pruning: Pruning<'_>) -> Result<Option<Arc<dyn Op>>> {
        let mut weight = pruning.per_filter(self.weight.tensor().data(), TAPS);
        for filter in pruning.zero_filters() {
            weight[filter * TAPS..(filter + 1) * TAPS].fill(0.0);
        }
        let shape = [weight.len() / TAPS, 1, SIDE, SIDE];
        Ok(Some(Arc::new(Depthwise { weight: Parameter::new(Tensor::new(weight, shape)?) })))
    }
}

struct Kernel {
    weight: Tensor,
    size: [usize; 2],
}

impl SampleKernel for Kernel {
    fn run(&self, inputs: Inputs<'_>, active: Option<&[u32]>, output: &mut [f32]) -> Result<()> {
        let plane = self.size[0] * self.size[1];
        let mut filter_at = |channel: usize| {
            let x = &inputs.get(0)[channel * plane..(channel + 1) * plane];
            let y = &mut output[channel * plane..(channel + 1) * plane];
            convolve(x, filter(self.weight.data(), channel), self.size, y);
        };
        match active {
            Some(active) => active.iter().for_each(|channel| filter_at(*channel as usize)),
            None => (0..self.weight.dims()[0]).for_each(filter_at),
        }
        Ok(())
    }

    fn weight_bytes(&self) -> usize {
        size_of_val(self.weight.data())
    }
}

#[derive(Debug)]
struct DepthwiseBackward {
    /// x and the weight.
    saved: [Tensor; 2],
}

impl Backward for DepthwiseBackward {
    fn name(&self) -> &'static str {
        "depthwise"
    }

    fn backward(&self, grad: Tensor, needs: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let [x, weight] = &self.saved;
        let [batch, channels, h, w] = *x.dims() else { unreachable!("as in the forward pass") };
        let plane = h * w;
        let grad_x = || {
            let mut grad_x = vec![0.0; x.len()];
            let planes =
                grad_x.par_chunks_exact_mut(plane).zip(grad.data().par_chunks_exact(plane));
            planes.enumerate().for_each(|(number, (grad_x, grad))| {
                // The same convolution, with the filter turned by half a circle.
                let mut turned = [0.0; TAPS];
                turned.copy_from_slice(filter(weight.data(), number % channels));
                turned.reverse();
                convolve(grad, &turned, [h, w], grad_x);
            });
            Tensor::new(grad_x, x.shape())
        };
        let grad_weight = || {
            let mut grad_weight = vec![0.0; channels * TAPS];
            grad_weight.par_chunks_exact_mut(TAPS).enumerate().for_each(|(channel, sums)| {
                for n in 0..batch {
                    let at = (n * channels + channel) * plane;
                    correlate(
                        &x.data()[at..at + plane],
                        &grad.data()[at..at + plane],
                        [h, w],
                        sums,
                    );
                }
            });
            Tensor::new(grad_weight, weight.shape())
        };
        Ok(vec![needs[0].then(grad_x).transpose()?, needs[1].then(grad_weight).transpose()?])
    }
}

fn filter(weight: &[f32], channel: usize) -> &[f32] {
    &weight[channel * TAPS..(channel + 1) * TAPS]
}

/// The pixels whose neighbour at (`dy`, `dx`) - (1, 1) is in the plane too.
fn inside([h, w]: [usize; 2], dy: usize, dx: usize) -> [std::ops::Range<usize>; 2] {
    let along =
        |length: usize, d: usize| usize::from(d == 0)..(length + 1).saturating_sub(d.max(1));
    [along(h, dy), along(w, dx)]
}

/// `y[i] = sum over the taps of weight · x[i + tap - 1]`, zeros around.
fn convolve(x: &[f32], weight: &[f32], [h, w]: [usize; 2], y: &mut [f32]) {
    y.fill(0.0);
    for (tap, weight) in weight.iter().enumerate() {
        let (dy, dx) = (tap / SIDE, tap % SIDE);
        let [rows, columns] = inside([h, w], dy, dx);
        for row in rows {
            let to = row * w + columns.start..row * w + columns.end;
            let from = (row + dy - 1) * w + columns.start + dx - 1;
            let x = &x[from..from + columns.len()];
            y[to].iter_mut().zip(x).for_each(|(y, x)| *y += weight * x);
        }
    }
}

/// Adds to each tap the sum over all pixels of `x[i + tap - 1] · grad[i]`.
fn correlate(x: &[f32], grad: &[f32], [h, w]: [usize; 2], sums: &mut [f32]) {
    for (tap, sum) in sums.iter_mut().enumerate() {
        let (dy, dx) = (tap / SIDE, tap % SIDE);
        let [rows, columns] = inside([h, w], dy, dx);
        for row in rows {
            let grad = &grad[row * w + columns.start..row * w + columns.end];
            let from = (row + dy - 1) * w + columns.start + dx - 1;
            *sum += grad.iter().zip(&x[from..]).map(|(grad, x)| grad * x).sum::<f32>();
        }
    }
}
