//! Products of bf16 against the f64 reference. Every case of the convolution's own tests comes by
//! [`check`].

use half::bf16;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::RngSeed;

use crate::DType;
use crate::cpu::conv2d::tests::{Case, Geometry, active_list, algorithms, gates};
use crate::cpu::conv2d::{Active, Algorithm, Epilogue, Method, PreparedConv2d};
use crate::cpu::isa::Isa;
use crate::dims::Conv2dDims;
use crate::reference::conv2d as reference;
use crate::testing::{assert_close, values, widen};

fn prepared(isa: Isa, algorithm: Algorithm, case: &Case) -> PreparedConv2d {
    let method = Method { algorithm, dtype: DType::Bf16 };
    PreparedConv2d::with_method(isa, method, &case.dims, &case.weight, None).expect("valid")
}

fn forward(isa: Isa, algorithm: Algorithm, case: &Case, active: Active) -> Vec<f32> {
    let mut y = vec![f32::NAN; case.dims.output_len()];
    let conv = prepared(isa, algorithm, case);
    conv.forward(case.dims.batch(), active, &case.input, Epilogue::default(), &mut y)
        .expect("valid");
    y
}

fn rounded(values: &[f32]) -> Vec<f32> {
    values.iter().map(|x| bf16::from_f32(*x).to_f32()).collect()
}

/// Most that rounding both operands from -1 to 1 changes a sum: twelve standard deviations of what
/// was measured.
pub(in super::super) fn rounding(algorithm: Algorithm, dims: &Conv2dDims) -> f64 {
    let deviation = match algorithm {
        Algorithm::Direct => 0.8e-3,
        Algorithm::Winograd2 => 1.4e-3,
        Algorithm::Winograd4 => 4.5e-3,
    };
    12.0 * deviation * ((dims.in_channels() * dims.taps()) as f64).sqrt()
}

/// The forward pass under every instruction set against the reference. The direct algorithm rounds
/// input and weights and nothing else; Winograd's rounds what they are transformed to.
pub(in super::super) fn check(case: &Case, active: Active) {
    let dims = &case.dims;
    let reference = |x: &[f32], w: &[f32]| {
        reference::forward(dims, active.filters, active.channels, &widen(x), &widen(w))
    };
    for algorithm in algorithms(dims) {
        let (want, bound) = match algorithm {
            Algorithm::Direct => {
                let sums = ((dims.in_channels() * dims.taps()) as f64 + 4.0).sqrt();
                (reference(&rounded(&case.input), &rounded(&case.weight)), 1.5e-6 * sums)
            }
            _ => (reference(&case.input, &case.weight), rounding(algorithm, dims)),
        };
        for isa in Isa::available() {
            let y = forward(isa, algorithm, case, active);
            assert_close((isa, algorithm, dims, "forward in bf16"), &y, &want, bound);
        }
    }
}

/// Channels and filters of which some tile, pair or vector is not full.
const COUNTS: [usize; 7] = [1, 3, 15, 16, 17, 64, 160];
const SIDES: [usize; 10] = [1, 4, 7, 8, 14, 15, 28, 32, 33, 56];

/// A convolution that keeps the size of its maps, and densities of its filters and channels.
fn cases() -> impl Strategy<Value = (Geometry, [usize; 2])> {
    let shape = (1usize..3, select(&COUNTS), select(&COUNTS), select(&SIDES), select(&[1, 3]));
    let small = |(n, c, f, side, k): &(usize, usize, usize, usize, usize)| {
        n * c * f * side * side * k * k <= 1 << 20
    };
    let shape = shape.prop_filter("quick to check", small);
    (shape, [0usize..4, 0..4]).prop_map(|((n, c, f, side, k), densities)| {
        (([n, c, side, side], [f, c, k, k], [1, 1], [k / 2; 2]), densities)
    })
}

fn with_gates(geometry: Geometry, densities: [usize; 2]) -> (Case, [Vec<f32>; 2]) {
    let case = Case::new(geometry);
    let (n, sides) = (case.dims.batch(), [case.dims.out_channels(), case.dims.in_channels()]);
    let gates = std::array::from_fn(|i| gates(densities[i], n, sides[i], 4 + i as u64));
    (case, gates)
}

fn mask(gates: &[f32], values: &mut [f32]) {
    let planes = values.chunks_mut((values.len() / gates.len()).max(1));
    for (_, plane) in gates.iter().zip(planes).filter(|(gate, _)| **gate == 0.0) {
        plane.fill(0.0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

    #[test]
    fn any_channels_size_and_density_agree_with_the_reference(
        (geometry, densities) in cases()
    ) {
        let (case, [filters, channels]) = with_gates(geometry, densities);
        let filters = active_list(&filters, case.dims.out_channels());
        let channels = active_list(&channels, case.dims.in_channels());
        check(&case, Active { filters: Some(&filters), channels: Some(&channels) });
    }

    #[test]
    fn skipping_has_the_bits_of_masking((geometry, densities) in cases()) {
        let (mut case, [open_f, open_c]) = with_gates(geometry, densities);
        let filters = active_list(&open_f, case.dims.out_channels());
        let channels = active_list(&open_c, case.dims.in_channels());
        let active = Active { filters: Some(&filters), channels: Some(&channels) };
        for isa in Isa::available() {
            for algorithm in algorithms(&case.dims) {
                let skipped = forward(isa, algorithm, &case, active);
                let input = case.input.clone();
                mask(&open_c, &mut case.input);
                let mut masked = forward(isa, algorithm, &case, Active::default());
                mask(&open_f, &mut masked);
                case.input = input;
                // 0 == -0: a sum of no terms is +0, a sum of negative zeros need not be.
                prop_assert!(masked == skipped, "{isa}, {algorithm}: skip and mask differ");
            }
        }
    }
}

#[test]
fn instruction_sets_have_the_same_bits() {
    let case = Case::new(([2, 67, 9, 14], [19, 67, 3, 3], [1, 1], [1, 1]));
    let channels = active_list(&gates(2, 2, 67, 5), 67);
    for active in [Active::default(), Active { channels: Some(&channels), ..Active::default() }] {
        // F(4x4) multiplies in its transforms, where some sets fuse and others round twice.
        for algorithm in [Algorithm::Direct, Algorithm::Winograd2] {
            let portable = forward(Isa::available()[0], algorithm, &case, active);
            for isa in Isa::available() {
                let y = forward(isa, algorithm, &case, active);
                assert!(y == portable, "{isa}, {algorithm}: other bits than portable code");
            }
        }
    }
}

#[test]
fn bits_do_not_depend_on_the_number_of_threads() {
    let case = Case::new(([3, 17, 16, 16], [40, 17, 3, 3], [1, 1], [1, 1]));
    let channels = active_list(&gates(2, 3, 17, 5), 17);
    let active = Active { channels: Some(&channels), ..Active::default() };
    let isa = Isa::current().expect("a valid GATERNET_ISA");
    for algorithm in Algorithm::ALL {
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            pool.expect("a pool").install(|| forward(isa, algorithm, &case, active))
        };
        let one = run(1);
        for threads in [2, 4, 7] {
            assert!(run(threads) == one, "{algorithm}: {threads} threads give other bits than one");
        }
    }
}

#[test]
fn what_is_off_is_not_read() {
    let mut case = Case::new(([3, 33, 8, 8], [31, 33, 3, 3], [1, 1], [1, 1]));
    let off = |len: usize| (0..3 * len).map(|i| f32::from(u8::from(i % len % 3 != 1))).collect();
    let (open_f, open_c): (Vec<f32>, Vec<f32>) = (off(31), off(33));
    let (filters, channels) = (active_list(&open_f, 31), active_list(&open_c, 33));
    let active = Active { filters: Some(&filters), channels: Some(&channels) };
    let run = |case: &Case| -> Vec<_> {
        let all = Isa::available().into_iter().flat_map(|isa| Algorithm::ALL.map(|a| (isa, a)));
        all.map(|(isa, algorithm)| ((isa, algorithm), forward(isa, algorithm, case, active)))
            .collect()
    };
    let clean = run(&case);
    for (i, taps) in case.weight.chunks_mut(9).enumerate() {
        if i / 33 % 3 == 1 || i % 33 % 3 == 1 {
            taps.fill(f32::NAN);
        }
    }
    for (plane, gate) in case.input.chunks_mut(64).zip(&open_c) {
        plane.iter_mut().for_each(|x| *x = if *gate == 0.0 { f32::NAN } else { *x });
    }
    for (clean, poisoned) in clean.iter().zip(run(&case)) {
        assert!(*clean == poisoned, "{:?}: a NaN that is off reached a result", clean.0);
    }
}

#[test]
fn rounds_to_the_nearest_bf16_and_ties_to_even() {
    // One pixel a channel, one filter of ones: the sum is that of the rounded inputs, in order.
    let step = 2f32.powi(-8);
    let ties = [1.0 + step, 1.0 + 3.0 * step, 1.0 + 1.01 * step, -1.0 - step, 1e38, -3e38];
    let want = [1.0, 1.0 + 4.0 * step, 1.0 + 2.0 * step, -1.0, 1e38, -3e38];
    let special = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MAX];
    let after = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::INFINITY];
    let random = values(3, 50);
    let inputs = ties.into_iter().chain(special).chain(random.iter().copied());
    let wants = want.into_iter().chain(after).chain(rounded(&random));
    let dims = Conv2dDims::new([1, 1, 1, 1], [1, 1, 1, 1], [1; 2], [0; 2]).expect("valid");
    for isa in Isa::available() {
        let method = Method { algorithm: Algorithm::Direct, dtype: DType::Bf16 };
        let conv = PreparedConv2d::with_method(isa, method, &dims, &[1.0], None).expect("valid");
        for (input, want) in inputs.clone().zip(wants.clone()) {
            let want = bf16::from_f32(want).to_f32();
            let mut y = [0.0];
            conv.forward(1, Active::default(), &[input], Epilogue::default(), &mut y)
                .expect("fits");
            assert!(y[0] == want || y[0].is_nan() && want.is_nan(), "{isa}: {input} is {}", y[0]);
        }
    }
}
