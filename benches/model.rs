//! Inference of whole networks on 32x32 images: the plain backbone, and the gated network with its
//! closed filters computed (masked) or not (skipped), in f32 and bf16. Gates on every inner filter
//! and residual output, half open.
//!
//! `cargo bench --bench model`; throughput counts images. Also prints the MACs of an image.

mod common;

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use gaternet::cli::throughput_network::{Gating, Network};
use gaternet::models::{DType, GatePlacement, GatedConfig, ModelName};

const MODELS: [ModelName; 4] =
    [ModelName::Resnet20, ModelName::Resnet56, ModelName::Resnet110, ModelName::Wrn28_10];
const DENSITY: f64 = 0.5;

fn main() {
    common::run(|criterion| {
        for model in MODELS {
            let config =
                GatedConfig { placement: GatePlacement::All, ..GatedConfig::new(model.config(10)) };
            let network = Network::new(config).expect("a valid configuration");
            for batch in [1, 64] {
                for dtype in DType::ALL {
                    inference(criterion, &model.to_string(), &network, batch, dtype);
                }
            }
        }
    });
}

fn inference(
    criterion: &mut Criterion,
    model: &str,
    network: &Network,
    batch: usize,
    dtype: DType,
) {
    let batches = network.draw(batch, DENSITY).expect("it fits");
    let mut group = criterion.benchmark_group(format!("inference {model} batch {batch} {dtype}"));
    group.throughput(Throughput::Elements((batches.len() * batch) as u64));
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    for gating in [Gating::Dense, Gating::Masked, Gating::Skipped] {
        let macs = network.macs_ratio(gating, &batches).expect("the gates fit");
        println!("{model} {gating}: {macs:.2}x the MACs of the plain backbone");
        let mut round = network.round(gating, dtype, &batches).expect("it fits");
        group.bench_function(BenchmarkId::from_parameter(gating), |bencher| {
            bencher.iter(|| round().expect("the images fit the model"));
        });
    }
}
