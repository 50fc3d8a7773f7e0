use gaternet_kernels::Conv2dDims;
use gaternet_kernels::cpu::sgd::SgdConfig;
use gaternet_kernels::cuda::layout::Rows;
use gaternet_kernels::cuda::sgd::{Constants, State, step};
use gaternet_kernels::cuda::{Clock, CudaGraph, bf16};
use gaternet_kernels::reference::sgd as reference;

use crate::check::{close, download, unwritten, upload, values, widen};
use crate::emulator;

const RATES: [f32; 3] = [0.5, 0.25, 0.125];

#[test]
fn steps_agree_with_the_reference_and_fill_the_copy() {
    let Some(device) = emulator::device() else { return };
    let rates = upload(&device, &RATES);
    for (momentum, dampening, weight_decay, nesterov) in
        [(0.0, 0.0, 0.0, false), (0.9, 0.0, 5e-4, true), (0.9, 0.25, 0.1, false)]
    {
        let constants = Constants { momentum, dampening, weight_decay, nesterov };
        for len in [1, 255, 256, 1000] {
            let what = format!("{len} values, {constants:?}");
            let mut want = (widen(&values(1, len)), vec![f64::NAN; len]);
            let mut param = upload(&device, &values(1, len));
            let mut velocity = upload(&device, &vec![f32::NAN; len]);
            let mut copy = unwritten::<bf16>(&device, len);
            let mut clock = Clock::new(&device, 0, 0).expect("a clock");
            // Beyond the rates the last counts.
            for number in 0..5 {
                let grad = values(10 + number, len);
                let state = State {
                    param: &mut param,
                    velocity: (momentum != 0.0).then_some(&mut velocity),
                    copy: Some(&mut copy),
                };
                step(constants, &clock, &rates, &upload(&device, &grad), state).expect("a launch");
                clock.advance().expect("a launch");
                let lr = RATES[(number as usize).min(2)];
                let config = SgdConfig { lr, momentum, dampening, weight_decay, nesterov };
                let (param64, velocity64) = want;
                want = reference::step(&config, number == 0, &param64, &velocity64, &widen(&grad));
                let got = download(&param).expect("no fault");
                close(&what, &got, &want.0, 1e-5).unwrap_or_else(|e| panic!("{e}"));
                if momentum != 0.0 {
                    let got = download(&velocity).expect("no fault");
                    close(&what, &got, &want.1, 1e-5).unwrap_or_else(|e| panic!("{e}"));
                }
                let rounded: Vec<f32> = got.iter().map(|&v| bf16::from_f32(v).to_f32()).collect();
                assert_eq!(download(&copy).as_ref(), Ok(&rounded), "{what}");
            }
        }
    }
}

#[test]
fn a_graph_takes_the_rate_of_each_step_and_padding_stays_0() {
    let Some(device) = emulator::device() else { return };
    let dims = Conv2dDims::new([1, 3, 4, 4], [5, 3, 2, 2], [1, 1], [0, 0]).expect("valid");
    let packed = Rows::Filters.pack_weight(&dims, &values(1, dims.weight_len()));
    let grad = Rows::Filters.pack_weight(&dims, &values(2, dims.weight_len()));
    let (rates, grad_d) = (upload(&device, &RATES), upload(&device, &grad));
    let mut param = upload(&device, &packed);
    let mut copy = unwritten::<bf16>(&device, packed.len());
    let mut clock = Clock::new(&device, 0, 0).expect("a clock");
    let mut work = || {
        let constants = Constants { weight_decay: 0.5, ..Constants::default() };
        let state = State { param: &mut param, velocity: None, copy: Some(&mut copy) };
        step(constants, &clock, &rates, &grad_d, state)?;
        clock.advance()
    };
    work().expect("a launch loads the kernels");
    let graph = CudaGraph::capture(&device, work).expect("a graph");
    graph.launch().expect("a launch");
    graph.launch().expect("a launch");
    let mut want = widen(&packed);
    for rate in RATES {
        let rate = f64::from(rate);
        want.iter_mut().zip(&grad).for_each(|(w, &g)| *w -= rate * (f64::from(g) + 0.5 * *w));
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
    let clock = Clock::new(&device, 0, 0).expect("a clock");
    let [none, two] = [0, 2].map(|len| upload(&device, &vec![0.0; len]));
    let [mut param, mut velocity] = [2, 2].map(|len| upload(&device, &vec![0.0; len]));
    let mut run = |constants, rates, grad, with_velocity: bool| {
        let velocity = with_velocity.then_some(&mut velocity);
        let state = State { param: &mut param, velocity, copy: None };
        step(constants, &clock, rates, grad, state).expect_err("refused").to_string()
    };
    let plain = Constants::default();
    assert!(run(plain, &none, &two, false).contains("there must be a learning rate"));
    assert!(run(plain, &two, &none, false).contains("`grad` has 0 elements"));
    assert!(run(plain, &two, &two, true).contains("if and only if there is momentum"));
    let rolling = Constants { momentum: 0.9, ..plain };
    assert!(run(rolling, &two, &two, false).contains("if and only if there is momentum"));
}
