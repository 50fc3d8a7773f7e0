//! Tiny models and images, and a training step of them on the CPU.

use gaternet_core::data::{Batch, MixupDraw, mixup};
use gaternet_core::gate::{Estimator, GateDraw, SemHashDraw};
use gaternet_core::nn::{CrossEntropyLoss, Module, one_hot};
use gaternet_core::optim::{Ema, Optimizer, Sgd, SgdConfig, clip_grad_norm};
use gaternet_core::{Ctx, Tensor};
use gaternet_kernels::cuda::augment::{Augment, Images};
use gaternet_kernels::cuda::{CudaBuffer, CudaDevice};
use gaternet_kernels::reference::philox::philox4x32_10;
use gaternet_models::cuda::TrainOptions;
use gaternet_models::{
    BackboneConfig, Family, GatePlacement, GatedConfig, GatedNet, GaterConfig, Model, PlainNet,
};

pub(crate) const SIDE: usize = 8;
pub(crate) const CLASSES: usize = 4;
pub(crate) const SEED: u64 = 9;
/// Steps before the gates are trained.
pub(crate) const OPEN_STEPS: usize = 2;
const MEAN: f32 = 0.5;
const STD: f32 = 0.25;

/// The backbones of the recipes, as small as they can be: 4 channels at first.
pub(crate) fn resnet() -> BackboneConfig {
    BackboneConfig { width: 0.25, ..BackboneConfig::resnet(8, CLASSES) }
}

pub(crate) fn wide() -> BackboneConfig {
    BackboneConfig { width: 0.25, ..BackboneConfig::wide_resnet(10, 1, CLASSES) }
}

pub(crate) fn bottleneck() -> BackboneConfig {
    BackboneConfig { width: 0.25, ..BackboneConfig::bottleneck(11, CLASSES) }
}

pub(crate) fn plain(config: BackboneConfig) -> Model {
    Model::Plain(PlainNet::new(config, 1).expect("in range").into())
}

pub(crate) fn gated(backbone: BackboneConfig, placement: GatePlacement) -> Model {
    let gater = GaterConfig { depth: 8, width: 0.25, bottleneck: 5, ..GaterConfig::default() };
    let config = GatedConfig { placement, gater, ..GatedConfig::new(backbone) };
    Model::Gated(GatedNet::new(config, 1).expect("in range").into())
}

/// A change of everything that has to do with gates; the gater is cheap.
pub(crate) fn gated_as(
    backbone: BackboneConfig,
    placement: GatePlacement,
    change: impl FnOnce(&mut GatedConfig),
) -> Model {
    let gater =
        GaterConfig { depth: 8, width: 0.25, bottleneck: 5, pool: 4, ..GaterConfig::default() };
    let mut config = GatedConfig { placement, gater, ..GatedConfig::new(backbone) };
    change(&mut config);
    Model::Gated(GatedNet::new(config, 1).expect("in range").into())
}

pub(crate) fn dropout() -> BackboneConfig {
    let family = Family::WideResnet { depth: 10, k: 1, dropout: 0.3 };
    BackboneConfig { width: 0.25, ..BackboneConfig::new(family, CLASSES) }
}

/// As many bytes and labels as `count` images have.
pub(crate) struct Data {
    pub(crate) bytes: Vec<u8>,
    pub(crate) labels: Vec<usize>,
    /// Height and width.
    pub(crate) side: usize,
}

impl Data {
    pub(crate) fn new(count: usize) -> Data {
        Data::of_side(count, SIDE)
    }

    pub(crate) fn of_side(count: usize, side: usize) -> Data {
        let label = |i: usize| (i * 7 + i / 3) % CLASSES;
        // A wave for each label, with noise.
        let byte = |at: usize| {
            let (image, pixel) = (at / (3 * side * side), at % (3 * side * side));
            let wave = ((pixel * (label(image) + 1)) as f64 * 0.3).sin() * 80.0;
            (128.0 + wave + ((at * 2_654_435_761) >> 8) as u8 as f64 / 6.0) as u8
        };
        Data {
            bytes: (0..count * 3 * side * side).map(byte).collect(),
            labels: (0..count).map(label).collect(),
            side,
        }
    }

    pub(crate) fn upload(&self, device: &CudaDevice) -> Images {
        let labels: Vec<i32> = self.labels.iter().map(|&label| label as i32).collect();
        let bytes = CudaBuffer::from_slice(device, &self.bytes).expect("a copy");
        let labels = CudaBuffer::from_slice(device, &labels).expect("a copy");
        Images::new(bytes, labels, 3, [self.side; 2]).expect("valid")
    }

    pub(crate) fn batch(&self, numbers: &[usize]) -> Batch {
        let labels = numbers.iter().map(|&i| self.labels[i]).collect();
        Batch { images: self.images(numbers), labels }
    }

    /// Images (N, 3, H, W) of these numbers.
    pub(crate) fn images(&self, numbers: &[usize]) -> Tensor {
        let len = 3 * self.side * self.side;
        let of = |&i: &usize| self.bytes[i * len..][..len].iter();
        let value = |&byte: &u8| (f32::from(byte) / 255.0 - MEAN) / STD;
        let values = numbers.iter().flat_map(of).map(value).collect();
        Tensor::new(values, [numbers.len(), 3, self.side, self.side]).expect("whole images")
    }
}

/// No augmentation, `steps` steps at a rate that falls.
pub(crate) fn options(batch: usize, steps: usize) -> TrainOptions {
    TrainOptions {
        batch,
        augment: Augment {
            crop_padding: 0,
            reflect: false,
            flip: false,
            cutout: 0,
            mean: [MEAN; 4],
            std: [STD; 4],
        },
        label_smoothing: 0.1,
        mixup: false,
        clip_grad_norm: None,
        seed: SEED,
        learning_rates: rates(steps),
        open_steps: OPEN_STEPS,
        graphs: true,
    }
}

fn rates(steps: usize) -> Vec<f32> {
    (0..steps).map(|step| 0.1 * (1.0 - step as f32 / steps as f32)).collect()
}

pub(crate) fn sgd(model: &Model) -> Sgd {
    let config = SgdConfig::default().with_weight_decay(1e-3);
    match model {
        Model::Plain(model) => Sgd::new(model.parameters(), config),
        Model::Gated(model) => {
            let [backbone, mut gater] = model.parameter_groups();
            (gater.learning_rate_factor, gater.weight_decay) = (0.5, Some(1e-2));
            Sgd::with_groups(vec![backbone, gater], config)
        }
    }
    .expect("in range")
}

/// What the device draws for the gates of a step: as random.cuh has it, in f64.
pub(crate) fn draw(model: &GatedNet, step: usize, batch: usize) -> GateDraw {
    /// Noise, coins, images, layers.
    const PURPOSES: u32 = 4;
    let words = |purpose: u32, index: usize| {
        // The only stream is 0.
        let counter = [index as u32, purpose % PURPOSES, step as u32, 0];
        philox4x32_10(counter, SEED)
    };
    let outputs = model.plan().outputs();
    let noise = |of_quad: &dyn Fn([u32; 4]) -> [f64; 4]| {
        let quads = (0..(batch * outputs).div_ceil(4)).flat_map(|quad| of_quad(words(0, quad)));
        let noise = quads.take(batch * outputs).map(|x| x as f32).collect();
        Tensor::new(noise, [batch, outputs]).expect("as long")
    };
    match model.config().estimator {
        Estimator::SemHash => GateDraw::SemHash(SemHashDraw {
            noise: noise(&normals),
            discrete: (0..batch).map(|n| words(1, n)[0] >> 31 == 1).collect(),
        }),
        Estimator::GumbelSigmoid { .. } => GateDraw::Logistic(noise(&|words| words.map(logistic))),
        Estimator::StraightThrough | Estimator::TopK { .. } => GateDraw::Nothing,
    }
}

fn normals(words: [u32; 4]) -> [f64; 4] {
    let uniform = |word: u32| f64::from((word >> 8) + 1) / f64::from(1 << 24);
    let pair = |radius: u32, angle: u32| {
        let radius = (-2.0 * uniform(radius).ln()).sqrt();
        let angle = std::f64::consts::TAU * uniform(angle);
        [radius * angle.cos(), radius * angle.sin()]
    };
    let [a, b, c, d] = words;
    let ([a, b], [c, d]) = (pair(a, b), pair(c, d));
    [a, b, c, d]
}

fn logistic(word: u32) -> f64 {
    let u = (f64::from(word >> 8) + 0.5) / f64::from(1 << 24);
    u.ln() - (-u).ln_1p()
}

/// What a step says: loss, right answers, fraction of open gates.
pub(crate) type Said = [f64; 3];

/// What a step on the CPU may have beside the usual.
#[derive(Default)]
pub(crate) struct Extras<'a> {
    pub(crate) max_norm: Option<f32>,
    pub(crate) averages: Option<&'a mut Ema>,
    pub(crate) mix: Option<&'a MixupDraw>,
}

/// Step `step` of `steps` on the CPU.
pub(crate) fn cpu_step(
    model: &Model,
    sgd: &mut Sgd,
    data: &Data,
    numbers: &[usize],
    of: [usize; 2],
) -> Said {
    cpu_step_with(model, sgd, data, numbers, of, Extras::default())
}

pub(crate) fn cpu_step_with(
    model: &Model,
    sgd: &mut Sgd,
    data: &Data,
    numbers: &[usize],
    [step, steps]: [usize; 2],
    extras: Extras<'_>,
) -> Said {
    let criterion = CrossEntropyLoss::new(0.1).expect("in range");
    let mut batch = data.batch(numbers);
    let certain = one_hot(&batch.labels, CLASSES).expect("in range");
    let targets = extras.mix.map_or(certain, |draw| {
        let mixed = mixup(&batch, CLASSES, draw).expect("fits");
        batch.images = mixed.images;
        mixed.targets
    });
    let (images, ctx) = (batch.images, Ctx::train(0));
    let mut ctx =
        ctx.with_progress(step.saturating_sub(OPEN_STEPS), steps.saturating_sub(OPEN_STEPS));
    sgd.set_learning_rate(rates(steps)[step]).expect("in range");
    let (logits, loss, open) = match model {
        Model::Plain(model) => {
            let logits = model.forward(&images, &mut ctx).expect("fits");
            let loss = criterion.forward(&logits, &targets).expect("fits");
            (logits, loss, 1.0)
        }
        Model::Gated(model) => {
            let draw = draw(model, step, numbers.len());
            let output = model.forward_with_draw(&images, &draw, &mut ctx).expect("fits");
            let loss = model.loss_with(&output, &criterion, &targets).expect("fits");
            let open = output.gates.density();
            (output.logits, loss.total, open)
        }
    };
    let value = f64::from(loss.item().expect("a scalar"));
    let mut gradients = loss.backward().expect("in a graph");
    if let Some(max_norm) = extras.max_norm {
        clip_grad_norm(&model.parameters(), &mut gradients, max_norm).expect("all there");
    }
    sgd.step(&gradients).expect("all have gradients");
    extras.averages.map_or(Ok(()), Ema::update).expect("one length");
    let rows = logits.data().chunks(CLASSES).zip(targets.data().chunks(CLASSES));
    let best = |row: &[f32]| (0..CLASSES).rev().max_by(|&a, &b| row[a].total_cmp(&row[b]));
    let correct = rows.map(|(row, shares)| best(row).map_or(0.0, |best| f64::from(shares[best])));
    [value, correct.sum(), open]
}

/// Every tensor of the model's state that is a number of f32, by name.
pub(crate) fn state(model: &Model) -> Vec<(String, Vec<f32>)> {
    let value = |(name, state): (String, gaternet_core::nn::State)| match state {
        gaternet_core::nn::State::Parameter(parameter) => {
            Some((name, parameter.tensor().data().to_vec()))
        }
        gaternet_core::nn::State::Buffer(buffer) => Some((name, buffer.tensor().data().to_vec())),
        gaternet_core::nn::State::Counter(counter) => Some((name, vec![counter.get() as f32])),
    };
    model.state().into_iter().filter_map(value).collect()
}

/// The relative L2 distance of two lists.
pub(crate) fn distance(got: &[f32], want: &[f32]) -> f64 {
    assert_eq!(got.len(), want.len());
    let squares = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>();
    let pairs = got.iter().zip(want).map(|(&a, &b)| f64::from(a) - f64::from(b));
    let norm = squares(&mut want.iter().map(|&b| f64::from(b)));
    (squares(&mut { pairs }) / norm.max(1e-30)).sqrt()
}
