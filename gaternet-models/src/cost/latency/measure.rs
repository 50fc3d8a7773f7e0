//! Measurement of a latency model: plans are run with gates of known densities.

use std::hint::black_box;
use std::time::{Duration, Instant};

use gaternet_core::{Ctx, Result, Tensor};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::{Conv, LatencyModel, Total};
use crate::cost::TimeTable;
use crate::files::model::Model;
use crate::gating::gate_plan::{ConvGates, GatePlan};
use crate::gating::pruning::PruningMap;
use crate::plan::{InferencePlan, Lists, PlanOptions};
use crate::program::{Mode, Program, Step};

/// Measured densities. The ones that people ask for most often are none of them, except 1, so that
/// those are predictions and not measurements.
pub(super) const DENSITIES: [f64; 4] = [0.1, 0.4, 0.7, 1.0];
/// Fewest images of a measurement: a single one's gates say little about a density.
const IMAGES: usize = 64;
/// Rounds of measurement after a warm-up, of which the median is taken: as many as fit into the
/// time, within these bounds.
const ROUNDS: std::ops::RangeInclusive<usize> = 3..=9;
const TIME: Duration = Duration::from_secs(3);

/// The times of one measurement, in seconds of a batch.
struct Sample {
    /// Indices of the densities of gated layers of either colour.
    densities: [usize; 2],
    /// Seconds of each step, all threads together.
    steps: Vec<f64>,
    gater: f64,
    /// Seconds of the backbone by the wall clock.
    backbone: f64,
}

impl LatencyModel {
    /// Measures plans of `model` made with `options`, whose batch is the number of images of a
    /// pass. Takes some seconds, and should have the machine for itself. Only the model's
    /// architecture matters.
    ///
    /// # Errors
    /// The errors of [`InferencePlan::new`].
    pub fn measure(model: &Model, options: PlanOptions) -> Result<LatencyModel> {
        let mut runs = Runs::new(model, options)?;
        measure_in_turns(&mut [&mut runs])?;
        runs.model()
    }

    /// Measures two models whose times are to be compared: they take turns.
    pub(super) fn measure_both(
        models: [&Model; 2],
        options: PlanOptions,
    ) -> Result<[LatencyModel; 2]> {
        let [mut a, mut b] = [Runs::new(models[0], options)?, Runs::new(models[1], options)?];
        measure_in_turns(&mut [&mut a, &mut b])?;
        Ok([a.model()?, b.model()?])
    }
}

/// Runs rounds over all pairs of densities, one model after the other: what slows the machine for a
/// while slows all.
fn measure_in_turns(models: &mut [&mut Runs]) -> Result<()> {
    for runs in &mut *models {
        runs.round()?;
        runs.samples.clear();
    }
    let start = Instant::now();
    for round in 0..*ROUNDS.end() {
        if round >= *ROUNDS.start() && start.elapsed() > TIME * models.len() as u32 {
            break;
        }
        for runs in &mut *models {
            runs.round()?;
        }
    }
    Ok(())
}

/// Runs of a model's plan with gates at two densities.
struct Runs {
    program: Program,
    options: PlanOptions,
    plan: InferencePlan,
    /// Values of the images (`IMAGES` or more, C, H, W).
    images: Vec<f32>,
    /// Number of values of the images of a batch.
    batch_len: usize,
    /// Colour of each gated layer, 0 or 1; the layers of a convolution's filters and of its
    /// channels differ, so that all pairs of densities can be measured.
    colours: Vec<usize>,
    /// Colour of each output of the gater.
    output_colours: Vec<usize>,
    /// Number of filters of each output.
    repeats: Vec<usize>,
    rng: ChaCha8Rng,
    samples: Vec<Sample>,
}

impl Runs {
    fn new(model: &Model, options: PlanOptions) -> Result<Runs> {
        let plan = InferencePlan::new(model, options)?;
        plan.time_steps();
        let (network, gate_plan) = match model {
            Model::Plain(model) => (model.network(), None),
            Model::Gated(model) => (model.backbone().network(), Some(model.plan())),
        };
        let kept = gate_plan.map(|plan| PruningMap::new(plan, None));
        let options = PlanOptions { batch: options.batch.max(1), ..options };
        let PlanOptions { size: [h, w], batch, .. } = options;
        let channels = network.channels();
        let shape = [IMAGES.next_multiple_of(batch), channels, h, w];
        let images = Tensor::randn(shape, 1.0, Ctx::train(0).rng())?.data().to_vec();
        let colours = gate_plan.map_or(Vec::new(), colours);
        let layers = gate_plan.iter().flat_map(|plan| plan.layers()).zip(&colours);
        let output_colours = layers.flat_map(|(layer, colour)| vec![*colour; layer.outputs.len()]);
        Ok(Runs {
            program: Program::new(network, kept.as_ref(), Mode::Infer),
            options,
            plan,
            images,
            batch_len: batch * channels * h * w,
            output_colours: output_colours.collect(),
            repeats: gate_plan.map_or(Vec::new(), GatePlan::repeats),
            colours,
            rng: ChaCha8Rng::seed_from_u64(0),
            samples: Vec::new(),
        })
    }

    /// Measures a sample of each pair of densities, or as many of a model without gates.
    fn round(&mut self) -> Result<()> {
        for pair in 0..DENSITIES.len() * DENSITIES.len() {
            let sample = self.sample([pair / DENSITIES.len(), pair % DENSITIES.len()])?;
            self.samples.push(sample);
        }
        Ok(())
    }

    fn model(&self) -> Result<LatencyModel> {
        let Runs { program, colours, samples, options, .. } = self;
        model_of(program, colours, samples, *options)
    }

    /// Runs gater and backbone in turns, as in use: each finds the caches as the other leaves them.
    fn sample(&mut self, densities: [usize; 2]) -> Result<Sample> {
        let batches = self.images.len() / self.batch_len;
        let gates =
            draw(&mut self.rng, &self.output_colours, batches * self.options.batch, densities);
        let filters = gates.into_iter().zip(self.repeats.iter().cycle());
        let gates: Vec<f32> = filters.flat_map(|(gate, filters)| vec![gate; *filters]).collect();
        let mut decided = vec![0.0; self.options.batch * self.plan.gate_count()];
        let mut logits = vec![0.0; self.options.batch * self.plan.classes()];
        let (mut gater, mut backbone) = (Duration::ZERO, Duration::ZERO);
        self.plan.take_step_seconds();
        for (at, images) in self.images.chunks_exact(self.batch_len).enumerate() {
            let gates = &gates[at * decided.len()..(at + 1) * decided.len()];
            let start = Instant::now();
            self.plan.gates(images, black_box(&mut decided))?;
            let middle = Instant::now();
            self.plan.run_with_gates(images, gates, black_box(&mut logits))?;
            gater += middle - start;
            backbone += middle.elapsed();
        }
        let [gater, backbone] = [gater, backbone].map(|time| time.as_secs_f64() / batches as f64);
        let steps = self.plan.take_step_seconds().into_iter();
        let steps = steps.map(|seconds| seconds / batches as f64).collect();
        Ok(Sample { densities, steps, gater, backbone })
    }
}

/// Draws outputs of the gater for `images` images, each open with the density of its colour.
fn draw(
    rng: &mut ChaCha8Rng,
    output_colours: &[usize],
    images: usize,
    densities: [usize; 2],
) -> Vec<f32> {
    let least = densities.map(|density| DENSITIES[density] * f64::from(u32::MAX));
    let mut gate =
        |colour: &usize| f32::from(u8::from(f64::from(rng.next_u32()) <= least[*colour]));
    (0..images).flat_map(|_| output_colours.iter().map(&mut gate).collect::<Vec<_>>()).collect()
}

/// A colour, 0 or 1, for each gated layer, unlike that of the channels that its convolution reads.
fn colours(plan: &GatePlan) -> Vec<usize> {
    let mut colours = vec![0; plan.layers().len()];
    // A convolution comes after the one that it reads.
    for conv in plan.convs() {
        if let ConvGates { filters: Some(filters), channels: Some(channels), .. } = conv.computed()
        {
            colours[filters] = 1 - colours[channels];
        }
    }
    colours
}

fn model_of(
    program: &Program,
    colours: &[usize],
    samples: &[Sample],
    options: PlanOptions,
) -> Result<LatencyModel> {
    let values = program.shapes(options.size)?;
    let total = Total::fit(
        &samples
            .iter()
            .map(|sample| (sample.steps.iter().sum(), sample.backbone))
            .collect::<Vec<_>>(),
    );
    let mut fixed = 0.0;
    let mut shapes: Vec<Shape> = Vec::new();
    let mut convs: Vec<Conv> = Vec::new();
    for (number, step) in program.steps().iter().enumerate() {
        if step.lists == Lists::default() {
            fixed += median(samples.iter().map(|sample| sample.steps[number]).collect());
            continue;
        }
        let gated =
            ConvGates { filters: step.lists.filters, channels: step.lists.channels, reader: None };
        let key = key(values[step.inputs[0]], values[number + 1], step);
        let table = shapes.iter().position(|shape| shape.key == key).unwrap_or_else(|| {
            shapes.push(Shape { key, steps: Vec::new() });
            shapes.len() - 1
        });
        let colour = |layer: Option<usize>| layer.map(|layer| colours[layer]);
        shapes[table].steps.push((number, [colour(gated.filters), colour(gated.channels)]));
        convs.push(Conv { layers: gated, table });
    }
    let tables = shapes.iter().map(|shape| shape.table(samples)).collect::<Result<_>>()?;
    let gater = median(samples.iter().map(|sample| sample.gater).collect());
    let layers = colours.len();
    Ok(LatencyModel { batch: options.batch, layers, gater, fixed, convs, tables, total })
}

/// The convolutions that take the same time.
struct Shape {
    key: String,
    /// Numbers of their steps, and the colours of their filters and of their channels.
    steps: Vec<(usize, [Option<usize>; 2])>,
}

impl Shape {
    fn table(&self, samples: &[Sample]) -> Result<TimeTable> {
        TimeTable::new(&DENSITIES, |filters, channels| {
            let seconds = self.steps.iter().flat_map(|(step, [f, c])| {
                let fits = move |sample: &&Sample| {
                    let is = |colour: Option<usize>, density| {
                        colour.is_none_or(|colour| sample.densities[colour] == density)
                    };
                    is(*f, filters) && is(*c, channels)
                };
                samples.iter().filter(fits).map(move |sample| sample.steps[*step])
            });
            median(seconds.collect())
        })
    }
}

/// A key of all that the time of a gated convolution depends on, except its densities.
fn key(input: [usize; 3], output: [usize; 3], step: &Step) -> String {
    let sides = (step.lists.filters.is_some(), step.lists.channels.is_some());
    let (name, filters) = (step.op.name(), step.op.filters());
    let rest = (step.norm.is_some(), step.residual.is_some(), step.relu);
    format!("{name} {input:?} {output:?} {filters:?} {sides:?} {rest:?}")
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BackboneConfig, GatePlacement, GatedConfig, GatedNet};

    /// Seconds of step `number` in the tests, linear in each density; the same for convolutions of
    /// a shape.
    fn seconds(program: &Program, number: usize, filters: f64, channels: f64) -> f64 {
        match program.steps()[number].op.filters() {
            Some(shape) => {
                let [f, c] = [shape.count, shape.channels].map(|size| size as f64);
                5.0 + f * filters + 2.0 * c * channels + f * c * filters * channels / 9.0
            }
            None => 1.0,
        }
    }

    #[test]
    fn every_convolution_finds_the_densities_of_its_own_layers() {
        let bottleneck = BackboneConfig::bottleneck(11, 10);
        for backbone in [BackboneConfig::resnet(20, 10), bottleneck] {
            for placement in [GatePlacement::BlockOutput, GatePlacement::Inner, GatePlacement::All]
            {
                let config = GatedConfig { placement, ..GatedConfig::new(backbone) };
                let model = GatedNet::new(config, 0).expect("valid");
                let (network, plan) = (model.backbone().network(), model.plan());
                let program =
                    Program::new(network, Some(&PruningMap::new(plan, None)), Mode::Infer);
                let colours = colours(plan);
                let convs: Vec<_> = program.steps().iter().map(|step| step.lists).collect();
                let steps = |density: &dyn Fn(usize) -> f64| -> Vec<f64> {
                    let of = |layer: Option<usize>| layer.map_or(1.0, density);
                    let step = |(number, lists): (usize, &Lists)| {
                        seconds(&program, number, of(lists.filters), of(lists.channels))
                    };
                    convs.iter().enumerate().map(step).collect()
                };
                let sample = |pair: usize| {
                    let densities = [pair / DENSITIES.len(), pair % DENSITIES.len()];
                    let steps = steps(&|layer| DENSITIES[densities[colours[layer]]]);
                    let backbone = 7.0 + 0.5 * steps.iter().sum::<f64>();
                    Sample { densities, steps, gater: 40.0, backbone }
                };
                let samples: Vec<_> = (0..DENSITIES.len().pow(2)).map(sample).collect();
                let options = PlanOptions::default();
                let latency = model_of(&program, &colours, &samples, options).expect("32x32 fits");
                let density = |layer: usize| 0.15 + 0.8 * ((layer * 7) % 11) as f64 / 11.0;
                let densities: Vec<_> = (0..plan.layers().len()).map(density).collect();
                let got = latency.seconds(&densities).expect("one each");
                let want = 47.0 + 0.5 * steps(&density).iter().sum::<f64>();
                assert!((got / want - 1.0).abs() < 1e-9, "{placement:?}: {got}, not {want}");
            }
        }
    }

    #[test]
    fn gates_have_the_density_of_their_colour() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let gates = draw(&mut rng, &[0, 1, 1], 4000, [0, 3]);
        let open = |column: usize| gates.iter().skip(column).step_by(3).sum::<f32>() / 4000.0;
        assert!((open(0) - 0.1).abs() < 0.02, "{}", open(0));
        assert_eq!((open(1), open(2)), (1.0, 1.0));
    }
}
