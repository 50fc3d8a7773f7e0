//! One training step, end to end.

use gaternet_core::gate::SemHashDraw;
use gaternet_core::nn::Module;
use gaternet_core::optim::{Optimizer, Sgd, SgdConfig};
use gaternet_core::{Ctx, Tensor};
use gaternet_models::{GatedResNet, GatedResNetConfig};

fn model() -> GatedResNet {
    let mut config = GatedResNetConfig::cifar(8, 4);
    config.gater_depth = 8;
    GatedResNet::new(config, 2).expect("valid")
}

fn batch() -> (Tensor, Vec<usize>) {
    let images = Tensor::randn([8, 3, 32, 32], 1.0, Ctx::train(1).rng()).expect("small");
    (images, (0..8).map(|i| i % 4).collect())
}

#[test]
fn every_parameter_has_a_gradient_and_a_batch_can_be_learned() {
    let (model, (images, labels)) = (model(), batch());
    let mut sgd = Sgd::new(model.parameters(), SgdConfig::default()).expect("valid");
    let mut losses = Vec::new();
    for step in 0..30 {
        let mut ctx = Ctx::train(9).with_stream(step);
        let loss = model.forward(&images, &mut ctx).expect("they fit").loss(&labels, 0.1);
        let loss = loss.expect("one label an image");
        let gradients = loss.total.backward().expect("a scalar");
        for (name, parameter) in model.parameters() {
            let gradient = gradients.get(&parameter).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert!(gradient.data().iter().all(|g| g.is_finite()), "{name}: not finite");
        }
        losses.push(loss.cross_entropy.item().expect("a scalar"));
        sgd.step(&gradients).expect("every gradient is there");
    }
    assert!(losses[29] < 0.5 * losses[0], "8 images are not learned in 30 steps: {losses:?}");
}

#[test]
fn a_step_depends_on_its_seed_alone() {
    let run = |seed| {
        let (model, (images, labels)) = (model(), batch());
        let mut sgd = Sgd::new(model.parameters(), SgdConfig::default()).expect("valid");
        let output = model.forward(&images, &mut Ctx::train(seed)).expect("they fit");
        let loss = output.loss(&labels, 0.1).expect("one label an image").total;
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
    let silent = |discrete| SemHashDraw {
        noise: Tensor::zeros([8, gates]).expect("small"),
        discrete: vec![discrete; 8],
    };
    let ctx = Ctx::train(0);
    let hard = model.forward_with_draw(&images, &silent(true), &ctx).expect("they fit");
    assert!(hard.gates.values().data().iter().all(|g| *g == 0.0 || *g == 1.0));
    let soft = model.forward_with_draw(&images, &silent(false), &ctx).expect("they fit");
    assert!(soft.gates.values().data().iter().any(|g| *g > 0.0 && *g < 1.0));
}
