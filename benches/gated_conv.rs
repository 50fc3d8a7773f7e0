//! Forward convolution in f32 and bf16 over densities of active filters and channels: time must
//! fall with them.
//!
//! `cargo bench --bench gated_conv`; throughput counts the multiply-accumulates of the dense layer,
//! so a skip shows as a higher rate.

mod common;

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use gaternet::cli::conv_layers::{Gates, LAYERS, Layer, cases};
use gaternet::core::{Ctx, Tensor};
use gaternet::kernels::DType;
use gaternet::kernels::Isa;
use gaternet::kernels::cpu::conv2d::{Epilogue, Method, PreparedConv2d};

fn main() {
    common::run(|criterion| {
        for layer in LAYERS {
            for batch in [1, 64] {
                for dtype in DType::ALL {
                    forward(criterion, layer, batch, dtype);
                }
            }
        }
    });
}

fn forward(criterion: &mut Criterion, layer: Layer, batch: usize, dtype: DType) {
    let isa = Isa::current().expect("GATERNET_ISA must name a set this machine has");
    let dims = layer.dims(batch).expect("a valid shape");
    let mut random = Ctx::train(0);
    let mut noise = |len, std| Tensor::randn([len], std, random.rng()).expect("it fits");
    let x = noise(dims.input_len(), 1.0);
    let w = noise(dims.weight_len(), layer.weight_std());
    let method = Method::choose(dtype, &dims);
    let prepared =
        PreparedConv2d::with_method(isa, method, &dims, w.data(), None).expect("lengths fit");
    let mut y = vec![0.0; dims.output_len()];

    let mut group = criterion.benchmark_group(format!("forward {layer} batch {batch} {dtype}"));
    group.throughput(Throughput::Elements(dims.macs_per_sample() * batch as u64));
    group.warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(500));
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    for (gating, density) in cases() {
        let gates = Gates::draw(layer, batch, gating, density, Ctx::train(1).rng());
        let mut gates = gates.iter().cycle();
        group.bench_function(BenchmarkId::new(gating.to_string(), density), |bencher| {
            bencher.iter(|| {
                let active = gates.next().expect("a cycle").active();
                let nothing = Epilogue::default();
                prepared.forward(batch, active, x.data(), nothing, &mut y).expect("valid sizes");
            });
        });
    }
}
