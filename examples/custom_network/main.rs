//! Gates a network of one's own: a small one is written here, of blocks as MobileNetV2 has them
//! (Sandler et al. 2018) with two ops that the library does not know, gated, trained for a minute
//! on the built-in images, and run with its closed filters left out.
//!
//! `cargo run --release --example custom_network`

mod depthwise;
mod gelu;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use gaternet::cli::report::{exit_code, say};
use gaternet::core::data::{Augment, Dataset, Loader, LoaderConfig, synthetic};
use gaternet::core::nn::Module;
use gaternet::core::optim::{Optimizer, Sgd, SgdConfig};
use gaternet::core::{Ctx, Tensor};
use gaternet::models::{
    ConvRole, GatePlacement, GatedNet, GaterConfig, InferencePlan, Network, NetworkBuilder,
    PlanOptions,
};

use crate::depthwise::Depthwise;
use crate::gelu::Gelu;

/// Three blocks on maps of 32, 16 and 8 pixels: a 1x1 convolution to four times the channels, a
/// depthwise one, whose gates switch both, and a 1x1 convolution back.
fn network(classes: usize) -> Result<Network> {
    let (mut net, images) = NetworkBuilder::new(3, 0);
    let mut rng = Ctx::train(1);
    let mut x = net.conv("stem", images, 16, 3).batch_norm("stem_bn").relu().done()?;
    for block in 1..=3 {
        let name = |layer: &str| format!("block{block}.{layer}");
        if block > 1 {
            let stride = net.conv(name("down"), x, 16 << (block - 1), 1).stride(2);
            x = stride.batch_norm(name("down_bn")).relu().done()?;
        }
        let width = net.channels(x);
        let wide = net.conv(name("expand"), x, 4 * width, 1).batch_norm(name("bn1")).done()?;
        let wide = net.op(name("gelu"), Gelu, &[wide]).done()?;
        // The gates of these may close: the role says so.
        let depthwise = Depthwise::new(4 * width, &mut rng)?;
        let inner = net
            .op(name("depthwise"), depthwise, &[wide])
            .batch_norm(name("bn2"))
            .relu()
            .role(ConvRole::Inner)
            .done()?;
        let back = net.conv(name("project"), inner, width, 1).batch_norm(name("bn3"));
        x = back.residual(x).done()?;
    }
    let features = net.global_avg_pool(x);
    net.linear("fc", features, classes)?;
    Ok(net.finish()?)
}

fn main() -> ExitCode {
    exit_code(run())
}

fn run() -> Result<()> {
    let (train, test) = synthetic(0, 4000, 1000);
    let train = Arc::new(train);
    let gater = GaterConfig { depth: 8, width: 0.5, pool: 2, ..GaterConfig::default() };
    let model = GatedNet::gate(network(train.classes().len())?, GatePlacement::Inner, gater, 1)?;
    say!("{} gates on {} convolutions", model.plan().gates(), model.plan().layers().len())?;

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
    let plan = InferencePlan::gated(&model, PlanOptions::default())?;
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
