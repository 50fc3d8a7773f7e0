//! A network, compiled: batch norm folded into weights, weights laid out, buffers shared.

use std::mem;
use std::ops::Range;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use gaternet_core::{Error, Result};
use gaternet_kernels::{ActiveFilters, Isa};
use rayon::prelude::*;

use super::layout::Layout;
use super::op::{Op, Operands};
use super::{OP, PlanOptions};
use crate::kept::Kept;
use crate::network::{Layer, Network, Step};

/// Most bytes of weights of a network that threads go through on their own. More, up to four times as many as they
/// are laid out, do not stay in a shared cache of usual size, so every group of images would fetch them from memory.
const CACHED_WEIGHTS: usize = 4 << 20;
/// Most images that a thread takes through the network together: each convolution's weights are fetched into its
/// cache once for all of them.
const TOGETHER: usize = 8;

/// A network ready to run on images of one size.
pub(super) struct Program {
    isa: Isa,
    steps: Vec<Compiled>,
    /// Floats of each buffer for one sample.
    buffers: Vec<usize>,
    input: Place,
    output: Place,
    /// Compute closed filters and discard them.
    masks: bool,
    /// Run each op over the whole batch before the next: weights are fetched once a batch, activations
    /// leave the cores' caches.
    pub(super) by_layer: bool,
    /// Nanoseconds of each step since they were last asked for, all threads together; none unless they are
    /// measured.
    spent: Vec<AtomicU64>,
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

/// A step: `relu(op(inputs) + residual)`.
struct Compiled {
    op: Op,
    inputs: Vec<Place>,
    residual: Option<Place>,
    relu: bool,
    /// Whether all that read the output list its live channels.
    leave_dead: bool,
    output: Place,
}

/// The samples of a pass over the steps.
#[derive(Clone)]
pub(super) enum Samples {
    /// Some of the batch, on this thread.
    Some(Range<usize>),
    /// This many, each op on all threads: a sample on each, or if there are too few, each on all.
    All(usize),
}

impl Samples {
    pub(super) fn count(&self) -> usize {
        match self {
            Samples::Some(range) => range.len(),
            Samples::All(count) => *count,
        }
    }

    /// `op(n, output)` for the `len` floats of `output` that are each sample's, n its number among these.
    pub(super) fn try_for_each(
        &self,
        len: usize,
        output: &mut [f32],
        op: impl Fn(usize, &mut [f32]) -> Result<()> + Sync,
    ) -> Result<()> {
        let op = |(n, output): (usize, &mut [f32])| op(n, output);
        match self {
            Samples::Some(_) => output.chunks_exact_mut(len).enumerate().try_for_each(op),
            Samples::All(_) => output.par_chunks_exact_mut(len).enumerate().try_for_each(op),
        }
    }
}

/// Whether the output of step `at` is hidden: read by convolutions alone, by its live channels or, where the same gate
/// switches both, not at all.
fn by_list(network: &Network, kept: &Kept<'_>, at: usize) -> bool {
    let steps = network.steps();
    let Layer::Conv(layer) = &steps[at].layer else { return false };
    let slots = kept.listed(layer.number);
    let lists = |step: &Step| match &step.layer {
        Layer::Conv(reader) if slots.reader.is_some() => {
            kept.listed(reader.number).filters == slots.filters
        }
        Layer::Conv(reader) => kept.listed(reader.number).channels == slots.filters,
        _ => false,
    };
    let reads = |step: &&Step| step.reads().any(|value| value.0 == at + 1);
    let adds = |step: &Step| step.residual.is_some_and(|value| value.0 == at + 1);
    slots.filters.is_some()
        && at + 1 < steps.len()
        && steps.iter().filter(reads).all(|step| lists(step) && !adds(step))
}

/// `Err` if there is no memory for the values of one image and for where the convolutions read
/// them, a few bytes for each pixel: an allocation that fails would end the process.
fn check_memory(
    size: [usize; 2],
    buffers: &[usize],
    network: &Network,
    shapes: &[[usize; 3]],
) -> Result<()> {
    const BYTES_A_PIXEL: usize = 8;
    // Some systems promise memory that they do not have; none has a TiB for one image.
    const MOST: usize = 1 << 40;
    let convs = network.steps().iter().zip(&shapes[1..]);
    let pixels = convs.filter_map(|(step, [_, h, w])| match step.layer {
        Layer::Conv(_) => Some((h * w).saturating_mul(BYTES_A_PIXEL)),
        _ => None,
    });
    let values = buffers.iter().map(|len| len.saturating_mul(size_of::<f32>()));
    let bytes = values.chain(pixels).fold(0, usize::saturating_add);
    let mut memory: Vec<u8> = Vec::new();
    match bytes <= MOST && memory.try_reserve_exact(bytes).is_ok() {
        true => Ok(()),
        false => Err(no_memory(format!("{bytes} bytes for one image of {size:?}"))),
    }
}

fn no_memory(got: String) -> Error {
    Error::Shape { op: OP, rule: "the values of the images must fit in memory", got }
}

impl Program {
    /// Without `kept` no filter has a gate.
    pub(super) fn new(
        network: &Network,
        options: PlanOptions,
        kept: Option<&Kept<'_>>,
    ) -> Result<Program> {
        let isa = Isa::current()?;
        let shapes = network.shapes(options.size)?;
        let weights: usize = network
            .steps()
            .iter()
            .map(|step| match &step.layer {
                Layer::Conv(layer) => layer.conv.weight().tensor().len(),
                _ => 0,
            })
            .sum();
        let by_layer = weights * options.dtype.itemsize() > CACHED_WEIGHTS;
        let mut lens: Vec<usize> = shapes.iter().map(|shape| shape.iter().product()).collect();
        for (at, step) in network.steps().iter().enumerate() {
            match &step.layer {
                Layer::Conv(conv) => {
                    let kept = kept.map(|kept| kept.conv(conv.number)).unwrap_or_default();
                    let [filters, h, w] = shapes[at + 1];
                    let [filters, _] = kept.sizes([filters, 0]);
                    lens[at + 1] = filters * h * w;
                }
                // Of what a hidden convolution kept.
                Layer::Dropout(_) => lens[at + 1] = lens[step.inputs[0].0],
                _ => {}
            }
        }
        let reads = |step: &Step| step.reads().map(|value| value.0).collect();
        let read: Vec<Vec<usize>> = network.steps().iter().map(reads).collect();
        let Layout { buffers, of_value } = Layout::new(&lens, &read);
        check_memory(options.size, &buffers, network, &shapes)?;
        let place = |value: usize| Place { buffer: of_value[value], len: lens[value] };
        let mut steps = Vec::with_capacity(read.len());
        for (at, step) in network.steps().iter().enumerate() {
            steps.push(Compiled {
                op: Op::new(isa, options, step, &shapes, kept)?,
                inputs: step.inputs.iter().map(|value| place(value.0)).collect(),
                residual: step.residual.map(|value| place(value.0)),
                relu: step.relu,
                leave_dead: options.skip && kept.is_some_and(|kept| by_list(network, kept, at)),
                output: place(at + 1),
            });
        }
        let (input, output) = (place(0), place(steps.len()));
        let (masks, idle) = (!options.skip, Mutex::default());
        let spent = Vec::new();
        Ok(Program { isa, steps, buffers, input, output, masks, by_layer, spent, idle })
    }

    /// From here on, the time of each step is measured.
    pub(super) fn time_steps(&mut self) {
        self.spent = self.steps.iter().map(|_| AtomicU64::new(0)).collect();
    }

    /// Seconds of each step since the last call, all threads together.
    pub(super) fn take_step_seconds(&self) -> Vec<f64> {
        let seconds = |spent: &AtomicU64| spent.swap(0, Relaxed) as f64 / 1e9;
        self.spent.iter().map(seconds).collect()
    }

    /// Bytes of the weights as they are laid out, without biases.
    pub(super) fn weight_bytes(&self) -> usize {
        self.steps.iter().map(|step| step.op.weight_bytes()).sum()
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
    /// With a sample for every thread and weights that stay cached, each thread runs some through the whole
    /// network: their activations stay in that core's cache. Otherwise each op uses all threads. The bits are
    /// the same.
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
            // From outside the pool every op would wait for a worker to wake up.
            return rayon::scope(|_| self.pass(Samples::All(count), live, input, output));
        }
        let group = (count / rayon::current_num_threads()).clamp(1, TOGETHER);
        let inputs = input.par_chunks(group * self.input.len);
        let outputs = output.par_chunks_mut(group * self.output.len);
        // A group at a time, because open gates and so times differ by sample.
        let groups = inputs.zip(outputs).enumerate().with_max_len(1);
        groups.try_for_each(|(n, (input, output))| {
            let first = n * group;
            let samples = first..first + input.len() / self.input.len;
            self.pass(Samples::Some(samples), live, input, output)
        })
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
            let Some(missing) = (len * count).checked_sub(buffer.len()) else { continue };
            buffer.try_reserve_exact(missing).map_err(|_| no_memory(format!("{count} images")))?;
            buffer.resize(len * count, 0.0);
        }
        arena[self.input.buffer][..input.len()].copy_from_slice(input);
        for (number, step) in self.steps.iter().enumerate() {
            let timed = self.spent.get(number).map(|spent| (spent, Instant::now()));
            // Taken out, so that it can be written while its neighbours are read.
            let mut target = mem::take(&mut arena[step.output.buffer]);
            let read = |place: Place| &arena[place.buffer][..place.len * count];
            let operands = Operands {
                samples: &samples,
                live,
                inputs: |i: usize| read(step.inputs[i]),
                residual: step.residual.map(read),
                relu: step.relu,
                leave_dead: step.leave_dead,
                masks: self.masks,
            };
            let result = step.op.run(self.isa, &operands, &mut target[..step.output.len * count]);
            arena[step.output.buffer] = target;
            result?;
            if let Some((spent, start)) = timed {
                spent.fetch_add(start.elapsed().as_nanos() as u64, Relaxed);
            }
        }
        output.copy_from_slice(&arena[self.output.buffer][..output.len()]);
        self.idle().push(arena);
        Ok(())
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Arena>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
