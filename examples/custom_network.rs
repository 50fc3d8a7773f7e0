//! Gates a network of one's own: a small one is written here, gated, trained for a minute on the
//! built-in images, and run with its closed filters left out.
//!
//! `cargo run --release --example custom_network`

#[path = "common/note.rs"]
mod note;
#[path = "common/report.rs"]
mod report;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use gaternet::core::data::{Augment, Loader, LoaderConfig, synthetic};
use gaternet::core::nn::Module;
use gaternet::core::optim::{Optimizer, Sgd, SgdConfig};
use gaternet::core::{Ctx, Tensor};
use gaternet::models::{
    ConvRole, GatePlacement, GatedNet, GaterConfig, InferencePlan, Network, NetworkBuilder,
    PlanOptions,
};

use crate::report::{exit_code, say};

/// Three units of a hidden 3x3 convolution and a 1x1 convolution back, on maps of 32, 16 and 8 pixels.
fn network(classes: usize) -> Result<Network> {
    let (mut net, images) = NetworkBuilder::new(3, 0);
    let mut x = net.conv("stem", images, 16, 3).batch_norm("stem_bn").relu().done()?;
    for unit in 1..=3 {
        let (name, width) = (|layer: &str| format!("unit{unit}.{layer}"), 16 << (unit - 1));
        let stride = if unit == 1 { 1 } else { 2 };
        // The gates of these may close: the role says so.
        let hidden = net
            .conv(name("conv1"), x, 4 * width, 3)
            .stride(stride)
            .batch_norm(name("bn1"))
            .relu()
            .role(ConvRole::Hidden)
            .done()?;
        let skip = match stride {
            1 => x,
            _ => {
                net.conv(name("skip"), x, width, 1).stride(2).batch_norm(name("skip_bn")).done()?
            }
        };
        x = net
            .conv(name("conv2"), hidden, width, 1)
            .batch_norm(name("bn2"))
            .residual(skip)
            .relu()
            .done()?;
    }
    let features = net.global_avg_pool(x);
    net.linear("fc", features, classes)?;
    Ok(net.finish())
}

fn main() -> ExitCode {
    exit_code(run())
}

fn run() -> Result<()> {
    let (train, test) = synthetic(0, 4000, 1000);
    let train = Arc::new(train);
    let gater = GaterConfig { depth: 8, pool: 2, ..GaterConfig::default() };
    let model = GatedNet::gate(network(train.classes().len())?, GatePlacement::Hidden, gater, 1)?;
    say!("{} gates on {} convolutions", model.plan().gates(), model.plan().slots().len())?;

    let augment = Augment::train();
    let config = LoaderConfig { batch_size: 64, drop_last: false, shuffle: true, seed: 0, augment };
    let loader = Loader::new(Arc::clone(&train), config)?;
    let mut sgd = Sgd::new(model.parameters(), SgdConfig::default())?;
    let mut step = 0;
    for epoch in 1..=4 {
        let mut correct = 0;
        for batch in loader.epoch(epoch) {
            let batch = batch?;
            step += 1;
            let output = model.forward(&batch.images, &mut Ctx::train(2).with_stream(step))?;
            correct += right(&output.logits, &batch.labels);
            sgd.step(&model.loss(&output, &batch.labels)?.total.backward()?)?;
        }
        say!("epoch {epoch}: {:.1} % right", 100.0 * correct as f64 / train.len() as f64)?;
    }

    let config = LoaderConfig {
        batch_size: 1000,
        drop_last: false,
        shuffle: false,
        seed: 0,
        augment: Augment::eval(),
    };
    let mut plan = InferencePlan::gated(&model, PlanOptions::default())?;
    for batch in Loader::new(Arc::new(test), config)?.epoch(0) {
        let batch = batch?;
        let mut logits = vec![0.0; batch.labels.len() * plan.classes()];
        plan.run(batch.images.data(), &mut logits)?;
        let logits = Tensor::new(logits, [batch.labels.len(), plan.classes()])?;
        let gates = model.forward(&batch.images, &mut Ctx::eval())?.gates;
        say!(
            "test: {:.1} % right with {:.1} % of the gates open and {:.2}x the MACs, gater included",
            100.0 * right(&logits, &batch.labels) as f64 / batch.labels.len() as f64,
            100.0 * gates.density(),
            model.cost([32, 32], &gates)?.ratio()
        )?;
    }
    Ok(())
}

/// Images whose largest logit is that of their label.
fn right(logits: &Tensor, labels: &[usize]) -> usize {
    let rows = logits.data().chunks_exact(logits.dims()[1]).zip(labels);
    rows.filter(|(row, label)| row.iter().all(|logit| *logit <= row[**label])).count()
}
