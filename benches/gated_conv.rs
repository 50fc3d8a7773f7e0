//! Forward convolution over densities of live filters: time must fall with them.
//!
//! `cargo bench --bench gated_conv`; throughput counts the multiply-accumulates of the dense layer, so a
//! skip shows as a higher rate.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use gaternet::core::{Ctx, Tensor};
use gaternet::kernels::cpu::conv2d::{self, Algorithm, Live};
use gaternet::kernels::{ActiveFilters, Conv2dDims, Isa};
use rand::RngExt;

/// (channels and filters, side): the stages of the CIFAR ResNets, and one wide layer.
const SHAPES: [(usize, usize); 4] = [(16, 32), (32, 16), (64, 8), (160, 32)];

fn forward(criterion: &mut Criterion) {
    let isa = Isa::current().expect("GATERNET_ISA must name a set this machine has");
    let mut rng = Ctx::train(0);
    for batch in [1, 64] {
        for (channels, side) in SHAPES {
            let (input, weight) = ([batch, channels, side, side], [channels, channels, 3, 3]);
            let dims = Conv2dDims::new(input, weight, [1, 1], [1, 1]).expect("a valid shape");
            let x = Tensor::randn(input, 1.0, rng.rng()).expect("it fits");
            let w = Tensor::randn(weight, 0.1, rng.rng()).expect("it fits");
            let mut y = vec![0.0; dims.output_len()];
            let name = format!("conv {channels}x{channels}@{side} batch {batch}");
            let mut group = criterion.benchmark_group(name);
            group.throughput(Throughput::Elements(dims.macs_per_sample() * batch as u64));
            for density in [1.0, 0.75, 0.5, 0.25, 0.1] {
                let gates: Vec<f32> = (0..batch * channels)
                    .map(|_| f32::from(u8::from(rng.rng().random_bool(density))))
                    .collect();
                let live = ActiveFilters::from_columns(&gates, channels, 0, channels);
                let live = Live { filters: live.as_ref(), channels: None };
                group.bench_function(BenchmarkId::new("density", density), |bencher| {
                    bencher.iter(|| {
                        conv2d::forward(
                            isa,
                            Algorithm::choose(&dims),
                            &dims,
                            live,
                            x.data(),
                            w.data(),
                            black_box(&mut y),
                        )
                    });
                });
            }
            group.finish();
        }
    }
}

criterion_group!(benches, forward);
criterion_main!(benches);
