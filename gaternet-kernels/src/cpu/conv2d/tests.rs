//! Every kernel and instruction set against the f64 reference, over sizes that leave remainders.

use proptest::prelude::*;

use super::*;
use crate::DType;
use crate::active_filters::ActiveFilters;
use crate::reference::conv2d as reference;
use crate::testing::{assert_close, values, widen};

/// Input, weight, stride, padding.
pub(super) type Geometry = ([usize; 4], [usize; 4], [usize; 2], [usize; 2]);

/// Strides, odd sizes, 1x1, channel counts around vector widths,
/// kernels smaller than the stride, more padding than the kernel covers, remainders of every tile.
#[rustfmt::skip]
const CASES: &[Geometry] = &[
    ([2, 16, 32, 32], [16, 16, 3, 3], [1, 1], [1, 1]),
    ([2, 32, 16, 16], [17, 32, 3, 3], [1, 1], [1, 1]),
    ([3, 33, 8, 8], [31, 33, 3, 3], [1, 1], [1, 1]),
    ([1, 3, 9, 9], [16, 3, 3, 3], [1, 1], [1, 1]),
    ([2, 16, 32, 32], [19, 16, 3, 3], [2, 2], [1, 1]),
    ([2, 5, 15, 13], [7, 5, 3, 3], [2, 2], [1, 1]),
    ([2, 6, 14, 18], [10, 6, 1, 1], [2, 2], [0, 0]),
    ([2, 19, 7, 7], [9, 19, 1, 1], [1, 1], [0, 0]),
    ([1, 3, 23, 23], [5, 3, 7, 7], [2, 2], [3, 3]),
    ([2, 4, 11, 6], [3, 4, 5, 2], [1, 2], [2, 0]),
    ([1, 2, 10, 10], [3, 2, 2, 3], [3, 4], [1, 2]),
    ([1, 2, 4, 5], [3, 2, 1, 1], [1, 1], [2, 3]),
    ([1, 2, 4, 5], [2, 2, 2, 2], [3, 3], [4, 4]),
    ([2, 1, 1, 1], [1, 1, 1, 1], [1, 1], [0, 0]),
    ([1, 1, 1, 1], [2, 1, 3, 3], [1, 1], [1, 1]),
    ([0, 2, 4, 4], [2, 2, 3, 3], [1, 1], [1, 1]),
    ([1, 2, 3, 40], [9, 2, 3, 3], [1, 1], [0, 0]),
    ([1, 2, 0, 3], [2, 2, 3, 3], [1, 1], [2, 1]),
    // One tap and rows enough for panels: several panels, strides, padding, one of nine taps.
    ([2, 37, 9, 7], [35, 37, 1, 1], [1, 1], [0, 0]),
    ([1, 64, 30, 21], [33, 64, 1, 1], [1, 1], [0, 0]),
    ([1, 40, 15, 13], [33, 40, 1, 1], [2, 2], [0, 0]),
    ([1, 34, 8, 11], [32, 34, 1, 1], [1, 1], [1, 1]),
    ([1, 33, 9, 9], [34, 33, 3, 3], [2, 2], [1, 1]),
];

/// Gates of a batch: none, one, about half, all open, or all of every second sample.
pub(super) fn gates(density: usize, batch: usize, filters: usize, seed: u64) -> Vec<f32> {
    let draws = values(seed, batch * filters);
    let open = |i: usize, draw: f32| match density {
        0 => false,
        1 => i % filters == (i / filters) % filters,
        2 => draw > 0.0,
        3 => true,
        _ => (i / filters) % 2 == 1,
    };
    draws.iter().enumerate().map(|(i, draw)| f32::from(u8::from(open(i, *draw)))).collect()
}

pub(super) fn active_list(gates: &[f32], filters: usize) -> ActiveFilters {
    ActiveFilters::from_columns(gates, filters, 0, filters).expect("whole rows")
}

pub(super) fn algorithms(dims: &Conv2dDims) -> Vec<Algorithm> {
    Algorithm::ALL.into_iter().filter(|algorithm| algorithm.supports(dims)).collect()
}

fn methods(dims: &Conv2dDims) -> Vec<Method> {
    let of = |dtype| algorithms(dims).into_iter().map(move |algorithm| Method { algorithm, dtype });
    DType::ALL.into_iter().flat_map(of).collect()
}

pub(super) struct Case {
    pub(super) dims: Conv2dDims,
    pub(super) input: Vec<f32>,
    pub(super) weight: Vec<f32>,
    grad: Vec<f32>,
}

impl Case {
    pub(super) fn new((input, weight, stride, padding): Geometry) -> Case {
        let dims = Conv2dDims::new(input, weight, stride, padding).expect("a valid case");
        Case {
            dims,
            input: values(1, dims.input_len()),
            weight: values(2, dims.weight_len()),
            grad: values(3, dims.output_len()),
        }
    }

    /// All kernels under every instruction set against the reference.
    fn check(&self, filters: Option<&ActiveFilters>, channels: Option<&ActiveFilters>) {
        let (dims, active) = (&self.dims, Active { filters, channels });
        let (x, w, dy) = (widen(&self.input), widen(&self.weight), widen(&self.grad));
        let y = reference::forward(dims, filters, channels, &x, &w);
        let dx = reference::backward_input(dims, filters, channels, &dy, &w);
        let dw = reference::backward_weight(dims, filters, channels, &x, &dy);
        // Rounding of a sum of terms below 1: grows with the number of terms.
        let bound = |terms: usize| 1e-6 * (terms as f64 + 4.0).sqrt();
        for isa in Isa::available() {
            for algorithm in algorithms(dims) {
                let error = if algorithm == Algorithm::Winograd4 { 6.0 } else { 1.5 };
                let mut got = vec![f32::NAN; dims.output_len()];
                forward(isa, algorithm, dims, active, &self.input, &self.weight, &mut got)
                    .expect("valid");
                let terms = dims.in_channels() * dims.taps();
                assert_close((isa, algorithm, dims, "forward"), &got, &y, error * bound(terms));

                let mut got = vec![f32::NAN; dims.input_len()];
                backward_input(isa, algorithm, dims, active, &self.grad, &self.weight, &mut got)
                    .expect("valid");
                let terms = dims.out_channels() * dims.taps();
                let what = (isa, algorithm, dims, "backward_input");
                assert_close(what, &got, &dx, error * bound(terms));

                let mut got = vec![f32::NAN; dims.weight_len()];
                backward_weight(isa, algorithm, dims, active, &self.input, &self.grad, &mut got)
                    .expect("valid");
                let terms = dims.batch() * dims.out_plane();
                let what = (isa, algorithm, dims, "backward_weight");
                assert_close(what, &got, &dw, 2.0 * error * bound(terms));
            }
        }
        bf16::tests::check(self, active);
    }
}

#[test]
fn dense_kernels_agree_with_the_reference() {
    for case in CASES {
        Case::new(*case).check(None, None);
    }
}

#[test]
fn gated_kernels_agree_with_the_reference_at_every_density() {
    for case in CASES {
        let case = Case::new(*case);
        let (n, f, c) = (case.dims.batch(), case.dims.out_channels(), case.dims.in_channels());
        for density in 0..5 {
            let filters = active_list(&gates(density, n, f, 4), f);
            let channels = active_list(&gates(density, n, c, 5), c);
            case.check(Some(&filters), None);
            case.check(None, Some(&channels));
            case.check(Some(&filters), Some(&channels));
        }
    }
}

#[test]
fn every_size_and_channel_count_agrees_with_the_reference() {
    let sizes = [1, 4, 7, 8, 14, 15, 28, 32, 33, 56].map(|side| (side, 3, 5));
    let channels = [1, 3, 15, 16, 17, 64, 160].map(|channels| (7, channels, 17));
    let filters = [1, 3, 15, 16, 17, 64, 160].map(|filters| (5, 4, filters));
    let mut padding = (0..3).cycle();
    for (side, c, f) in sizes.into_iter().chain(channels).chain(filters) {
        let padding = padding.next().filter(|p| side + 2 * p >= 3).unwrap_or(1);
        let case = Case::new(([1, c, side, side], [f, c, 3, 3], [1, 1], [padding; 2]));
        case.check(None, None);
        let (filters, channels) =
            (active_list(&gates(2, 1, f, 4), f), active_list(&gates(2, 1, c, 5), c));
        case.check(Some(&filters), Some(&channels));
    }
}

/// `relu(conv + bias + residual)`, where a filter that is not active gives 0 for `conv + bias`.
fn prepared_reference(case: &Case, active: Active, bias: &[f32], epilogue: Epilogue) -> Vec<f64> {
    let dims = &case.dims;
    let (x, w) = (widen(&case.input), widen(&case.weight));
    let mut y = reference::forward(dims, active.filters, active.channels, &x, &w);
    let planes = y.chunks_mut(dims.out_plane().max(1)).enumerate();
    for (i, plane) in planes {
        let (n, f) = (i / dims.out_channels(), i % dims.out_channels());
        let is_active = active.filters.is_none_or(|filters| filters.row(n).contains(&(f as u32)));
        let bias = if is_active { f64::from(bias[f]) } else { 0.0 };
        for (at, y) in plane.iter_mut().enumerate() {
            *y += bias + epilogue.residual.map_or(0.0, |r| f64::from(r[i * dims.out_plane() + at]));
            *y = if epilogue.relu { y.max(0.0) } else { *y };
        }
    }
    y
}

#[test]
fn a_prepared_convolution_adds_bias_residual_and_relu() {
    for case in [CASES[1], CASES[2], CASES[4], CASES[7], CASES[14], CASES[16]] {
        let case = Case::new(case);
        let dims = &case.dims;
        let (n, f, c) = (dims.batch(), dims.out_channels(), dims.in_channels());
        let (bias, residual) = (values(8, f), values(9, dims.output_len()));
        for density in [[0, 0], [1, 1], [2, 2], [3, 3], [2, 4], [3, 0]] {
            let filters = active_list(&gates(density[0], n, f, 4), f);
            let channels = active_list(&gates(density[1], n, c, 5), c);
            for (gated, add, relu) in
                [(true, true, true), (true, false, true), (true, true, false), (false, true, true)]
            {
                let active = match gated {
                    true => Active { filters: Some(&filters), channels: Some(&channels) },
                    false => Active::default(),
                };
                let epilogue = Epilogue {
                    residual: add.then_some(&residual[..]),
                    relu,
                    exclude_inactive: false,
                };
                let want = prepared_reference(&case, active, &bias, epilogue);
                for isa in Isa::available() {
                    for method in methods(dims) {
                        let what = (isa, method, dims, density, epilogue.relu, add);
                        let conv = PreparedConv2d::with_method(
                            isa,
                            method,
                            dims,
                            &case.weight,
                            Some(&bias),
                        )
                        .expect("valid");
                        let mut y = vec![f32::NAN; dims.output_len()];
                        conv.forward(n, active, &case.input, epilogue, &mut y).expect("valid");
                        let bound = match method.dtype {
                            DType::F32 => 1e-4,
                            DType::Bf16 => bf16::tests::rounding(method.algorithm, dims),
                        };
                        assert_close(what, &y, &want, bound);
                        for size in [1, 2] {
                            let groups = in_groups(size, &conv, &case, active, epilogue);
                            assert!(y == groups, "{what:?}, groups of {size}");
                        }
                    }
                }
            }
        }
    }
}

fn in_groups(
    size: usize,
    conv: &PreparedConv2d,
    case: &Case,
    active: Active,
    epilogue: Epilogue,
) -> Vec<f32> {
    let dims = &case.dims;
    let (input, output) = (dims.input_len() / dims.batch(), dims.output_len() / dims.batch());
    let mut y = vec![f32::NAN; dims.output_len()];
    for (group, y) in y.chunks_mut(size * output).enumerate() {
        let samples = group * size..group * size + y.len() / output;
        let of = |len: usize| samples.start * len..samples.end * len;
        let residual = epilogue.residual.map(|all| &all[of(output)]);
        let (x, epilogue) = (&case.input[of(input)], Epilogue { residual, ..epilogue });
        conv.forward_here(samples, active, x, epilogue, y).expect("valid");
    }
    y
}

#[test]
fn a_prepared_convolution_refuses_what_does_not_fit() {
    let case = Case::new(CASES[3]);
    let (isa, dims) = (Isa::available()[0], &case.dims);
    let error = PreparedConv2d::new(isa, dims, &case.weight[1..], None).err().expect("too short");
    assert!(error.to_string().contains("`weight` has 431 elements"), "{error}");
    let strided = Case::new(CASES[4]);
    let algorithm = Algorithm::Winograd2;
    let error = PreparedConv2d::with_method(isa, algorithm, &strided.dims, &strided.weight, None);
    assert!(error.err().expect("a stride").to_string().contains("stride 1"));

    let conv = PreparedConv2d::new(isa, dims, &case.weight, None).expect("valid");
    let mut y = vec![7.0; dims.output_len()];
    for (samples, channels) in [(4..5, 1), (0..1, 4)] {
        let list = ActiveFilters::from_columns(&[1.0; 4], channels, 0, channels);
        let list = list.expect("a row");
        let active = Active { channels: Some(&list), ..Active::default() };
        let error = conv.forward_here(samples, active, &case.input, Epilogue::default(), &mut y);
        let error = error.expect_err("no such list").to_string();
        assert!(error.contains("active.channels"), "{error}");
    }
    let short = Epilogue { residual: Some(&case.input), ..Epilogue::default() };
    assert!(conv.forward(1, Active::default(), &case.input, short, &mut y).is_err());
    assert!(conv.forward(2, Active::default(), &case.input, Epilogue::default(), &mut y).is_err());
    assert!(y.iter().all(|y| *y == 7.0), "output was written by a refused call");
}

#[test]
fn skipping_has_the_bits_of_masking() {
    for case in CASES {
        let case = Case::new(*case);
        let dims = &case.dims;
        let (n, f, c) = (dims.batch(), dims.out_channels(), dims.in_channels());
        let (open_f, open_c) = (gates(2, n, f, 6), gates(2, n, c, 7));
        let (filters, channels) = (active_list(&open_f, f), active_list(&open_c, c));
        let mask = |gates: &[f32], plane: usize, values: &mut [f32]| {
            for (gate, plane) in gates.iter().zip(values.chunks_mut(plane.max(1))) {
                plane.iter_mut().for_each(|v| *v = if *gate == 0.0 { 0.0 } else { *v });
            }
        };
        let mut masked_input = case.input.clone();
        mask(&open_c, dims.in_plane(), &mut masked_input);
        for isa in Isa::available() {
            for algorithm in algorithms(dims) {
                let run = |active, input: &[f32]| {
                    let mut y = vec![f32::NAN; dims.output_len()];
                    forward(isa, algorithm, dims, active, input, &case.weight, &mut y)
                        .expect("valid");
                    y
                };
                let mut dense = run(Active::default(), &masked_input);
                mask(&open_f, dims.out_plane(), &mut dense);
                let active = Active { filters: Some(&filters), channels: Some(&channels) };
                let skipped = run(active, &case.input);
                // 0 == -0: a sum of no terms is +0, a sum of negative zeros need not be.
                assert!(dense == skipped, "{isa}, {algorithm}: skip and mask differ for {dims:?}");
            }
        }
    }
}

#[test]
fn what_is_off_is_not_read() {
    nothing_off_is_read(CASES[2]);
    nothing_off_is_read(([2, 64, 9, 7], [65, 64, 1, 1], [1, 1], [0, 0]));
}

fn nothing_off_is_read(geometry: Geometry) {
    let mut case = Case::new(geometry);
    let (f, c) = (case.dims.out_channels(), case.dims.in_channels());
    let n = case.dims.batch();
    let off = |len: usize| (0..n * len).map(|i| f32::from(u8::from(i % len % 3 != 1))).collect();
    let (open_f, open_c): (Vec<f32>, Vec<f32>) = (off(f), off(c));
    let (filters, channels) = (active_list(&open_f, f), active_list(&open_c, c));
    let run = |case: &Case, isa: Isa, algorithm: Algorithm| {
        let active = Active { filters: Some(&filters), channels: Some(&channels) };
        let dims = &case.dims;
        let mut y = vec![f32::NAN; dims.output_len()];
        let mut dx = vec![f32::NAN; dims.input_len()];
        let mut dw = vec![f32::NAN; dims.weight_len()];
        forward(isa, algorithm, dims, active, &case.input, &case.weight, &mut y).expect("valid");
        backward_input(isa, algorithm, dims, active, &case.grad, &case.weight, &mut dx)
            .expect("valid");
        backward_weight(isa, algorithm, dims, active, &case.input, &case.grad, &mut dw)
            .expect("valid");
        (y, dx, dw)
    };
    let versions: Vec<_> = Isa::available()
        .into_iter()
        .flat_map(|isa| algorithms(&case.dims).into_iter().map(move |algorithm| (isa, algorithm)))
        .collect();
    let clean: Vec<_> =
        versions.iter().map(|(isa, algorithm)| run(&case, *isa, *algorithm)).collect();
    for (row, weights) in case.weight.chunks_mut(c * case.dims.taps()).enumerate() {
        for (channel, taps) in weights.chunks_mut(case.dims.taps()).enumerate() {
            if row % 3 == 1 || channel % 3 == 1 {
                taps.fill(f32::NAN);
            }
        }
    }
    let poison = |gates: &[f32], plane: usize, values: &mut [f32]| {
        for (gate, plane) in gates.iter().zip(values.chunks_mut(plane)) {
            if *gate == 0.0 {
                plane.fill(f32::NAN);
            }
        }
    };
    poison(&open_c, case.dims.in_plane(), &mut case.input);
    poison(&open_f, case.dims.out_plane(), &mut case.grad);
    for ((isa, algorithm), clean) in versions.into_iter().zip(clean) {
        let poisoned = run(&case, isa, algorithm);
        assert!(poisoned == clean, "{isa}, {algorithm}: a NaN that is off reached a result");
    }
}

#[test]
fn bits_do_not_depend_on_the_number_of_threads() {
    threads_give_the_same_bits(([3, 16, 16, 16], [40, 16, 3, 3], [1, 1], [1, 1]));
    threads_give_the_same_bits(([3, 35, 13, 11], [40, 35, 1, 1], [1, 1], [0, 0]));
    threads_give_the_same_bits(([3, 35, 13, 11], [40, 35, 1, 1], [2, 2], [0, 0]));
}

fn threads_give_the_same_bits(geometry: Geometry) {
    let case = Case::new(geometry);
    let isa = Isa::current().expect("a valid GATERNET_ISA");
    let run = |threads: usize, algorithm: Algorithm| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        pool.install(|| {
            let dims = &case.dims;
            let mut y = vec![0.0; dims.output_len()];
            let mut dx = vec![0.0; dims.input_len()];
            let mut dw = vec![0.0; dims.weight_len()];
            let active = Active::default();
            forward(isa, algorithm, dims, active, &case.input, &case.weight, &mut y)
                .expect("valid");
            backward_input(isa, algorithm, dims, active, &case.grad, &case.weight, &mut dx)
                .expect("valid");
            backward_weight(isa, algorithm, dims, active, &case.input, &case.grad, &mut dw)
                .expect("valid");
            (y, dx, dw)
        })
    };
    for algorithm in algorithms(&case.dims) {
        let one = run(1, algorithm);
        for threads in [2, 4, 7] {
            let same = run(threads, algorithm) == one;
            assert!(same, "{algorithm}: {threads} threads give other bits than one");
        }
    }
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_written() {
    let case = Case::new(CASES[0]);
    let isa = Isa::current().expect("a valid GATERNET_ISA");
    let mut output = vec![7.0; case.dims.output_len()];
    let short = &case.input[1..];
    let error = forward(
        isa,
        Algorithm::Direct,
        &case.dims,
        Active::default(),
        short,
        &case.weight,
        &mut output,
    );
    let text = error.expect_err("one element short").to_string();
    assert_eq!(text, "conv2d forward: `input` has 32767 elements, its dims need 32768");
    let other = active_list(&[1.0; 15], 15);
    let active = Active { filters: Some(&other), channels: None };
    let error =
        forward(isa, Algorithm::Direct, &case.dims, active, &case.input, &case.weight, &mut output);
    let text = error.expect_err("a list of another shape").to_string();
    assert!(text.contains("15 filters of 1 samples, expected 16 of 2"), "{text}");
    assert!(output.iter().all(|v| *v == 7.0), "output was written by a refused call");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_geometry_agrees_with_the_reference(
        n in 1usize..3, c in 1usize..20, f in 1usize..20, size in prop::array::uniform2(1usize..20),
        kernel in prop::array::uniform2(1usize..5), stride in prop::array::uniform2(1usize..4),
        padding in prop::array::uniform2(0usize..4), density in 0usize..4,
    ) {
        let input = [n, c, size[0], size[1]];
        let weight = [f, c, kernel[0], kernel[1]];
        prop_assume!(Conv2dDims::new(input, weight, stride, padding).is_ok());
        let case = Case::new((input, weight, stride, padding));
        let filters = active_list(&gates(density, n, f, 8), f);
        let channels = active_list(&gates(3 - density, n, c, 9), c);
        case.check(Some(&filters), Some(&channels));
    }
}
