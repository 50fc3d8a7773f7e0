//! Families whose layers are more than convolutions, batch norm and sums, as small as they can be.

use gaternet_core::nn::{Module, State};
use gaternet_core::ops::Pool2dOptions;
use gaternet_kernels::cuda::bf16;
use gaternet_models::cuda::TrainOptions;
use gaternet_models::{
    BackboneConfig, ConvRole, Family, GatePlacement, GatedNet, GaterConfig, Model, Network,
    NetworkBuilder, PlainNet,
};

use crate::emulator;
use crate::plan::check;
use crate::setup::{
    CLASSES, Data, Said, cpu_step, distance, gated, options, plain, resnet, sgd, state,
};
use crate::train::{BATCH, IMAGES, STEPS, agrees_in_f32, order, run, trainer, velocities};

/// Values by name.
type Tensors = Vec<(String, Vec<f32>)>;

fn of(family: Family) -> BackboneConfig {
    BackboneConfig { width: 0.25, ..BackboneConfig::new(family, CLASSES) }
}

/// Drops nothing, but draws.
fn dropout(p: f32) -> BackboneConfig {
    of(Family::WideResnet { depth: 10, k: 1, dropout: p })
}

const NOTHING: f32 = 1e-30;

fn squeezed(config: BackboneConfig) -> BackboneConfig {
    BackboneConfig { squeeze_excitation: Some(2), ..config }
}

fn pre_activation() -> BackboneConfig {
    of(Family::Resnet { depth: 8, pre_activation: true })
}

fn densenet() -> BackboneConfig {
    BackboneConfig { width: 1.0, ..of(Family::Densenet { depth: 10, growth: 4 }) }
}

fn imagenet() -> BackboneConfig {
    BackboneConfig { width: 1.0 / 16.0, ..of(Family::ImagenetResnet { depth: 18 }) }
}

fn shake_shake() -> BackboneConfig {
    of(Family::ShakeShake { depth: 8, base: 16 })
}

/// Pools that overlap, three values side by side, a border, an inner convolution whose gated
/// filters are dropped out.
fn custom() -> Network {
    let (mut net, images) = NetworkBuilder::new(3, 5);
    let stem =
        net.conv("stem", images, 5, 7).stride(2).batch_norm("bn").relu().done().expect("valid");
    let largest = net.max_pool(stem, Pool2dOptions::square(3, 1, 1));
    let mean = net.avg_pool(largest, Pool2dOptions::square(3, 1, 1));
    let shifted = net.pad(mean, [1, -1, 2, -2]);
    let all = net.concat(&[largest, shifted, stem, mean]).expect("values");
    let inner = net.conv("conv1", all, 9, 3).batch_norm("bn1").relu().role(ConvRole::Inner);
    let inner = inner.done().expect("valid");
    let inner = net.dropout(inner, NOTHING);
    let y = net.conv("conv2", inner, 20, 3).role(ConvRole::BlockOutput).done().expect("valid");
    let y = net.add_relu(y, all);
    let y = net.max_pool(y, Pool2dOptions::square(2, 2, 0));
    let features = net.global_avg_pool(y);
    net.linear("fc", features, CLASSES).expect("valid");
    net.finish().expect("valid")
}

fn custom_plain() -> Model {
    Model::Plain(PlainNet::custom(custom()).into())
}

fn custom_gated() -> Model {
    let gater = GaterConfig { depth: 8, width: 0.25, bottleneck: 5, ..GaterConfig::default() };
    Model::Gated(GatedNet::gate(custom(), GatePlacement::All, gater, 1).expect("valid").into())
}

#[test]
fn ten_steps_with_dropout_that_drops_nothing_are_those_of_the_cpu() {
    agrees_in_f32("dropout", || plain(dropout(NOTHING)));
    agrees_in_f32("dropout, gated", || gated(dropout(NOTHING), GatePlacement::All));
}

#[test]
fn ten_steps_with_squeeze_and_excitation_are_those_of_the_cpu() {
    agrees_in_f32("se", || plain(squeezed(resnet())));
    agrees_in_f32("se, gated", || gated(squeezed(resnet()), GatePlacement::All));
    let new = || gated(squeezed(pre_activation()), GatePlacement::BlockOutput);
    agrees_in_f32("se, pre-activation", new);
}

#[test]
fn ten_steps_with_pools_of_windows_concatenation_and_padding_are_those_of_the_cpu() {
    agrees_in_f32("custom", custom_plain);
    agrees_in_f32("custom, gated", custom_gated);
}

#[test]
fn ten_steps_of_a_densenet_are_those_of_the_cpu() {
    agrees_in_f32("densenet", || plain(densenet()));
    agrees_in_f32("densenet, gated", || gated(densenet(), GatePlacement::All));
}

/// Ten steps of so many layers are chaotic: on the CPU too, weights that are 1e-6 apart give losses
/// that are 3e-3 apart in the third. So one step and its gradients are compared; the layers are in
/// the custom network too.
#[test]
fn a_step_of_an_imagenet_resnet_is_that_of_the_cpu() {
    // The smallest whose last maps have more than a pixel: batch norm of four values multiplies
    // what is rounded.
    let data = Data::of_side(IMAGES, 64);
    first_step(&data, "imagenet", || plain(imagenet()));
    first_step(&data, "imagenet, se", || plain(squeezed(imagenet())));
    first_step(&data, "imagenet, gated", || gated(imagenet(), GatePlacement::All));
}

/// One step on each; the velocities of both, the CPU's first.
fn first_step(data: &Data, name: &str, new: impl Fn() -> Model) -> Option<[Tensors; 2]> {
    let device = emulator::device()?;
    let (host, other) = (new(), new());
    let [mut of_host, mut of_other] = [sgd(&host), sgd(&other)];
    let mut trainer = trainer::<f32>(&device, &other, &of_other, data, options(BATCH, STEPS));
    let want = cpu_step(&host, &mut of_host, data, &order(0)[..BATCH], [0, STEPS]);
    let got = run(&mut trainer, [0, 1])[0];
    let error = (got[0] - want[0]).abs() / want[0];
    assert!(error < 1e-5, "{name}: loss {got:?}, on the CPU {want:?}");
    trainer.store(&mut of_other).expect("a copy");
    let both = [&of_host, &of_other].map(velocities);
    let [of_host, of_other] = both.clone().map(sums);
    for ((tensor, got), (_, want)) in of_other.iter().zip(&of_host) {
        let far = distance(got, want);
        assert!(far < 1e-3, "{name}: the velocity of {tensor} is {far:.1e} apart");
    }
    Some(both)
}

#[test]
fn logits_and_gates_of_all_families_are_those_of_the_cpu() {
    for (name, config) in [
        ("dropout", dropout(0.3)),
        ("se", squeezed(resnet())),
        ("se, pre-activation", squeezed(pre_activation())),
        ("densenet", densenet()),
        ("imagenet", imagenet()),
        ("shake-shake", shake_shake()),
        ("shake-shake, se", squeezed(shake_shake())),
    ] {
        check::<f32>(name, &plain(config), 1e-5);
        check::<f32>(&format!("{name}, gated"), &gated(config, GatePlacement::All), 1e-5);
    }
    check::<f32>("custom", &custom_plain(), 1e-5);
    check::<f32>("custom, gated", &custom_gated(), 1e-5);
}

/// Both paths of every block get the weights of the first: then the forward pass is the same
/// whatever is drawn, and so is the sum of the gradients of both.
fn twins(config: BackboneConfig) -> Model {
    let model = plain(config);
    let all = model.state();
    for (name, state) in &all {
        let other = name.replace("residual_path1", "residual_path2");
        let other = all.iter().find(|(of, _)| *of == other && of != name);
        if let (State::Parameter(one), Some((_, State::Parameter(other)))) = (state, other) {
            other.set(&one.tensor()).expect("one shape");
        }
    }
    model
}

/// The velocities by name; of both paths of a block their sum.
fn sums(velocities: Tensors) -> Tensors {
    let mut sums = Tensors::new();
    for (name, values) in velocities {
        let name = name.replace("residual_path2", "residual_path1");
        match sums.iter_mut().find(|(of, _)| *of == name) {
            Some((_, sum)) => sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value),
            None => sums.push((name, values)),
        }
    }
    sums
}

#[test]
fn a_step_of_a_shake_shake_network_of_twins_is_that_of_the_cpu() {
    for (name, config) in [("shake-shake", shake_shake()), ("se", squeezed(shake_shake()))] {
        let both = first_step(&Data::new(IMAGES), name, || twins(config));
        // Which fraction of the gradient a path gets alone is drawn.
        let path = |of: Tensors| {
            of.into_iter().find(|(name, _)| name.contains("path1.conv1")).expect("a path").1
        };
        let Some([want, got]) = both.map(|both| both.map(path)) else { return };
        assert!(distance(&got, &want) > 1e-2, "{name}: the fractions are those of the CPU");
    }
}

/// What is said in some steps, and the weights after them.
fn trained(model: Model, graphs: bool, parts: &[[usize; 2]]) -> Option<(Vec<Said>, Tensors)> {
    let (device, data) = (emulator::device()?, Data::new(IMAGES));
    let mut sgd = sgd(&model);
    let mut said = Vec::new();
    for part in parts {
        let options = TrainOptions { graphs, ..options(BATCH, STEPS) };
        let mut trainer = trainer::<f32>(&device, &model, &sgd, &data, options);
        said.extend(run(&mut trainer, *part));
        trainer.store(&mut sgd).expect("a copy");
    }
    Some((said, state(&model)))
}

#[test]
fn random_layers_draw_anew_and_are_repeated_by_graphs_and_resumed_trainings() {
    for (name, config) in [("dropout", dropout(0.4)), ("shake-shake", shake_shake())] {
        let new = || plain(config);
        let Some(whole) = trained(new(), true, &[[0, 6]]) else { return };
        let launches = trained(new(), false, &[[0, 6]]).expect("as before");
        assert!(launches == whole, "{name}: a graph does not what its launches do");
        let resumed = trained(new(), true, &[[0, 3], [3, 6]]).expect("as before");
        assert!(resumed == whole, "{name}: a resumed training is another");
    }
    let of = |p| trained(plain(dropout(p)), true, &[[0, 1]]).expect("as before").0;
    assert_ne!(of(0.4)[0], of(NOTHING)[0], "nothing is dropped");
}

#[test]
fn logits_in_bf16_stay_near_those_of_the_cpu() {
    check::<bf16>("shake-shake, se", &plain(squeezed(shake_shake())), 0.05);
    check::<bf16>("densenet", &plain(densenet()), 0.05);
    check::<bf16>("custom", &custom_plain(), 0.05);
}
