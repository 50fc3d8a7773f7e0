//! Both gradients of a convolution over densities of active filters: time must fall with them.
//!
//! `cargo bench --bench backward`; throughput counts the multiply-accumulates of the dense layer.

mod common;

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use gaternet::cli::conv_layers::{Gates, Gating, LAYERS, Layer, cases};
use gaternet::core::{Ctx, Tensor};
use gaternet::kernels::Isa;
use gaternet::kernels::cpu::conv2d::{self, Algorithm};

const BATCH: usize = 64;

fn main() {
    common::run(|criterion| {
        for layer in LAYERS {
            backward(criterion, layer);
        }
    });
}

fn backward(criterion: &mut Criterion, layer: Layer) {
    let isa = Isa::current().expect("GATERNET_ISA must name a set this machine has");
    let dims = layer.dims(BATCH).expect("a valid shape");
    let mut random = Ctx::train(0);
    let mut noise = |len, std| Tensor::randn([len], std, random.rng()).expect("it fits");
    let x = noise(dims.input_len(), 1.0);
    let w = noise(dims.weight_len(), layer.weight_std());
    let grad_y = noise(dims.output_len(), 1.0);
    let mut grad_x = vec![0.0; dims.input_len()];
    let mut grad_w = vec![0.0; dims.weight_len()];

    let mut group = criterion.benchmark_group(format!("backward {layer} batch {BATCH}"));
    group.throughput(Throughput::Elements(dims.macs_per_sample() * BATCH as u64));
    group.warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(500));
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    for (gating, density) in cases() {
        // A step of training knows the gates of the filters that it computes.
        if !matches!(gating, Gating::None | Gating::Output) {
            continue;
        }
        let gates = Gates::draw(layer, BATCH, gating, density, Ctx::train(1).rng());
        let [gates] = gates.as_slice() else { unreachable!("a batch has samples enough") };
        let active = gates.active();
        group.bench_function(BenchmarkId::new("input", density), |bencher| {
            bencher.iter(|| {
                let (algorithm, grad_y) = (Algorithm::choose(&dims), grad_y.data());
                conv2d::backward_input(
                    isa,
                    algorithm,
                    &dims,
                    active,
                    grad_y,
                    w.data(),
                    &mut grad_x,
                )
                .expect("valid sizes");
            });
        });
        group.bench_function(BenchmarkId::new("weight", density), |bencher| {
            bencher.iter(|| {
                let algorithm = Algorithm::choose_for_weight(&dims, active.filters.is_some());
                let (x, grad_y) = (x.data(), grad_y.data());
                conv2d::backward_weight(isa, algorithm, &dims, active, x, grad_y, &mut grad_w)
                    .expect("valid sizes");
            });
        });
    }
}
