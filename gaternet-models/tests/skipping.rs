//! Off means exactly zero, and not computed.

use gaternet_core::gate::Gates;
use gaternet_core::nn::{Module, State};
use gaternet_core::{Ctx, Tensor};
use gaternet_models::{GatedResNet, GatedResNetConfig};

const BATCH: usize = 3;

fn model() -> GatedResNet {
    let model = GatedResNet::new(GatedResNetConfig::cifar(20, 10), 3).expect("valid");
    // Statistics and affine parameters as of a trained net: with those of a fresh one a mistake in
    // batch norm of a skipped plane would not show.
    let mut rng = Ctx::train(11);
    for (name, state) in model.state() {
        let noise = |tensor: &Tensor, rng: &mut Ctx| {
            Tensor::randn(tensor.shape(), 0.3, rng.rng()).expect("as large as the parameter")
        };
        match state {
            State::Parameter(p) if name.contains("bn") => {
                let noise = noise(&p.tensor(), &mut rng);
                p.update(|values| values.iter_mut().zip(noise.data()).for_each(|(v, n)| *v += n));
            }
            State::Buffer(b) => {
                let noise = noise(&b.tensor(), &mut rng);
                b.update(|values| {
                    values.iter_mut().zip(noise.data()).for_each(|(v, n)| *v += n.abs())
                });
            }
            _ => {}
        }
    }
    model
}

fn images() -> Tensor {
    Tensor::randn([BATCH, 3, 32, 32], 1.0, Ctx::train(5).rng()).expect("small")
}

/// Gates of every sample: none open, one in each unit, more than half, differing by sample, or all.
fn gates(model: &GatedResNet, density: usize) -> Gates {
    let plan = model.plan();
    let mut values = Vec::with_capacity(BATCH * plan.gates());
    for n in 0..BATCH {
        for slot in plan.slots() {
            for filter in 0..slot.columns.len() {
                let open = match density {
                    0 => false,
                    1 => filter == n,
                    2 => filter % 4 != 1 && (filter * 7 + n * 3) % 5 < 4,
                    _ => true,
                };
                values.push(f32::from(u8::from(open)));
            }
        }
    }
    let values = Tensor::new(values, [BATCH, plan.gates()]).expect("one row a sample");
    Gates::new(values, &plan.widths()).expect("the plan's widths")
}

#[test]
fn skipping_and_masking_have_the_same_bits() {
    let (model, images) = (model(), images());
    for density in 0..4 {
        let gates = gates(&model, density);
        let run = |skip| {
            model.backbone_with_gates(&images, &gates, skip, &Ctx::eval()).expect("they fit")
        };
        let (skipped, masked) = (run(true), run(false));
        let bits = |x: &Tensor| x.data().iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&skipped), bits(&masked), "density case {density}");
    }
}

#[test]
fn evaluation_skips_and_a_gradient_pass_computes_the_same() {
    let (model, images) = (model(), images());
    let skipped = model.forward(&images, &mut Ctx::eval()).expect("they fit");
    let masked = model.forward(&images, &mut Ctx::eval().with_grad()).expect("they fit");
    assert_eq!(skipped.logits.data(), masked.logits.data());
    assert_eq!(skipped.gates.values().data(), masked.gates.values().data());
    let density = skipped.gates.density();
    assert!(
        density > 0.0 && density < 1.0,
        "a test of skipping needs both kinds of gates: {density}"
    );
}

#[test]
fn the_weights_of_a_filter_that_is_off_are_not_read() {
    let (model, images) = (model(), images());
    let gates = gates(&model, 2);
    let run = || {
        let logits = model.backbone_with_gates(&images, &gates, true, &Ctx::eval());
        logits.expect("they fit").data().to_vec()
    };
    let clean = run();
    let parameters: std::collections::BTreeMap<_, _> = model.parameters().into_iter().collect();
    let mut poisoned = 0;
    for (index, slot) in model.plan().slots().iter().enumerate() {
        let live = gates.live(index).expect("a slot of the plan");
        let weight = &parameters[&format!("backbone.{}.weight", slot.conv)];
        for filter in 0..slot.columns.len() {
            if (0..BATCH).all(|n| !live.row(n).contains(&(filter as u32))) {
                weight.update(|w| {
                    let len = w.len() / slot.columns.len();
                    w[filter * len..(filter + 1) * len].fill(f32::NAN);
                });
                poisoned += 1;
            }
        }
    }
    assert!(poisoned > 0, "no filter is off in every sample: the test would show nothing");
    assert_eq!(run(), clean, "a NaN in {poisoned} closed filters reached the logits");
}

#[test]
fn open_gates_leave_the_plain_network() {
    let (model, images) = (model(), images());
    let gated = model.backbone_with_gates(&images, &gates(&model, 3), true, &Ctx::eval());
    let plain = model.backbone().forward(&images, &Ctx::eval()).expect("they fit");
    assert_eq!(gated.expect("they fit").data(), plain.data());
}

#[test]
fn a_training_pass_refuses_to_skip() {
    let (model, images) = (model(), images());
    let gates = gates(&model, 2);
    let error = model.backbone_with_gates(&images, &gates, true, &Ctx::train(0));
    let text = error.expect_err("batch statistics need every filter").to_string();
    assert!(text.contains("skip = true"), "{text}");
}
