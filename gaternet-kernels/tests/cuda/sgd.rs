use gaternet_kernels::Conv2dDims;
use gaternet_kernels::cpu::sgd::SgdConfig;
use gaternet_kernels::cuda::layout::Rows;
use gaternet_kernels::cuda::sgd::{Constants, Param, Sgd};
use gaternet_kernels::cuda::{Clock, CudaBuffer, CudaDevice, CudaGraph, bf16};
use gaternet_kernels::reference::sgd as reference;

use crate::check::{close, download, unwritten, upload, values, widen};
use crate::emulator;

const RATES: [f32; 3] = [0.5, 0.25, 0.125];

/// A parameter on the device, with what the reference makes of it.
struct Trial {
    /// The rates are `RATES` times this.
    factor: f32,
    weight_decay: f32,
    rates: CudaBuffer<f32>,
    grad: CudaBuffer<f32>,
    param: CudaBuffer<f32>,
    velocity: CudaBuffer<f32>,
    /// Every second one has none.
    copy: Option<CudaBuffer<bf16>>,
    want: (Vec<f64>, Vec<f64>),
}

impl Trial {
    fn new(device: &CudaDevice, index: usize, len: usize) -> Trial {
        let param = values(index as u64, len);
        let factor = 1.0 + index as f32;
        Trial {
            factor,
            weight_decay: 0.03 * index as f32,
            rates: upload(device, &RATES.map(|rate| rate * factor)),
            grad: upload(device, &vec![f32::NAN; len]),
            param: upload(device, &param),
            velocity: upload(device, &vec![f32::NAN; len]),
            copy: index.is_multiple_of(2).then(|| unwritten(device, len)),
            want: (widen(&param), vec![f64::NAN; len]),
        }
    }

    fn param(&mut self, momentum: f32) -> Param<'_> {
        Param {
            rates: &self.rates,
            weight_decay: self.weight_decay,
            grad: &self.grad,
            param: &mut self.param,
            velocity: (momentum != 0.0).then_some(&mut self.velocity),
            copy: self.copy.as_mut(),
        }
    }

    /// Step `number` on the reference, with a gradient that counts `scale` times.
    fn expect(&mut self, constants: Constants, number: usize, grad: &[f32], scale: f64) {
        let Constants { momentum, dampening, nesterov, .. } = constants;
        let (lr, weight_decay) = (RATES[number.min(2)] * self.factor, self.weight_decay);
        let config = SgdConfig { lr, momentum, dampening, weight_decay, nesterov };
        let grad: Vec<f64> = widen(grad).iter().map(|g| g * scale).collect();
        self.want = reference::step(&config, number == 0, &self.want.0, &self.want.1, &grad);
    }

    fn check(&self, what: &str, constants: Constants) -> Result<(), String> {
        let got = download(&self.param)?;
        close(what, &got, &self.want.0, 1e-5)?;
        if constants.momentum != 0.0 {
            close(what, &download(&self.velocity)?, &self.want.1, 1e-5)?;
        }
        let Some(copy) = &self.copy else { return Ok(()) };
        let rounded: Vec<f32> = got.iter().map(|&v| bf16::from_f32(v).to_f32()).collect();
        if download(copy)? != rounded {
            return Err(format!("{what}: the copy differs"));
        }
        Ok(())
    }
}

/// Five steps of parameters of these lengths, all in one launch.
pub(crate) fn steps(
    device: &CudaDevice,
    constants: Constants,
    lengths: &[usize],
) -> Result<(), String> {
    let trial = |(index, &len): (usize, &usize)| Trial::new(device, index, len);
    let mut trials: Vec<Trial> = lengths.iter().enumerate().map(trial).collect();
    let params = trials.iter_mut().map(|trial| trial.param(constants.momentum));
    let mut sgd = Sgd::new(device, constants, params).map_err(|e| e.to_string())?;
    let mut clock = Clock::new(device, 0, 0).expect("a clock");
    // Beyond the rates the last counts.
    for number in 0..5 {
        // Long ones at first, which are clipped, then short ones.
        let size = [4.0, 1.0, 0.05, 2.0, 0.01][number];
        let grads: Vec<Vec<f32>> = trials
            .iter()
            .enumerate()
            .map(|(i, trial)| values(10 + (number * 8 + i) as u64, trial.grad.len()))
            .map(|grad| grad.iter().map(|g| g * size).collect())
            .collect();
        let norm = grads.iter().flatten().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
        let scale = constants.max_norm.map_or(1.0, |max| (f64::from(max) / (norm + 1e-6)).min(1.0));
        for (trial, grad) in trials.iter_mut().zip(&grads) {
            trial.grad.copy_from_slice(grad).expect("a copy");
            trial.expect(constants, number, grad, scale);
        }
        sgd.step(&clock).map_err(|e| e.to_string())?;
        clock.advance().map_err(|e| e.to_string())?;
        for trial in &trials {
            let what = format!("{} of {lengths:?}, step {number}, {constants:?}", trial.grad.len());
            trial.check(&what, constants)?;
        }
    }
    Ok(())
}

/// Beside a part and a block, and several parts.
pub(crate) const LENGTHS: [usize; 7] = [1, 255, 0, 256, 2048, 2049, 5000];

#[test]
fn steps_agree_with_the_reference_and_fill_the_copies() {
    let Some(device) = emulator::device() else { return };
    for (momentum, dampening, nesterov) in [(0.0, 0.0, false), (0.9, 0.0, true), (0.9, 0.25, false)]
    {
        let constants = Constants { momentum, dampening, nesterov, max_norm: None };
        for lengths in [&LENGTHS[..], &[1], &[]] {
            steps(&device, constants, lengths).unwrap_or_else(|error| panic!("{error}"));
        }
    }
}

#[test]
fn long_gradients_are_clipped_together() {
    let Some(device) = emulator::device() else { return };
    for max_norm in [5.0, 0.0, f32::INFINITY] {
        let constants =
            Constants { momentum: 0.9, max_norm: Some(max_norm), ..Constants::default() };
        for lengths in [&LENGTHS[..], &[3], &[]] {
            steps(&device, constants, lengths).unwrap_or_else(|error| panic!("{error}"));
        }
    }
}

/// No square overflows, and what is not a number shows.
#[test]
fn norms_are_those_of_double_precision() {
    let Some(device) = emulator::device() else { return };
    let constants = Constants { max_norm: Some(1.0), ..Constants::default() };
    for (grad, want) in [(3e30, -0.5 * 0.6), (f32::NAN, f32::NAN), (f32::INFINITY, f32::NAN)] {
        let mut trial = Trial::new(&device, 0, 2);
        trial.param = upload(&device, &[0.0; 2]);
        trial.grad = upload(&device, &[grad, 4e30]);
        let mut sgd = Sgd::new(&device, constants, [trial.param(0.0)]).expect("fits");
        sgd.step(&Clock::new(&device, 0, 0).expect("a clock")).expect("a launch");
        let got = download(&trial.param).expect("no fault")[0];
        assert!((got - want).abs() < 1e-6 || got.is_nan() && want.is_nan(), "{grad}: {got}");
    }
}

#[test]
fn a_graph_takes_the_rate_and_the_norm_of_each_step_and_padding_stays_0() {
    let Some(device) = emulator::device() else { return };
    let dims = Conv2dDims::new([1, 3, 4, 4], [5, 3, 2, 2], [1, 1], [0, 0]).expect("valid");
    let packed = Rows::Filters.pack_weight(&dims, &values(1, dims.weight_len()));
    let grad = Rows::Filters.pack_weight(&dims, &values(2, dims.weight_len()));
    let (rates, grad_d) = (upload(&device, &RATES), upload(&device, &grad));
    let mut param = upload(&device, &packed);
    let mut copy = unwritten::<bf16>(&device, packed.len());
    let mut clock = Clock::new(&device, 0, 0).expect("a clock");
    let constants = Constants { max_norm: Some(1.0), ..Constants::default() };
    let all = Param {
        rates: &rates,
        weight_decay: 0.5,
        grad: &grad_d,
        param: &mut param,
        velocity: None,
        copy: Some(&mut copy),
    };
    let mut sgd = Sgd::new(&device, constants, [all]).expect("fits");
    let mut work = || {
        sgd.step(&clock)?;
        clock.advance()
    };
    work().expect("a launch loads the kernels");
    let graph = CudaGraph::capture(&device, work).expect("a graph");
    graph.launch().expect("a launch");
    graph.launch().expect("a launch");
    let mut want = widen(&packed);
    let scale = 1.0 / grad.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
    for rate in RATES {
        let rate = f64::from(rate);
        let step = |(w, &g): (&mut f64, &f32)| *w -= rate * (f64::from(g) * scale + 0.5 * *w);
        want.iter_mut().zip(&grad).for_each(step);
    }
    let got = download(&param).expect("no fault");
    close("three steps", &got, &want, 1e-5).unwrap_or_else(|e| panic!("{e}"));
    let again = Rows::Filters.pack_weight(&dims, &Rows::Filters.unpack_weight(&dims, &got));
    assert_eq!(got, again, "padding of the parameter");
    let copied = download(&copy).expect("no fault");
    let again = Rows::Filters.pack_weight(&dims, &Rows::Filters.unpack_weight(&dims, &copied));
    assert_eq!(copied, again, "padding of the copy");
}

#[test]
fn what_does_not_fit_is_refused() {
    let Some(device) = emulator::device() else { return };
    let [none, two] = [0, 2].map(|len| upload(&device, &vec![0.0; len]));
    let [mut param, mut velocity] = [2, 2].map(|len| upload(&device, &vec![0.0; len]));
    let mut refusal = |constants, rates, grad, with_velocity: bool| {
        let velocity = with_velocity.then_some(&mut velocity);
        let all = Param { rates, weight_decay: 0.0, grad, param: &mut param, velocity, copy: None };
        Sgd::new(&device, constants, [all]).expect_err("refused").to_string()
    };
    let plain = Constants::default();
    assert!(refusal(plain, &none, &two, false).contains("there must be a learning rate"));
    assert!(refusal(plain, &two, &none, false).contains("`grad` has 0 elements"));
    assert!(refusal(plain, &two, &two, true).contains("if and only if there is momentum"));
    let rolling = Constants { momentum: 0.9, ..plain };
    assert!(refusal(rolling, &two, &two, false).contains("if and only if there is momentum"));
    for norm in [-1.0, f32::NAN] {
        let clipped = Constants { max_norm: Some(norm), ..plain };
        assert!(refusal(clipped, &two, &two, false).contains("the norm must be a number"));
    }
}
