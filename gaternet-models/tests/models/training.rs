//! One training step, end to end.

use crate::common::PLACEMENTS;
use crate::common::families::families;
use gaternet_core::gate::{GateDraw, SemHashDraw};
use gaternet_core::nn::Module;
use gaternet_core::optim::{Optimizer, Sgd, SgdConfig};
use gaternet_core::{Ctx, Tensor};
use gaternet_models::{BackboneConfig, GatePlacement, GatedConfig, GatedResNet, GaterConfig};

fn gated(backbone: BackboneConfig, placement: GatePlacement) -> GatedResNet {
    let config = GatedConfig {
        placement,
        gater: GaterConfig { depth: 8, ..GaterConfig::default() },
        ..GatedConfig::new(backbone)
    };
    GatedResNet::new(config, 2).expect("valid")
}

fn placed(placement: GatePlacement) -> GatedResNet {
    gated(BackboneConfig::resnet(8, 4), placement)
}

fn model() -> GatedResNet {
    placed(GatePlacement::BlockOutput)
}

fn batch() -> (Tensor, Vec<usize>) {
    let images = Tensor::randn([8, 3, 16, 16], 1.0, Ctx::train(1).rng()).expect("small");
    (images, (0..8).map(|i| i % 4).collect())
}

#[test]
fn every_parameter_has_a_gradient_and_a_batch_can_be_learned() {
    let resnets = PLACEMENTS.map(|placement| (BackboneConfig::resnet(8, 4), placement));
    let wide = [(BackboneConfig::wide_resnet(10, 1, 4), GatePlacement::All)];
    let others = families(4).into_iter().map(|backbone| (backbone, GatePlacement::All));
    for (backbone, placement) in resnets.into_iter().chain(wide).chain(others) {
        let (model, (images, labels)) = (gated(backbone, placement), batch());
        // Losses of 8 images jump with batch norm and a high rate, at a step that depends on
        // rounding.
        let config = SgdConfig::default().with_learning_rate(0.05);
        let mut sgd = Sgd::new(model.parameters(), config).expect("valid");
        let mut losses = Vec::new();
        for step in 0..30 {
            let mut ctx = Ctx::train(9).with_stream(step);
            let output = model.forward(&images, &mut ctx).expect("they fit");
            let loss = model.loss(&output, &labels).expect("one label an image");
            let gradients = loss.total.backward().expect("a scalar");
            for (name, parameter) in model.parameters() {
                let gradient = gradients.get(&parameter).unwrap_or_else(|e| panic!("{name}: {e}"));
                assert!(gradient.data().iter().all(|g| g.is_finite()), "{name}: not finite");
            }
            losses.push(loss.cross_entropy.item().expect("a scalar"));
            sgd.step(&gradients).expect("every gradient is there");
        }
        let lowest = losses.iter().copied().fold(f32::INFINITY, f32::min);
        assert!(
            lowest < 0.7 * losses[0],
            "{backbone:?}, {placement:?}: 8 images are not learned in 30 steps: {losses:?}"
        );
    }
}

#[test]
fn a_closed_gate_has_a_gradient_wherever_it_sits() {
    for placement in PLACEMENTS {
        let (model, (images, labels)) = (placed(placement), batch());
        // Every second gate is closed in every sample.
        let gates = model.plan().gates();
        let noise = (0..8 * gates).map(|i| if i % gates % 2 == 0 { 9.0 } else { -9.0 }).collect();
        let noise = Tensor::new(noise, [8, gates]).expect("one row an image");
        let draw = GateDraw::SemHash(SemHashDraw { noise, discrete: vec![true; 8] });
        let output = model.forward_with_draw(&images, &draw, &mut Ctx::train(0)).expect("they fit");
        let values = output.gates.values();
        // The gate term has no gradient at 0: what is left is the classifier's.
        let loss = model.loss(&output, &labels).expect("one label an image").total;
        let gradients = loss.backward_retaining(&[values]).expect("a scalar");
        let gradient = gradients.of(values).expect("retained");
        for layer in model.plan().layers() {
            let at = |n: usize, gate| n * gates + gate;
            let closed: Vec<_> = (0..8)
                .flat_map(|n| layer.columns.clone().map(move |gate| at(n, gate)))
                .filter(|i| values.data()[*i] == 0.0)
                .collect();
            assert_eq!(closed.len(), 8 * layer.columns.len() / 2, "{placement:?}, {}", layer.conv);
            let moved = closed.iter().filter(|i| gradient.data()[**i] != 0.0).count();
            assert!(
                moved > closed.len() / 2,
                "{placement:?}, {}: {moved} of {} closed gates have a gradient",
                layer.conv,
                closed.len()
            );
        }
    }
}

#[test]
fn a_step_depends_on_its_seed_alone() {
    let run = |seed| {
        let (model, (images, labels)) = (model(), batch());
        let mut sgd = Sgd::new(model.parameters(), SgdConfig::default()).expect("valid");
        let output = model.forward(&images, &mut Ctx::train(seed)).expect("they fit");
        let loss = model.loss(&output, &labels).expect("one label an image").total;
        sgd.step(&loss.backward().expect("a scalar")).expect("every gradient is there");
        model.forward(&images, &mut Ctx::eval()).expect("they fit").logits.data().to_vec()
    };
    assert_eq!(run(4), run(4));
    assert_ne!(run(4), run(5), "the noise does not depend on the seed");
}

#[test]
fn a_draw_can_be_given() {
    let (model, (images, _)) = (model(), batch());
    let gates = model.plan().gates();
    let silent = |discrete| {
        let noise = Tensor::zeros([8, gates]).expect("small");
        GateDraw::SemHash(SemHashDraw { noise, discrete: vec![discrete; 8] })
    };
    let mut ctx = Ctx::train(0);
    let hard = model.forward_with_draw(&images, &silent(true), &mut ctx).expect("they fit");
    assert!(hard.gates.values().data().iter().all(|g| *g == 0.0 || *g == 1.0));
    let soft = model.forward_with_draw(&images, &silent(false), &mut ctx).expect("they fit");
    assert!(soft.gates.values().data().iter().any(|g| *g > 0.0 && *g < 1.0));
}
