//! Executor of a compiled program: batch norm folded into weights, weights laid out, buffers
//! shared.

use std::mem;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use gaternet_core::{Error, Result};
use gaternet_kernels::{ActiveFilters, Isa};
use rayon::prelude::*;

use super::OP;
use super::each_sample::EachSample;
use super::kernel::{BatchKernel, Inputs, Operands, PlanContext, PlannedKind, Samples};
use super::layout::Layout;
use super::options::PlanOptions;
use crate::gating::pruning::PruningMap;
use crate::network::gather;
use crate::program::{Program, Step};

/// Most bytes of weights of a network that each thread goes through on its own. More, which take up
/// to four times as many bytes once they are laid out, do not stay in a shared cache of usual size,
/// so every group of images would fetch them from memory.
const CACHED_WEIGHTS: usize = 4 << 20;
/// Most images that a thread takes through the network together: each convolution's weights are
/// fetched into its cache once for all of them.
const TOGETHER: usize = 8;

/// A network ready to run on images of one size.
pub(super) struct Executor {
    isa: Isa,
    steps: Vec<Compiled>,
    /// Shape (C, H, W) of an image.
    image: [usize; 3],
    /// Length of each buffer for one sample, in floats.
    buffers: Vec<usize>,
    input: Place,
    output: Place,
    /// Whether inactive filters are computed and discarded.
    masks: bool,
    /// Whether each op runs over the whole batch before the next: weights are fetched once a batch,
    /// but activations leave the cores' caches.
    pub(super) by_layer: bool,
    timed: AtomicBool,
    /// Nanoseconds of each step since they were last taken, all threads together, while steps are
    /// timed.
    spent: Vec<AtomicU64>,
    /// Buffers of calls that are over. A call takes one arena, so calls on several threads share
    /// none.
    idle: Mutex<Vec<Arena>>,
}

/// The buffers of a call.
type Arena = Vec<Vec<f32>>;

/// The place of a value in the buffers.
#[derive(Debug, Clone, Copy)]
struct Place {
    buffer: usize,
    /// Length for one sample, in floats.
    len: usize,
}

/// A compiled step `relu(op(inputs) + residual)`.
struct Compiled {
    kernel: Box<dyn BatchKernel>,
    inputs: Vec<Place>,
    residual: Option<Place>,
    relu: bool,
    /// Whether the planes of inactive filters may hold anything, because all readers leave them
    /// out.
    skip_inactive: bool,
    output: Place,
}

/// Checks that there is memory for the values of one image and for the tables by which convolutions
/// read them, a few bytes for each pixel: an allocation that fails would end the process.
fn check_memory(
    size: [usize; 2],
    buffers: &[usize],
    program: &Program,
    shapes: &[[usize; 3]],
) -> Result<()> {
    const BYTES_A_PIXEL: usize = 8;
    // Some systems promise memory that they do not have; none has a TiB for one image.
    const MOST: usize = 1 << 40;
    let steps = program.steps().iter().zip(&shapes[1..]);
    let pixels = steps
        .filter(|(step, _)| step.number.is_some())
        .map(|(_, [_, h, w])| (h * w).saturating_mul(BYTES_A_PIXEL));
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

impl Executor {
    /// Compiles the steps of `program`, which was lowered with `kept`.
    pub(super) fn new(
        program: &Program,
        options: PlanOptions,
        kept: Option<&PruningMap<'_>>,
    ) -> Result<Executor> {
        let isa = Isa::current()?;
        let shapes = program.shapes(options.size)?;
        let kept_shapes = program.kept_shapes(&shapes, kept);
        let filters = program.steps().iter().filter_map(|step| step.op.filters());
        let weights: usize = filters
            .map(|filters| {
                filters.count * filters.channels * filters.kernel.iter().product::<usize>()
            })
            .sum();
        let by_layer = weights * options.dtype.itemsize() > CACHED_WEIGHTS;
        let lens: Vec<usize> = kept_shapes.iter().map(|shape| shape.iter().product()).collect();
        let done = program.steps().iter().map(|step| &step.done[..]);
        let Layout { buffers, of_value } = Layout::new(&lens, done);
        check_memory(options.size, &buffers, program, &shapes)?;
        let place = |value: usize| Place { buffer: of_value[value], len: lens[value] };
        let mut steps = Vec::with_capacity(lens.len());
        for (at, step) in program.steps().iter().enumerate() {
            let context = PlanContext {
                isa,
                options,
                whole: gather(&step.inputs, &shapes),
                inputs: gather(&step.inputs, &kept_shapes),
                pruning: Some(step.pruning(kept)),
                norm: step.norm.as_ref(),
                lists: step.lists,
            };
            steps.push(Compiled {
                kernel: compile(step, context).map_err(|error| error.at(&step.name))?,
                inputs: step.inputs.iter().map(|value| place(*value)).collect(),
                residual: step.residual.map(place),
                relu: step.relu,
                skip_inactive: options.skip && step.readers_skip,
                output: place(at + 1),
            });
        }
        let (input, output) = (place(0), place(program.output()));
        let (masks, idle, timed) = (!options.skip, Mutex::default(), AtomicBool::new(false));
        let spent = steps.iter().map(|_| AtomicU64::new(0)).collect();
        let image = shapes[0];
        Ok(Executor {
            isa,
            steps,
            image,
            buffers,
            input,
            output,
            masks,
            by_layer,
            timed,
            spent,
            idle,
        })
    }

    /// From here on, measures the time of each step.
    pub(super) fn time_steps(&self) {
        self.timed.store(true, Relaxed);
    }

    /// Seconds of each step since the last call, all threads together.
    pub(super) fn take_step_seconds(&self) -> Vec<f64> {
        let seconds = |spent: &AtomicU64| spent.swap(0, Relaxed) as f64 / 1e9;
        self.spent.iter().map(seconds).collect()
    }

    /// Bytes of the weights as they are laid out, without biases.
    pub(super) fn weight_bytes(&self) -> usize {
        self.steps.iter().map(|step| step.kernel.weight_bytes()).sum()
    }

    /// Length of one sample of the input, in floats.
    pub(super) fn input_len(&self) -> usize {
        self.input.len
    }

    /// Shape (C, H, W) of an image.
    pub(super) fn input_shape(&self) -> [usize; 3] {
        self.image
    }

    /// Length of one sample of the output, in floats.
    pub(super) fn output_len(&self) -> usize {
        self.output.len
    }

    /// Runs all samples: `input` and `output` hold the same number of them, and `active` the lists
    /// of every gated layer for them.
    ///
    /// With a sample for every thread and weights that stay cached, each thread runs some through
    /// the whole network: their activations stay in that core's cache. Otherwise each op uses all
    /// threads. The bits are the same.
    pub(super) fn run(
        &self,
        active: &[ActiveFilters],
        input: &[f32],
        output: &mut [f32],
    ) -> Result<()> {
        let count = input.len() / self.input.len;
        if count == 0 {
            return Ok(());
        }
        if self.by_layer || count < rayon::current_num_threads() {
            // From outside the pool every op would wait for a worker to wake up.
            return rayon::scope(|_| self.pass(Samples::All(count), active, input, output));
        }
        let group = (count / rayon::current_num_threads()).clamp(1, TOGETHER);
        let inputs = input.par_chunks(group * self.input.len);
        let outputs = output.par_chunks_mut(group * self.output.len);
        // A group at a time, because active filters and so times differ by sample.
        let groups = inputs.zip(outputs).enumerate().with_max_len(1);
        groups.try_for_each(|(n, (input, output))| {
            let first = n * group;
            let samples = first..first + input.len() / self.input.len;
            self.pass(Samples::Some(samples), active, input, output)
        })
    }

    fn pass(
        &self,
        samples: Samples,
        active: &[ActiveFilters],
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
        let timed = self.timed.load(Relaxed);
        for (number, step) in self.steps.iter().enumerate() {
            let start = timed.then(Instant::now);
            // The buffer is taken out, so that it can be written while its neighbours are read.
            let mut target = mem::take(&mut arena[step.output.buffer]);
            let read = |place: Place| &arena[place.buffer][..place.len * count];
            let inputs = |i: usize| read(step.inputs[i]);
            let operands = Operands {
                isa: self.isa,
                samples: &samples,
                active,
                inputs: Inputs::new(step.inputs.len(), &inputs),
                residual: step.residual.map(read),
                relu: step.relu,
                skip_inactive: step.skip_inactive,
                masks: self.masks,
            };
            let result = step.kernel.run(&operands, &mut target[..step.output.len * count]);
            arena[step.output.buffer] = target;
            result?;
            if let Some(start) = start {
                self.spent[number].fetch_add(start.elapsed().as_nanos() as u64, Relaxed);
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

fn compile(step: &Step, mut at: PlanContext<'_>) -> Result<Box<dyn BatchKernel>> {
    let (norm, pruning, lists) = (at.norm, at.pruning.unwrap_or_default(), at.lists);
    let left = pruning.filters().is_some() || pruning.channels().is_some();
    let mut planned = step.op.plan(&mut at);
    if left && at.pruning.is_some() {
        // The op did not take the pruning, so a pruned copy is planned in its place.
        (at.norm, at.pruning) = (norm, None);
        planned = match step.op.pruned(pruning)? {
            Some(op) => op.plan(&mut at),
            None => step.op.plan(&mut at),
        };
    }
    Ok(match planned?.0 {
        PlannedKind::Sample(op) => Box::new(EachSample::new(op, at.norm, pruning, lists)),
        PlannedKind::Batch(kernel) => kernel,
    })
}
