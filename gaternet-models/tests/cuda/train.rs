use gaternet_core::gate::{Estimator, TauSchedule};
use gaternet_core::optim::{Optimizer, Sgd};
use gaternet_kernels::cuda::{Activation, CudaDevice, bf16};
use gaternet_models::cuda::{CudaTrainer, TrainOptions};
use gaternet_models::{BackboneConfig, GateLoss, GatePlacement, GateTerm, Model};

use crate::emulator;
use crate::setup::{
    Data, Said, bottleneck, cpu_step, distance, gated, gated_as, options, plain, resnet, sgd,
    state, wide,
};

pub(crate) const STEPS: usize = 10;
/// Two batches of 4 and one of 3.
pub(crate) const IMAGES: usize = 11;
pub(crate) const BATCH: usize = 4;

/// The order of an epoch.
pub(crate) fn order(epoch: usize) -> Vec<usize> {
    (0..IMAGES).map(|i| (i * 4 + epoch * 3 + 1) % IMAGES).collect()
}

pub(crate) fn trainer<T: Activation>(
    device: &CudaDevice,
    model: &Model,
    sgd: &Sgd,
    data: &Data,
    options: TrainOptions,
) -> CudaTrainer<T> {
    let images = data.upload(device);
    let shape = [3, data.side, data.side];
    CudaTrainer::new(device, model, sgd, images, shape, options).expect("kernels for all")
}

/// Steps `first..last`, from the beginning of an epoch on: what each says.
pub(crate) fn run<T: Activation>(
    trainer: &mut CudaTrainer<T>,
    [first, last]: [usize; 2],
) -> Vec<Said> {
    let mut said = Vec::new();
    let mut before = [0.0; 4];
    for step in first..last {
        let (epoch, at) = (step / trainer.steps(), step % trainer.steps());
        if at == 0 || step == first {
            trainer.begin(step, &order(epoch)).expect("an epoch");
            before = [0.0; 4];
        }
        trainer.step().expect("a step");
        let sums = trainer.sums().expect("no fault");
        let now = [sums.loss, sums.correct, sums.open_gates, trainer.images() as f64];
        let [loss, correct, open, images] = std::array::from_fn(|i| now[i] - before[i]);
        said.push([loss / images, correct, open / images]);
        before = now;
    }
    said
}

/// The same steps on the CPU.
fn on_cpu(model: &Model, data: &Data) -> Vec<Said> {
    let mut sgd = sgd(model);
    let batches = IMAGES.div_ceil(BATCH);
    let step = |step: usize| {
        let order = order(step / batches);
        let numbers = order.chunks(BATCH).nth(step % batches).expect("a batch");
        cpu_step(model, &mut sgd, data, numbers, [step, STEPS])
    };
    (0..STEPS).map(step).collect()
}

/// Trains two copies of a model, one on each.
pub(crate) fn agrees_in_f32(name: &str, new: impl Fn() -> Model) {
    let Some(device) = emulator::device() else { return };
    let (host, other, data) = (new(), new(), Data::new(IMAGES));
    let want = on_cpu(&host, &data);
    let mut sgd = sgd(&other);
    let mut trainer = trainer::<f32>(&device, &other, &sgd, &data, options(BATCH, STEPS));
    let got = run(&mut trainer, [0, STEPS]);
    trainer.store(&mut sgd).expect("a copy");
    for (step, (want, got)) in want.iter().zip(&got).enumerate() {
        let error = (got[0] - want[0]).abs() / want[0];
        let what = format!("{name}, step {step}: loss, right, open {got:?}, on the CPU {want:?}");
        assert!(error < 1e-4, "{what}, {error:.1e}");
        assert_eq!(got[1], want[1], "{what}");
        assert!((got[2] - want[2]).abs() < 1e-6, "{what}");
    }
    assert!(want.iter().any(|said| said[0] < want[0][0]), "{name} does not learn: {want:?}");
    for ((tensor, got), (_, want)) in state(&other).iter().zip(&state(&host)) {
        if tensor.ends_with("num_batches_tracked") {
            assert_eq!(got, want, "{name}, {tensor}");
        } else {
            // A bias before a batch norm stays where rounding puts it.
            let both_zero = got.iter().chain(want).all(|value| value.abs() < 1e-6);
            let far = distance(got, want);
            assert!(far < 1e-3 || both_zero, "{name}: {tensor} is {far:.1e} apart");
        }
    }
}

#[test]
fn ten_steps_of_a_plain_network_are_those_of_the_cpu() {
    agrees_in_f32("plain", || plain(resnet()));
}

#[test]
fn an_epoch_that_was_interrupted_goes_on_as_it_would_have() {
    let Some(device) = emulator::device() else { return };
    let data = Data::new(IMAGES);
    let new = || gated(resnet(), GatePlacement::Inner);
    let (whole, parts) = (new(), new());
    let mut sgd_of_whole = sgd(&whole);
    let options = || options(BATCH, STEPS);
    let mut trainer = self::trainer::<f32>(&device, &whole, &sgd_of_whole, &data, options());
    let said = run(&mut trainer, [0, 6]);
    trainer.store(&mut sgd_of_whole).expect("a copy");

    let mut sgd = sgd(&parts);
    let mut trainer = self::trainer::<f32>(&device, &parts, &sgd, &data, options());
    run(&mut trainer, [0, 4]);
    trainer.store(&mut sgd).expect("a copy");
    // Another process, after the first of three steps of the second epoch.
    let mut trainer = self::trainer::<f32>(&device, &parts, &sgd, &data, options());
    trainer.begin(3, &order(1)).expect("an epoch");
    trainer.skip(1).expect("three steps");
    for _ in 4..6 {
        trainer.step().expect("a step");
    }
    assert_eq!(trainer.images(), IMAGES - BATCH);
    let correct: f64 = said[4..].iter().map(|said| said[1]).sum();
    assert_eq!(trainer.sums().expect("no fault").correct, correct);
    assert!(trainer.step().is_err(), "the epoch is over");
    trainer.store(&mut sgd).expect("a copy");
    assert_eq!(state(&parts), state(&whole));
    assert!(trainer.skip(4).is_err(), "an epoch has three steps");
}

#[test]
fn ten_steps_of_a_gated_network_are_those_of_the_cpu() {
    for placement in [GatePlacement::BlockOutput, GatePlacement::Inner, GatePlacement::All] {
        agrees_in_f32(&format!("{placement:?}"), || gated(resnet(), placement));
    }
}

/// Gates without batch norm, whose closed filters need no backward pass; batch norm before the
/// convolutions.
#[test]
fn ten_steps_of_a_gated_wide_network_are_those_of_the_cpu() {
    agrees_in_f32("wide", || gated(wide(), GatePlacement::BlockOutput));
}

/// Convolutions that are gated on both sides.
#[test]
fn ten_steps_of_a_gated_bottleneck_network_are_those_of_the_cpu() {
    agrees_in_f32("bottleneck", || gated(bottleneck(), GatePlacement::All));
}

/// Rounding activations and weights to 8 bits moves what a step computes by some of 2^-9; from step
/// to step it grows, since batches of four at a high learning rate are chaotic. So the first steps
/// are compared, and the gradient of the first one, in which a ReLU that opens elsewhere counts
/// most: 6 % were seen, and a wrong factor is more than the bound.
#[test]
fn steps_in_bf16_stay_near_those_of_the_cpu() {
    let models: [(&str, &dyn Fn(BackboneConfig) -> Model); 2] =
        [("plain", &plain), ("gated", &|config| gated(config, GatePlacement::All))];
    for (name, new) in models {
        let Some(device) = emulator::device() else { return };
        let (host, other, data) = (new(resnet()), new(resnet()), Data::new(IMAGES));
        let [mut of_host, mut of_other] = [sgd(&host), sgd(&other)];
        let mut trainer = trainer::<bf16>(&device, &other, &of_other, &data, options(BATCH, STEPS));
        for (step, bound) in [3e-3, 2e-2, 5e-2].into_iter().enumerate() {
            let numbers = &order(0)[step * BATCH..(step * BATCH + BATCH).min(IMAGES)];
            let [want, ..] = cpu_step(&host, &mut of_host, &data, numbers, [step, STEPS]);
            let [got, ..] = if step == 0 {
                run(&mut trainer, [0, 1])[0]
            } else {
                let before = (trainer.sums().expect("no fault").loss, trainer.images());
                trainer.step().expect("a step");
                let after = (trainer.sums().expect("no fault").loss, trainer.images());
                [(after.0 - before.0) / (after.1 - before.1) as f64, 0.0, 0.0]
            };
            let error = (got - want).abs() / want;
            assert!(
                error < bound,
                "{name}, step {step}: loss {got}, on the CPU {want}: {error:.1e}"
            );
            if step == 0 {
                trainer.store(&mut of_other).expect("a copy");
                let [want, got] = [&of_host, &of_other].map(velocities);
                let all = |state: &[(String, Vec<f32>)]| {
                    state.iter().flat_map(|(_, values)| values.clone()).collect::<Vec<f32>>()
                };
                let far = distance(&all(&got), &all(&want));
                assert!(far < 0.15, "{name}: the velocities are {far:.1e} apart");
            }
        }
    }
}

/// By name.
pub(crate) fn velocities(sgd: &Sgd) -> Vec<(String, Vec<f32>)> {
    let mut state = sgd.state();
    state.sort_by(|(a, _), (b, _)| a.cmp(b));
    state.into_iter().map(|(name, v)| (name, v.data().to_vec())).collect()
}

/// Gates whose training changes from step to step too.
fn scheduled() -> Model {
    gated_as(resnet(), GatePlacement::Inner, |config| {
        let tau = TauSchedule { first: 2.0, last: 0.5, fraction: 1.0 };
        config.estimator = Estimator::GumbelSigmoid { tau, hard: false };
        config.gate_losses = vec![GateTerm::new(GateLoss::TargetMacs { target: 0.75 }, 2.0)];
        config.filters_per_gate = 3;
    })
}

#[test]
fn a_graph_does_what_its_launches_do_bit_for_bit() {
    let Some(device) = emulator::device() else { return };
    let data = Data::new(IMAGES);
    let train = |graphs, model: &dyn Fn() -> Model| {
        let model = model();
        let mut sgd = sgd(&model);
        // Augmented too: every step has another draw.
        let mut options = TrainOptions { graphs, ..options(BATCH, STEPS) };
        options.augment.crop_padding = 2;
        options.augment.flip = true;
        options.augment.cutout = 3;
        let mut trainer = trainer::<bf16>(&device, &model, &sgd, &data, options);
        let said = run(&mut trainer, [0, 7]);
        trainer.store(&mut sgd).expect("a copy");
        (said, state(&model))
    };
    let models: [&dyn Fn() -> Model; 2] = [&|| gated(resnet(), GatePlacement::All), &scheduled];
    for model in models {
        let (said, weights) = train(false, model);
        let (of_graph, weights_of_graph) = train(true, model);
        assert_eq!(of_graph, said);
        assert!(weights_of_graph == weights);
    }
}

#[test]
fn a_training_goes_on_where_another_stopped() {
    let Some(device) = emulator::device() else { return };
    let data = Data::new(IMAGES);
    let model = || gated(resnet(), GatePlacement::BlockOutput);
    let (whole, halves) = (model(), model());
    let mut of_whole = sgd(&whole);
    let mut trainer_of_whole =
        trainer::<f32>(&device, &whole, &of_whole, &data, options(BATCH, STEPS));
    let said = run(&mut trainer_of_whole, [0, 6]);
    trainer_of_whole.store(&mut of_whole).expect("a copy");
    let mut of_halves = sgd(&halves);
    let mut again = Vec::new();
    for part in [[0, 3], [3, 6]] {
        let mut trainer =
            trainer::<f32>(&device, &halves, &of_halves, &data, options(BATCH, STEPS));
        again.extend(run(&mut trainer, part));
        trainer.store(&mut of_halves).expect("a copy");
    }
    assert_eq!(again, said);
    assert!(state(&halves) == state(&whole));
    assert!(!velocities(&of_whole).is_empty());
    assert!(velocities(&of_halves) == velocities(&of_whole));
}

#[test]
fn what_is_frozen_rests() {
    let Some(device) = emulator::device() else { return };
    let (data, model) = (Data::new(IMAGES), gated(resnet(), GatePlacement::BlockOutput));
    let Model::Gated(net) = &model else { unreachable!("gated") };
    let part = net.part(gaternet_models::Part::Gater);
    part.iter().for_each(|(_, parameter)| parameter.set_requires_grad(false));
    let mut sgd = sgd(&model);
    let before = state(&model);
    let mut trainer = trainer::<f32>(&device, &model, &sgd, &data, options(BATCH, STEPS));
    run(&mut trainer, [0, 2]);
    trainer.store(&mut sgd).expect("a copy");
    for ((name, after), (_, before)) in state(&model).iter().zip(&before) {
        let trained = part.iter().all(|(of_gater, _)| of_gater != name);
        assert_eq!(after != before, trained, "{name}");
    }
    assert!(sgd.state().iter().all(|(name, _)| name.starts_with("backbone.")));
}
