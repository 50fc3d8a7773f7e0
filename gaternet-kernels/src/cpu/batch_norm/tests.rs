use proptest::prelude::*;

use super::*;
use crate::Isa;
use crate::cpu::{elementwise, gate, relu};
use crate::reference::batch_norm as reference;
use crate::testing::{assert_close, gate_patterns, plane_grid, values, widen};

const EPS: f32 = 1e-3;

/// Data of one call, in both precisions.
struct Case {
    dims: PlaneDims,
    weight: Vec<f32>,
    bias: Vec<f32>,
    gates: Option<Vec<f32>>,
    residual: Option<Vec<f32>>,
    relu: bool,
    x: Vec<f32>,
    grad_y: Vec<f32>,
}

impl Case {
    fn new(dims: PlaneDims, gates: Option<Vec<f32>>, residual: bool, relu: bool) -> Case {
        Case {
            dims,
            weight: values(1, dims.channels),
            bias: values(2, dims.channels),
            gates,
            residual: residual.then(|| values(3, dims.len())),
            relu,
            // A mean that is not small beside the deviation.
            x: values(4, dims.len()).iter().map(|x| x + 3.0).collect(),
            grad_y: values(5, dims.len()),
        }
    }

    fn affine(&self) -> Affine<'_> {
        Affine { weight: &self.weight, bias: &self.bias, eps: EPS }
    }

    fn epilogue(&self) -> Epilogue<'_> {
        Epilogue {
            gates: self.gates.as_deref(),
            residual: self.residual.as_deref(),
            relu: self.relu,
        }
    }

    /// The reference's y and gradients with the statistics given.
    fn want(&self, batch_stats: bool, mean: &[f64], var: &[f64]) -> (Vec<f64>, reference::Grads) {
        let [weight, bias, x, grad_y] =
            [&self.weight, &self.bias, &self.x, &self.grad_y].map(|v| widen(v));
        let [gates, residual] = [&self.gates, &self.residual].map(|v| v.as_deref().map(widen));
        let bn = reference::BatchNorm {
            weight: &weight,
            bias: &bias,
            eps: f64::from(EPS),
            gates: gates.as_deref(),
            residual: residual.as_deref(),
            relu: self.relu,
        };
        let y = reference::forward(self.dims, &bn, mean, var, &x);
        let stats = (mean, var);
        (y, reference::backward(self.dims, &bn, batch_stats, stats, &x, &grad_y))
    }

    /// Every gradient from the kernel.
    fn grads(&self, isa: Isa, y: &[f32], batch_stats: bool, mean: &[f32], var: &[f32]) -> Got {
        let mut got = Got::new(self.dims);
        let saved = Saved { x: &self.x, y, mean, var, batch_stats };
        let (affine, epilogue) = (self.affine(), self.epilogue());
        backward(isa, self.dims, affine, epilogue, saved, &self.grad_y, got.wanted())
            .expect("lengths fit");
        got
    }
}

#[derive(Debug, Clone, PartialEq)]
struct Got {
    x: Vec<f32>,
    weight: Vec<f32>,
    bias: Vec<f32>,
    gates: Vec<f32>,
    residual: Vec<f32>,
}

impl Got {
    fn new(dims: PlaneDims) -> Got {
        let buffer = |len| vec![7.0; len];
        Got {
            x: buffer(dims.len()),
            weight: buffer(dims.channels),
            bias: buffer(dims.channels),
            gates: buffer(dims.batch * dims.channels),
            residual: buffer(dims.len()),
        }
    }

    fn wanted(&mut self) -> Grads<'_> {
        Grads {
            x: Some(&mut self.x),
            weight: Some(&mut self.weight),
            bias: Some(&mut self.bias),
            gates: Some(&mut self.gates),
            residual: Some(&mut self.residual),
        }
    }
}

/// A bound for sums over `count` values of size 1.
fn sum_bound(count: usize) -> f64 {
    1e-5 + 2e-6 * count as f64
}

fn cases() -> impl Iterator<Item = (String, Case)> {
    plane_grid().into_iter().flat_map(|dims| {
        let patterns = gate_patterns(dims).into_iter().map(|(name, gates)| (name, Some(gates)));
        patterns.chain([("no gates", None)]).flat_map(move |(name, gates)| {
            [(false, false), (true, true), (false, true), (true, false)].map(|(residual, relu)| {
                let case = Case::new(dims, gates.clone(), residual, relu);
                (format!("{dims:?}, {name}, residual {residual}, relu {relu}"), case)
            })
        })
    })
}

/// Compares all gradients. `inv_std` is the largest 1/deviation, by which rounding is amplified.
fn compare(what: &str, dims: PlaneDims, got: &Got, want: &reference::Grads, inv_std: f64) {
    let count = dims.batch * dims.plane;
    let bound = sum_bound(count) * inv_std.max(1.0);
    assert_close((what, "x"), &got.x, &want.x, 2e-5 * inv_std * inv_std);
    assert_close((what, "weight"), &got.weight, &want.weight, bound);
    assert_close((what, "bias"), &got.bias, &want.bias, bound);
    assert_close((what, "gates"), &got.gates, &want.gates, bound);
    assert_close((what, "residual"), &got.residual, &want.residual, 0.0);
}

#[test]
fn training_agrees_with_the_reference() {
    for (what, case) in cases() {
        let dims = case.dims;
        let (want_mean, want_var) = reference::stats(dims, &widen(&case.x));
        let (want_y, want) = case.want(true, &want_mean, &want_var);
        let inv_std =
            want_var.iter().map(|var| 1.0 / (var + f64::from(EPS)).sqrt()).fold(0.0, f64::max);
        for isa in Isa::available() {
            let what = format!("{isa}: {what}");
            let mut y = vec![7.0; dims.len()];
            let (mut mean, mut var) = (vec![7.0; dims.channels], vec![7.0; dims.channels]);
            let (affine, epilogue) = (case.affine(), case.epilogue());
            forward_train(isa, dims, affine, epilogue, &case.x, &mut y, &mut mean, &mut var)
                .expect("lengths fit");
            assert_close((&what, "mean"), &mean, &want_mean, 1e-6);
            assert_close((&what, "var"), &var, &want_var, 1e-6);
            assert_close((&what, "y"), &y, &want_y, 2e-6 * inv_std.max(1.0));
            let got = case.grads(isa, &y, true, &mean, &var);
            compare(&what, dims, &got, &want, inv_std);
        }
    }
}

#[test]
fn evaluation_agrees_with_the_reference() {
    for (what, case) in cases() {
        let dims = case.dims;
        let mean = values(6, dims.channels);
        let var: Vec<f32> = values(7, dims.channels).iter().map(|v| v + 1.5).collect();
        let (want_y, want) = case.want(false, &widen(&mean), &widen(&var));
        for isa in Isa::available() {
            let what = format!("{isa}: {what}");
            let mut y = vec![7.0; dims.len()];
            let (affine, epilogue) = (case.affine(), case.epilogue());
            forward_eval(isa, dims, affine, epilogue, &mean, &var, &case.x, &mut y)
                .expect("lengths fit");
            assert_close((&what, "y"), &y, &want_y, 1e-5);
            let got = case.grads(isa, &y, false, &mean, &var);
            compare(&what, dims, &got, &want, 5.0);
        }
    }
}

#[test]
fn every_instruction_set_gives_the_same_bits_and_so_does_one_thread() {
    let dims = PlaneDims { batch: 20, channels: 5, plane: 1000 };
    let soft = gate_patterns(dims).pop().expect("patterns").1;
    let case = Case::new(dims, Some(soft), true, true);
    let run = |isa| {
        let mut y = vec![7.0; dims.len()];
        let (mut mean, mut var) = (vec![7.0; 5], vec![7.0; 5]);
        let (affine, epilogue) = (case.affine(), case.epilogue());
        forward_train(isa, dims, affine, epilogue, &case.x, &mut y, &mut mean, &mut var)
            .expect("lengths fit");
        let grads = case.grads(isa, &y, true, &mean, &var);
        (y, grads)
    };
    let first = run(Isa::available()[0]);
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
    for isa in Isa::available() {
        assert!(run(isa) == first, "{isa}");
        assert!(one.install(|| run(isa)) == first, "{isa} on one thread");
    }
}

#[test]
fn statistics_survive_a_mean_far_from_zero() {
    let isa = Isa::current().expect("a valid GATERNET_ISA");
    for plane in [1, 16, 1024, 10_000] {
        let dims = PlaneDims { batch: 40, channels: 2, plane };
        // Samples differ among themselves too, so that no block has the mean of all.
        let noise = values(8, dims.len());
        let value = |i: usize| 1000.0 + (i / dims.plane % 7) as f32 + noise[i];
        let x: Vec<f32> = (0..dims.len()).map(value).collect();
        let (want_mean, want_var) = reference::stats(dims, &widen(&x));
        let mut y = vec![0.0; x.len()];
        let (mut mean, mut var) = ([0.0; 2], [0.0; 2]);
        let affine = Affine { weight: &[1.0; 2], bias: &[0.0; 2], eps: EPS };
        forward_train(isa, dims, affine, Epilogue::default(), &x, &mut y, &mut mean, &mut var)
            .expect("lengths fit");
        assert_close((plane, "mean"), &mean, &want_mean, 1e-4);
        assert_close((plane, "var"), &var, &want_var, 2e-5);
    }
}

#[test]
fn an_off_gate_hides_nan() {
    let dims = PlaneDims { batch: 2, channels: 2, plane: 33 };
    let mut case = Case::new(dims, Some(vec![0.0, 1.0, 1.0, -0.0]), false, false);
    case.x[..33].fill(f32::NAN);
    case.x[99..].fill(f32::INFINITY);
    let (mean, var) = ([0.5; 2], [1.5; 2]);
    for isa in Isa::available() {
        let mut y = vec![7.0; dims.len()];
        let (affine, epilogue) = (case.affine(), case.epilogue());
        forward_eval(isa, dims, affine, epilogue, &mean, &var, &case.x, &mut y)
            .expect("lengths fit");
        let off = |y: &[f32]| y[..33].iter().chain(&y[99..]).all(|y| y.to_bits() == 0);
        assert!(off(&y), "{isa}: {y:?}");
        let got = case.grads(isa, &y, false, &mean, &var);
        assert!(off(&got.x), "{isa}: {:?}", got.x);
        let (_, want) = case.want(false, &[0.5; 2], &[1.5; 2]);
        assert_close((isa, "weight"), &got.weight, &want.weight, 1e-4);
        assert_close((isa, "bias"), &got.bias, &want.bias, 1e-4);
        assert!(got.gates[0].is_nan() && got.gates[1].is_finite(), "{isa}: {:?}", got.gates);
    }
}

#[test]
fn each_gradient_is_the_same_when_asked_for_alone() {
    let dims = PlaneDims { batch: 3, channels: 3, plane: 49 };
    let isa = Isa::current().expect("a valid GATERNET_ISA");
    for relu in [false, true] {
        for batch_stats in [false, true] {
            let gates = gate_patterns(dims).pop().map(|(_, gates)| gates);
            let case = Case::new(dims, gates, false, relu);
            let (mean, var) = (vec![3.0; 3], vec![0.3; 3]);
            let (affine, epilogue) = (case.affine(), case.epilogue());
            let mut y = vec![7.0; dims.len()];
            forward_eval(isa, dims, affine, epilogue, &mean, &var, &case.x, &mut y)
                .expect("lengths fit");
            let whole = case.grads(isa, &y, batch_stats, &mean, &var);
            let alone = |grads: Grads| {
                let saved = Saved { x: &case.x, y: &y, mean: &mean, var: &var, batch_stats };
                backward(isa, dims, affine, epilogue, saved, &case.grad_y, grads)
                    .expect("lengths fit");
            };
            let mut got = Got::new(dims);
            alone(Grads { x: Some(&mut got.x), ..Grads::default() });
            alone(Grads { weight: Some(&mut got.weight), ..Grads::default() });
            alone(Grads { bias: Some(&mut got.bias), ..Grads::default() });
            alone(Grads { gates: Some(&mut got.gates), ..Grads::default() });
            alone(Grads { residual: Some(&mut got.residual), ..Grads::default() });
            assert_eq!(got, whole, "relu {relu}, batch_stats {batch_stats}");
        }
    }
}

#[test]
fn wrong_lengths_are_refused_and_nothing_is_written() {
    let isa = Isa::available()[0];
    let dims = PlaneDims { batch: 2, channels: 3, plane: 4 };
    let case = Case::new(dims, None, false, false);
    let (affine, none) = (case.affine(), Epilogue::default());
    let short = Affine { bias: &[0.0; 2], ..affine };
    let gates = Epilogue { gates: Some(&[1.0; 5]), ..none };
    let residual = Epilogue { residual: Some(&[1.0; 23]), ..none };
    let stats = [0.5f32; 3];
    let (mut y, mut mean, mut var) = ([7.0; 24], [7.0; 3], [7.0; 3]);
    for (affine, epilogue, x) in [
        (short, none, &case.x[..]),
        (affine, gates, &case.x),
        (affine, residual, &case.x),
        (affine, none, &case.x[1..]),
    ] {
        assert!(
            forward_train(isa, dims, affine, epilogue, x, &mut y, &mut mean, &mut var).is_err()
        );
        assert!(forward_eval(isa, dims, affine, epilogue, &stats, &stats, x, &mut y).is_err());
    }
    let x = &case.x;
    assert!(forward_train(isa, dims, affine, none, x, &mut y, &mut mean[..2], &mut var).is_err());
    assert!(forward_eval(isa, dims, affine, none, &stats, &stats[..2], x, &mut y).is_err());
    assert_eq!((y, mean, var), ([7.0; 24], [7.0; 3], [7.0; 3]));

    let empty = PlaneDims { batch: 0, ..dims };
    let error = forward_train(isa, empty, affine, none, &[], &mut [], &mut mean, &mut var);
    assert!(error.expect_err("no values").to_string().contains("at least one value"));

    let saved = Saved { x, y: x, mean: &stats, var: &stats, batch_stats: true };
    let untouched = Got::new(dims);
    let mut got = untouched.clone();
    let grad_y = &case.grad_y;
    assert!(backward(isa, dims, affine, none, saved, &grad_y[1..], got.wanted()).is_err());
    let cut = Saved { y: &x[1..], ..saved };
    assert!(backward(isa, dims, affine, none, cut, grad_y, got.wanted()).is_err());
    let mut wanted = got.wanted();
    wanted.gates = wanted.gates.map(|gates| &mut gates[..5]);
    assert!(backward(isa, dims, affine, none, saved, grad_y, wanted).is_err());
    assert_eq!(got, untouched);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    /// Fusion changes no bit: normalise, then gate, then add, then rectify.
    #[test]
    fn the_epilogue_is_its_ops_one_by_one(
        batch in 1usize..4,
        channels in 1usize..5,
        plane in 1usize..70,
        pattern in 0usize..5,
        rectified: bool,
    ) {
        let dims = PlaneDims { batch, channels, plane };
        let gates = gate_patterns(dims).swap_remove(pattern).1;
        let mut residual = values(3, dims.len());
        residual.iter_mut().step_by(3).for_each(|r| *r = -0.0);
        let mut case = Case::new(dims, Some(gates.clone()), true, rectified);
        case.residual = Some(residual.clone());
        let (mean, var) = (values(6, channels), vec![0.5; channels]);
        for isa in Isa::available() {
            let run = |epilogue| {
                let mut y = vec![7.0; dims.len()];
                forward_eval(isa, dims, case.affine(), epilogue, &mean, &var, &case.x, &mut y)
                    .expect("lengths fit");
                y
            };
            let fused = run(case.epilogue());
            let z = run(Epilogue::default());
            let (mut a, mut y) = (vec![7.0; dims.len()], vec![7.0; dims.len()]);
            gate::forward(isa, dims, &z, &gates, &mut a).expect("lengths fit");
            elementwise::add_assign(isa, &mut a, &residual).expect("equally long");
            relu::forward(isa, &a, &mut y).expect("equally long");
            prop_assert_eq!(bits(&fused), bits(if rectified { &y } else { &a }));
        }
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}
