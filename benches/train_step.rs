//! One step of training: forward pass, loss, backward pass, SGD. ResNet-20, plain and gated, 128
//! images.
//!
//! `cargo bench --bench train_step`; throughput counts images. Also prints the memory of a step.

mod common;

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use gaternet::core::nn::Module;
use gaternet::core::optim::{Optimizer, Sgd, SgdConfig};
use gaternet::core::{Ctx, Result, Tensor, memory, ops};
use gaternet::models::{GatedConfig, GatedResNet, Model, PlainNet};

const BATCH: usize = 128;

struct Training {
    model: Model,
    sgd: Sgd,
    /// (N, 3, 32, 32).
    images: Tensor,
    labels: Vec<usize>,
    steps: u64,
}

impl Training {
    fn new(model: Model) -> Result<Training> {
        let config = SgdConfig::default().with_learning_rate(0.01);
        Ok(Training {
            sgd: Sgd::new(model.parameters(), config)?,
            model,
            images: Tensor::randn([BATCH, 3, 32, 32], 1.0, Ctx::train(0).rng())?,
            labels: (0..BATCH).map(|n| n % 10).collect(),
            steps: 0,
        })
    }

    fn loss(&mut self) -> Result<Tensor> {
        self.steps += 1;
        let ctx = &mut Ctx::train(1).with_stream(self.steps);
        match &self.model {
            Model::Plain(model) => {
                ops::cross_entropy(&model.forward(&self.images, ctx)?, &self.labels)
            }
            Model::Gated(model) => {
                let output = model.forward(&self.images, ctx)?;
                Ok(model.loss(&output, &self.labels)?.total)
            }
        }
    }

    fn step(&mut self) -> Result<()> {
        let loss = self.loss()?;
        self.sgd.step(&loss.backward()?)
    }

    /// Bytes of tensors, beyond those that live between two steps: what the backward pass needs of
    /// the forward pass, and the most during a step.
    fn memory(&mut self) -> Result<(usize, usize)> {
        // The first step makes the velocities.
        self.step()?;
        memory::release();
        let between_steps = memory::live_bytes();
        let loss = self.loss()?;
        let saved = memory::live_bytes() - between_steps;
        self.sgd.step(&loss.backward()?)?;
        Ok((saved, memory::peak_bytes() - between_steps))
    }
}

fn main() {
    common::run(|criterion| {
        let config = GatedConfig::cifar(20, 10);
        let plain = PlainNet::new(config.backbone, 0).expect("a valid configuration");
        let gated = GatedResNet::new(config, 0).expect("a valid configuration");
        train_step(criterion, "plain", Model::Plain(plain.into()));
        train_step(criterion, "gated", Model::Gated(gated.into()));
    });
}

fn train_step(criterion: &mut Criterion, name: &str, model: Model) {
    let mut training = Training::new(model).expect("it fits");
    let (saved, peak) = training.memory().expect("the images fit the model");
    let mib = |bytes: usize| bytes as f64 / f64::from(1 << 20);
    println!(
        "{name} resnet20, batch {BATCH}: saved tensors {:.1} MiB, peak of a step {:.1} MiB ({:.2}x)",
        mib(saved),
        mib(peak),
        peak as f64 / saved as f64
    );
    let mut group = criterion.benchmark_group("train step");
    group.throughput(Throughput::Elements(BATCH as u64));
    group.warm_up_time(Duration::from_secs(2)).measurement_time(Duration::from_secs(10));
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    group.bench_function(BenchmarkId::new(name, BATCH), |bencher| {
        bencher.iter(|| training.step().expect("the images fit the model"));
    });
}
