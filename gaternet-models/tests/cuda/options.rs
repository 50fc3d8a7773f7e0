//! Options of a training against the CPU.

use gaternet_core::data::MixupDraw;
use gaternet_core::nn::Module;
use gaternet_core::optim::{Ema, Sgd};
use gaternet_kernels::cuda::Activation;
use gaternet_models::cuda::{CudaTrainer, TrainImages, TrainOptions};
use gaternet_models::{GatePlacement, Model};

use crate::emulator;
use crate::setup::{
    Data, Extras, SIDE, Said, cpu_step_with, distance, gated, options, plain, resnet, sgd, state,
};
use crate::train::{BATCH, IMAGES, STEPS, order, run, trainer};

/// What the same steps say on the CPU.
fn on_cpu<'a>(
    model: &Model,
    data: &Data,
    steps: usize,
    mut extras: impl FnMut(usize) -> Extras<'a>,
) -> Vec<Said> {
    let mut sgd = sgd(model);
    let batches = IMAGES.div_ceil(BATCH);
    let step = |step: usize| {
        let order = order(step / batches);
        let numbers = order.chunks(BATCH).nth(step % batches).expect("a batch");
        cpu_step_with(model, &mut sgd, data, numbers, [step, STEPS], extras(step))
    };
    (0..steps).map(step).collect()
}

/// A draw for each batch of an epoch.
fn draws(epoch: usize) -> Vec<MixupDraw> {
    let batch = |numbers: &[usize]| {
        let (first, count) = (numbers[0], numbers.len());
        let partners = (0..count).map(|n| (n * 3 + first) % count).collect();
        MixupDraw { lambda: 0.35 + 0.1 * epoch as f32 + 0.05 * count as f32, partners }
    };
    order(epoch).chunks(BATCH).map(batch).collect()
}

fn same(what: &str, got: &[Said], want: &[Said]) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (step, (got, want)) in got.iter().zip(want).enumerate() {
        let what = format!("{what}, step {step}: loss, right, open {got:?}, on the CPU {want:?}");
        assert!((got[0] - want[0]).abs() < 1e-4 * want[0], "{what}");
        assert!((got[1] - want[1]).abs() < 1e-5, "{what}");
        assert!((got[2] - want[2]).abs() < 1e-6, "{what}");
    }
}

#[test]
fn clipped_steps_are_those_of_the_cpu() {
    let Some(device) = emulator::device() else { return };
    let data = Data::new(IMAGES);
    for new in [|| plain(resnet()), || gated(resnet(), GatePlacement::All)] {
        let (host, other, whole) = (new(), new(), new());
        let clip_grad_norm = Some(0.5);
        let want = on_cpu(&host, &data, STEPS, |_| Extras {
            max_norm: clip_grad_norm,
            ..Extras::default()
        });
        let options = TrainOptions { clip_grad_norm, ..options(BATCH, STEPS) };
        let mut sgd = sgd(&other);
        let mut trainer = trainer::<f32>(&device, &other, &sgd, &data, options);
        same("clipped", &run(&mut trainer, [0, STEPS]), &want);
        trainer.store(&mut sgd).expect("a copy");
        for ((name, got), (_, want)) in state(&other).iter().zip(&state(&host)) {
            let far = distance(got, want);
            assert!(far < 1e-3, "{name} is {far:.1e} apart");
        }
        let free = on_cpu(&whole, &data, STEPS, |_| Extras::default());
        assert!(free.last() != want.last(), "nothing was clipped");
    }
}

/// What `ema` averages, and that it has some.
fn averages(ema: &Ema) -> Vec<(String, Vec<f32>)> {
    let state = ema.state();
    assert!(!state.is_empty(), "no averages");
    state.into_iter().map(|(name, average)| (name, average.data().to_vec())).collect()
}

fn near(what: &str, got: &Ema, want: &Ema) {
    for ((name, got), (_, want)) in averages(got).iter().zip(&averages(want)) {
        let far = distance(got, want);
        assert!(far < 1e-3, "{what}: the average of {name} is {far:.1e} apart");
    }
}

/// Two trainers one after the other, as when a run is resumed.
#[test]
fn averages_are_those_of_the_cpu() {
    let Some(device) = emulator::device() else { return };
    let data = Data::new(IMAGES);
    let new = || gated(resnet(), GatePlacement::Inner);
    let (host, other) = (new(), new());
    let [mut want, mut got] =
        [&host, &other].map(|model| Ema::new(model.state(), 0.75).expect("in range"));
    let mut sgd = sgd(&other);
    for part in [[0, 6], [6, 9]] {
        let mut trainer = trainer::<f32>(&device, &other, &sgd, &data, options(BATCH, STEPS));
        trainer.average(&got).expect("a copy");
        run(&mut trainer, part);
        trainer.store(&mut sgd).expect("a copy");
        trainer.store_averages(&mut got).expect("a copy");
    }
    let mut on_host = crate::setup::sgd(&host);
    let batches = IMAGES.div_ceil(BATCH);
    for step in 0..9 {
        let order = order(step / batches);
        let numbers = order.chunks(BATCH).nth(step % batches).expect("a batch");
        let extras = Extras { averages: Some(&mut want), ..Extras::default() };
        cpu_step_with(&host, &mut on_host, &data, numbers, [step, STEPS], extras);
    }
    near("all", &got, &want);
    let own = state(&other);
    let far = averages(&got).iter().zip(&own).any(|((name, average), (other, value))| {
        assert_eq!(name, other, "the order of the state");
        distance(average, value) > 1e-2
    });
    assert!(far, "the averages are the values");
}

/// As in the epochs in which all gates are open: only the backbone is trained, and the averages are
/// those of the whole model.
#[test]
fn what_is_not_trained_is_averaged_too() {
    let Some(device) = emulator::device() else { return };
    let data = Data::new(IMAGES);
    let new = || gated(resnet(), GatePlacement::Inner);
    let (host, other) = (new(), new());
    let backbone = |model: &Model| match model {
        Model::Gated(model) => Model::Plain(model.backbone().clone().into()),
        Model::Plain(_) => unreachable!("gated"),
    };
    let [mut want, mut got] =
        [&host, &other].map(|model| Ema::new(model.state(), 0.9).expect("in range"));
    let (of_host, of_other) = (backbone(&host), backbone(&other));
    let (mut on_host, mut sgd): (Sgd, Sgd) = (sgd(&of_host), sgd(&of_other));
    let mut trainer = trainer::<f32>(&device, &of_other, &sgd, &data, options(BATCH, STEPS));
    // After a step that is not averaged, recorded and not.
    run(&mut trainer, [0, 2]);
    trainer.average(&got).expect("a copy");
    for _ in 0..3 {
        run(&mut trainer, [2, 3]);
    }
    trainer.store(&mut sgd).expect("a copy");
    trainer.store_averages(&mut got).expect("a copy");
    // What is begun anew begins with the first batch.
    for (step, batch) in [(0, 0), (1, 1), (2, 0), (2, 0), (2, 0)] {
        let numbers = order(0);
        let numbers = numbers.chunks(BATCH).nth(batch).expect("a batch");
        let averages = if step < 2 { None } else { Some(&mut want) };
        let extras = Extras { averages, ..Extras::default() };
        cpu_step_with(&of_host, &mut on_host, &data, numbers, [step, STEPS], extras);
    }
    near("the backbone", &got, &want);
    let gater: Vec<_> =
        averages(&got).into_iter().filter(|(name, _)| name.starts_with("gater.")).collect();
    assert!(!gater.is_empty());
    let own = state(&other);
    assert!(gater.iter().all(|entry| own.contains(entry)), "the gater rested");
}

/// Epochs begun with draws: what each step says.
fn run_mixed<T: Activation>(trainer: &mut CudaTrainer<T>, steps: usize) -> Vec<Said> {
    let (mut said, mut before) = (Vec::new(), [0.0; 4]);
    for step in 0..steps {
        let (epoch, at) = (step / trainer.steps(), step % trainer.steps());
        if at == 0 {
            trainer.begin_mixed(step, &order(epoch), &draws(epoch)).expect("an epoch");
        }
        trainer.step().expect("a step");
        said.push(since(&mut before, trainer, at == 0));
    }
    said
}

/// What the last step says, from the sums of an epoch.
fn since<T: Activation>(before: &mut [f64; 4], trainer: &CudaTrainer<T>, first: bool) -> Said {
    let sums = trainer.sums().expect("no fault");
    let now = [sums.loss, sums.correct, sums.open_gates, trainer.images() as f64];
    let zero = if first { [0.0; 4] } else { *before };
    let [loss, correct, open, images] = std::array::from_fn(|i| now[i] - zero[i]);
    *before = now;
    [loss / images, correct, open / images]
}

#[test]
fn blended_steps_are_those_of_the_cpu() {
    let Some(device) = emulator::device() else { return };
    let data = Data::new(IMAGES);
    let all: Vec<Vec<MixupDraw>> = (0..STEPS).map(draws).collect();
    let batches = IMAGES.div_ceil(BATCH);
    for new in [|| plain(resnet()), || gated(resnet(), GatePlacement::BlockOutput)] {
        let (host, other, copied) = (new(), new(), new());
        let want = on_cpu(&host, &data, STEPS, |step| Extras {
            mix: Some(&all[step / batches][step % batches]),
            ..Extras::default()
        });
        let options = TrainOptions { mixup: true, ..options(BATCH, STEPS) };
        let of_other = sgd(&other);
        let mut trainer = trainer::<f32>(&device, &other, &of_other, &data, options.clone());
        same("blended", &run_mixed(&mut trainer, STEPS), &want);

        // Blended by the host, with the same draws.
        let (of_copied, images) = (sgd(&copied), TrainImages::Copied(IMAGES));
        let shape = [3, SIDE, SIDE];
        let trainer = CudaTrainer::<f32>::new(&device, &copied, &of_copied, images, shape, options);
        let mut trainer = trainer.expect("kernels for all");
        same("blended by the host", &run_copied(&mut trainer, &data, STEPS, Some(&all)), &want);
    }
}

/// Steps that get their images.
fn run_copied<T: Activation>(
    trainer: &mut CudaTrainer<T>,
    data: &Data,
    steps: usize,
    draws: Option<&[Vec<MixupDraw>]>,
) -> Vec<Said> {
    let (mut said, mut before) = (Vec::new(), [0.0; 4]);
    for step in 0..steps {
        let (epoch, at) = (step / trainer.steps(), step % trainer.steps());
        if at == 0 {
            trainer.begin_copied(step).expect("an epoch");
        }
        let order = order(epoch);
        let batch = data.batch(order.chunks(BATCH).nth(at).expect("a batch"));
        trainer.step_on(&batch, draws.map(|draws| &draws[epoch][at])).expect("a step");
        said.push(since(&mut before, trainer, at == 0));
    }
    said
}

#[test]
fn steps_on_images_of_the_host_are_those_of_the_cpu() {
    let Some(device) = emulator::device() else { return };
    let data = Data::new(IMAGES);
    let new = || gated(resnet(), GatePlacement::All);
    let train = |graphs| {
        let (model, images) = (new(), TrainImages::Copied(IMAGES));
        let mut sgd = sgd(&model);
        let options = TrainOptions { graphs, ..options(BATCH, STEPS) };
        let shape = [3, SIDE, SIDE];
        let trainer = CudaTrainer::<f32>::new(&device, &model, &sgd, images, shape, options);
        let mut trainer = trainer.expect("kernels for all");
        let said = run_copied(&mut trainer, &data, STEPS, None);
        trainer.store(&mut sgd).expect("a copy");
        (said, state(&model))
    };
    let (said, weights) = train(true);
    same("copied", &said, &on_cpu(&new(), &data, STEPS, |_| Extras::default()));
    let (of_launches, weights_of_launches) = train(false);
    assert_eq!(said, of_launches);
    assert!(weights == weights_of_launches, "graphs and launches differ");
}
