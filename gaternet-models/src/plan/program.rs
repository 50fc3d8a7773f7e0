//! A list of steps, compiled: batch norm folded into weights, weights laid out, buffers shared.

use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use gaternet_core::nn::{BatchNorm2d, Conv2d};
use gaternet_core::{Result, Tensor};
use gaternet_kernels::cpu::conv2d::{Epilogue, Live, Method, Precision, PreparedConv2d};
use gaternet_kernels::cpu::{batch_norm, linear, pool};
use gaternet_kernels::{ActiveFilters, Conv2dDims, Isa, LinearDims, PlaneDims};
use rayon::prelude::*;

use super::kept::{Kept, KeptSlot};
use super::layout::Layout;
use super::steps::{Layer, Step, Steps};
use crate::gate_plan::ConvSlots;

/// Most bytes of weights that images stream one by one. More do not stay in a shared cache of usual size
/// beside the activations, so every image would fetch them from memory.
const CACHED_WEIGHTS: usize = 32 << 20;

/// A network ready to run on images of one size.
pub(super) struct Program {
    isa: Isa,
    ops: Vec<Op>,
    /// Floats of each buffer for one sample.
    buffers: Vec<usize>,
    input: Place,
    output: Place,
    /// Compute closed filters and discard them.
    masks: bool,
    /// Run each op over the whole batch before the next: weights are fetched once a batch, activations
    /// leave the cores' caches.
    pub(super) by_layer: bool,
    /// Memory of the calls that are over. A call takes one, so calls on several threads share none.
    idle: Mutex<Vec<Arena>>,
}

/// Buffers for some samples.
type Arena = Vec<Vec<f32>>;

/// Where a value is.
#[derive(Debug, Clone, Copy)]
struct Place {
    buffer: usize,
    /// Floats of one sample.
    len: usize,
}

/// A compiled step.
struct Op {
    kind: Kind,
    input: Place,
    residual: Option<Place>,
    relu: bool,
    output: Place,
}

enum Kind {
    Conv(Box<PreparedConv2d>, ConvSlots),
    BatchNorm { norm: Norm, plane: usize },
    GlobalAvgPool { channels: usize, plane: usize },
    Linear { dims: LinearDims, weight: Tensor, bias: Tensor },
}

/// The samples of a pass over the steps.
#[derive(Clone, Copy)]
enum Samples {
    /// Number n of the batch, on this thread.
    One(usize),
    /// This many, each op on all threads: a sample on each, or if there are too few, each on all.
    All(usize),
}

impl Samples {
    fn count(self) -> usize {
        match self {
            Samples::One(_) => 1,
            Samples::All(count) => count,
        }
    }
}

impl Program {
    /// Without `kept` no filter has a gate.
    pub(super) fn new(steps: &Steps<'_>, kept: Option<&Kept<'_>>, masks: bool, precision: Precision) -> Result<Program> {
        let isa = Isa::current()?;
        let mut lens: Vec<usize> =
            steps.shapes.iter().map(|shape| shape.iter().product()).collect();
        for (at, step) in steps.steps.iter().enumerate() {
            let (Layer::Conv { number, .. }, Some(kept)) = (&step.layer, kept) else { continue };
            let filters = kept.conv(*number).filters.map(|slot| &kept.slots()[slot]);
            if let Some(KeptSlot { filters, .. }) = filters.filter(|filters| filters.compact) {
                let [_, h, w] = steps.shapes[at + 1];
                lens[at + 1] = filters.len() * h * w;
            }
        }
        let reads = |step: &Step<'_>| [Some(step.input), step.residual].into_iter().flatten();
        let read: Vec<Vec<usize>> =
            steps.steps.iter().map(|step| reads(step).map(|value| value.0).collect()).collect();
        let Layout { buffers, of_value } = Layout::new(&lens, &read);
        let place = |value: usize| Place { buffer: of_value[value], len: lens[value] };
        let mut ops = Vec::with_capacity(steps.steps.len());
        for (at, step) in steps.steps.iter().enumerate() {
            ops.push(Op {
                kind: Kind::new((isa, precision), &step.layer, steps.shapes[step.input.0], kept)?,
                input: place(step.input.0),
                residual: step.residual.map(|value| place(value.0)),
                relu: step.relu,
                output: place(at + 1),
            });
        }
        let (input, output) = (place(0), place(steps.steps.len()));
        let idle = Mutex::default();
        let mut program =
            Program { isa, ops, buffers, input, output, masks, by_layer: false, idle };
        program.by_layer = program.weight_bytes() > CACHED_WEIGHTS;
        Ok(program)
    }

    /// Bytes of the weights as they are laid out, without biases.
    pub(super) fn weight_bytes(&self) -> usize {
        let bytes = |op: &Op| match &op.kind {
            Kind::Conv(conv, _) => conv.weight_bytes(),
            Kind::BatchNorm { .. } | Kind::GlobalAvgPool { .. } => 0,
            Kind::Linear { weight, .. } => size_of_val(weight.data()),
        };
        self.ops.iter().map(bytes).sum()
    }

    /// Floats of one sample, going in.
    pub(super) fn input_len(&self) -> usize {
        self.input.len
    }

    /// Floats of one sample, coming out.
    pub(super) fn output_len(&self) -> usize {
        self.output.len
    }

    /// `input` and `output` hold the same number of samples, `live` the lists of every slot of the plan
    /// for them.
    ///
    /// With a sample for every thread and weights that stay cached, each runs through the whole network on
    /// one: its activations stay in that core's cache. Otherwise each op uses all threads. The bits are the
    /// same.
    pub(super) fn run(
        &self,
        live: &[ActiveFilters],
        input: &[f32],
        output: &mut [f32],
    ) -> Result<()> {
        let count = input.len() / self.input.len;
        if count == 0 {
            return Ok(());
        }
        if self.by_layer || count < rayon::current_num_threads() {
            return self.pass(Samples::All(count), live, input, output);
        }
        let inputs = input.par_chunks_exact(self.input.len);
        let outputs = output.par_chunks_exact_mut(self.output.len);
        // One at a time, because open gates and so times differ by sample.
        inputs
            .zip(outputs)
            .enumerate()
            .with_max_len(1)
            .try_for_each(|(n, (input, output))| self.pass(Samples::One(n), live, input, output))
    }

    fn pass(
        &self,
        samples: Samples,
        live: &[ActiveFilters],
        input: &[f32],
        output: &mut [f32],
    ) -> Result<()> {
        let count = samples.count();
        let taken = self.idle().pop();
        let mut arena = taken.unwrap_or_else(|| vec![Vec::new(); self.buffers.len()]);
        for (buffer, len) in arena.iter_mut().zip(&self.buffers) {
            if buffer.len() < len * count {
                buffer.resize(len * count, 0.0);
            }
        }
        arena[self.input.buffer][..input.len()].copy_from_slice(input);
        for op in &self.ops {
            // Taken out, so that it can be written while its neighbours are read.
            let mut target = mem::take(&mut arena[op.output.buffer]);
            let result = self.op(op, samples, live, &arena, &mut target[..op.output.len * count]);
            arena[op.output.buffer] = target;
            result?;
        }
        output.copy_from_slice(&arena[self.output.buffer][..output.len()]);
        self.idle().push(arena);
        Ok(())
    }

    fn op(
        &self,
        op: &Op,
        samples: Samples,
        live: &[ActiveFilters],
        arena: &Arena,
        output: &mut [f32],
    ) -> Result<()> {
        let count = samples.count();
        let read = |place: Place| &arena[place.buffer][..place.len * count];
        let (input, residual) = (read(op.input), op.residual.map(read));
        match &op.kind {
            Kind::Conv(conv, slots) => {
                let list = |slot: Option<usize>| slot.map(|slot| &live[slot]);
                let (filters, channels) = (list(slots.filters), list(slots.channels));
                let all = Live::default();
                let epilogue = Epilogue { residual, relu: op.relu };
                match filters {
                    _ if !self.masks => {
                        let live = Live { filters, channels };
                        convolve(conv, samples, live, input, epilogue, output)?;
                    }
                    None => convolve(conv, samples, all, input, epilogue, output)?,
                    Some(filters) => {
                        convolve(conv, samples, all, input, Epilogue::default(), output)?;
                        mask(samples, filters, epilogue, output);
                    }
                }
            }
            Kind::BatchNorm { norm, plane } => {
                let dims = PlaneDims { batch: count, channels: norm.mean.len(), plane: *plane };
                norm.forward(self.isa, dims, op.relu, input, output)?;
            }
            Kind::GlobalAvgPool { channels, plane } => {
                let dims = PlaneDims { batch: count, channels: *channels, plane: *plane };
                pool::global_avg_forward(self.isa, dims, input, output)?;
            }
            Kind::Linear { dims, weight, bias } => {
                // A product of one row may sum in another order than that of many: always one.
                let inputs = input.par_chunks_exact(dims.in_features);
                let outputs = output.par_chunks_exact_mut(dims.out_features);
                inputs.zip(outputs).try_for_each(|(input, output)| {
                    linear::forward(*dims, input, weight.data(), Some(bias.data()), output)
                })?;
                if op.relu {
                    output.iter_mut().for_each(|y| *y = relu(*y));
                }
            }
        }
        Ok(())
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Arena>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kind {
    fn new(
        kernels: (Isa, Precision),
        layer: &Layer<'_>,
        [channels, h, w]: [usize; 3],
        kept: Option<&Kept<'_>>,
    ) -> Result<Kind> {
        Ok(match layer {
            Layer::Conv { conv, bn, dims, number } => {
                let slots = kept.map(|kept| kept.conv(*number)).unwrap_or_default();
                let of = |slot: Option<usize>| Some(&kept?.slots()[slot?]);
                let folded = match bn {
                    Some(bn) => fold(conv, bn),
                    None => (conv.weight().tensor().data().to_vec(), vec![0.0; conv.shape()[0]]),
                };
                let conv = prepare(kernels, dims, folded, of(slots.filters), of(slots.channels))?;
                Kind::Conv(conv.into(), slots)
            }
            Layer::BatchNorm(bn) => Kind::BatchNorm { norm: Norm::new(bn), plane: h * w },
            Layer::GlobalAvgPool => Kind::GlobalAvgPool { channels, plane: h * w },
            Layer::Linear(linear) => {
                let (weight, bias) = (linear.weight().tensor(), linear.bias().tensor());
                let [out_features, in_features] = [weight.dims()[0], weight.dims()[1]];
                let dims = LinearDims { batch: 1, in_features, out_features };
                Kind::Linear { dims, weight, bias }
            }
        })
    }
}

/// A batch norm that follows no convolution, each (C).
struct Norm {
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    var: Tensor,
    eps: f32,
}

impl Norm {
    fn new(bn: &BatchNorm2d) -> Norm {
        Norm {
            weight: bn.weight().tensor(),
            bias: bn.bias().tensor(),
            mean: bn.running_mean().tensor(),
            var: bn.running_var().tensor(),
            eps: bn.eps(),
        }
    }

    fn forward(
        &self,
        isa: Isa,
        dims: PlaneDims,
        relu: bool,
        x: &[f32],
        y: &mut [f32],
    ) -> Result<()> {
        let Norm { weight, bias, mean, var, eps } = self;
        let affine = batch_norm::Affine { weight: weight.data(), bias: bias.data(), eps: *eps };
        let epilogue = batch_norm::Epilogue { relu, ..Default::default() };
        let (mean, var) = (mean.data(), var.data());
        Ok(batch_norm::forward_eval(isa, dims, affine, epilogue, mean, var, x, y)?)
    }
}

/// Weight (F, C, KH, KW) and bias (F) of the convolution that is `bn(conv(x))` with the running statistics:
/// `weight · s` and `bias - mean · s` with `s = bn weight / sqrt(var + eps)`.
fn fold(conv: &Conv2d, bn: &BatchNorm2d) -> (Vec<f32>, Vec<f32>) {
    let (gamma, beta) = (bn.weight().tensor(), bn.bias().tensor());
    let (mean, var) = (bn.running_mean().tensor(), bn.running_var().tensor());
    let mut weight = conv.weight().tensor().data().to_vec();
    let filter_len = weight.len() / beta.len();
    let mut bias = beta.data().to_vec();
    for (filter, (weights, bias)) in weight.chunks_exact_mut(filter_len).zip(&mut bias).enumerate()
    {
        let deviation = (f64::from(var.data()[filter]) + f64::from(bn.eps())).sqrt();
        let scale = f64::from(gamma.data()[filter]) / deviation;
        weights.iter_mut().for_each(|weight| *weight = (f64::from(*weight) * scale) as f32);
        *bias = (f64::from(*bias) - f64::from(mean.data()[filter]) * scale) as f32;
    }
    (weight, bias)
}

/// The convolution with what is kept of its filters and its channels; `None` is all.
fn prepare(
    (isa, precision): (Isa, Precision),
    dims: &Conv2dDims,
    (mut weight, mut bias): (Vec<f32>, Vec<f32>),
    filters: Option<&KeptSlot>,
    channels: Option<&KeptSlot>,
) -> Result<PreparedConv2d> {
    let (taps, [h, w]) = (dims.taps(), dims.in_size());
    // The choice for all, so that dropping some does not change a bit.
    let method = Method::choose(precision, dims);
    let mut channels_len = dims.in_channels();
    if let Some(KeptSlot { filters: channels, .. }) = channels {
        let filters = weight.chunks_exact(channels_len * taps);
        weight = filters.flat_map(|filter| gather(filter, taps, channels)).collect();
        channels_len = channels.len();
    }
    if let Some(KeptSlot { filters, compact: true }) = filters {
        weight = gather(&weight, channels_len * taps, filters);
        bias = gather(&bias, 1, filters);
    }
    let [kh, kw] = dims.kernel();
    let shape = [bias.len(), channels_len, kh, kw];
    let dims = Conv2dDims::new([1, channels_len, h, w], shape, dims.stride(), dims.padding())?;
    Ok(match filters {
        Some(KeptSlot { filters, compact: false }) => {
            PreparedConv2d::of_filters(isa, method, &dims, filters, &weight, Some(&bias))?
        }
        _ => PreparedConv2d::with_method(isa, method, &dims, &weight, Some(&bias))?,
    })
}

/// Numbers `kept` of the chunks of `len` values.
fn gather(values: &[f32], len: usize, kept: &[u32]) -> Vec<f32> {
    let chunk = |at: &u32| &values[*at as usize * len..(*at as usize + 1) * len];
    kept.iter().flat_map(chunk).copied().collect()
}

fn convolve(
    conv: &PreparedConv2d,
    samples: Samples,
    live: Live<'_>,
    input: &[f32],
    epilogue: Epilogue<'_>,
    output: &mut [f32],
) -> Result<()> {
    match samples {
        Samples::One(n) => {
            let [filters, channels] =
                [live.filters, live.channels].map(|list| list.map(|list| list.row(n)));
            conv.forward_sample(filters, channels, input, epilogue, output)?;
        }
        Samples::All(count) => conv.forward(count, live, input, epilogue, output)?,
    }
    Ok(())
}

/// `relu(gate · output + residual)`, where the gate of a filter is 1 if it is live, else 0.
fn mask(samples: Samples, live: &ActiveFilters, epilogue: Epilogue<'_>, output: &mut [f32]) {
    let len = output.len() / samples.count();
    output.par_chunks_exact_mut(len).enumerate().for_each(|(sample, output)| {
        let n = match samples {
            Samples::One(n) => n,
            Samples::All(_) => sample,
        };
        let plane = len / live.filters();
        for (filter, output) in output.chunks_exact_mut(plane).enumerate() {
            if live.row(n).binary_search(&(filter as u32)).is_err() {
                output.fill(0.0);
            }
            if let Some(residual) = epilogue.residual {
                let at = sample * len + filter * plane;
                output.iter_mut().zip(&residual[at..]).for_each(|(y, r)| *y += r);
            }
            if epilogue.relu {
                output.iter_mut().for_each(|y| *y = relu(*y));
            }
        }
    });
}

/// NaN passes through.
fn relu(x: f32) -> f32 {
    if x <= 0.0 { 0.0 } else { x }
}
