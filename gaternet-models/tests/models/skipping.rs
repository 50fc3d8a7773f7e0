//! Off means exactly zero, and not computed.

use crate::common::closed::{gates, poison};
use crate::common::{cases, images, model};
use gaternet_core::gate::Gates;
use gaternet_core::{Ctx, Tensor};
use gaternet_models::GatePlacement;

fn bits(x: &Tensor) -> Vec<u32> {
    x.data().iter().map(|v| v.to_bits()).collect()
}

#[test]
fn skipping_and_masking_have_the_same_bits() {
    let images = images();
    for case in cases() {
        let model = model(case);
        for density in 0..4 {
            let gates = gates(&model, density);
            let run = |skip, mut ctx: Ctx| {
                model.backbone_with_gates(&images, &gates, skip, &mut ctx).expect("they fit")
            };
            let skipped = bits(&run(true, Ctx::eval()));
            let what = format!("{case:?}, density case {density}");
            assert_eq!(bits(&run(false, Ctx::eval())), skipped, "{what}");
            assert_eq!(
                bits(&run(false, Ctx::eval().with_grad())),
                skipped,
                "{what}, with gradients"
            );
        }
    }
}

#[test]
fn soft_gates_scale_alike_whether_the_others_are_skipped_or_not() {
    let images = images();
    for case in cases() {
        let model = model(case);
        let hard = gates(&model, 2);
        let soft = hard.values().data().iter().enumerate().map(|(i, g)| g * (0.1 + (i % 7) as f32));
        let values = Tensor::new(soft.collect(), hard.values().shape()).expect("as many");
        let gates = Gates::new(values, &model.plan().widths()).expect("the plan's widths");
        let run = |skip, mut ctx: Ctx| {
            bits(&model.backbone_with_gates(&images, &gates, skip, &mut ctx).expect("they fit"))
        };
        let skipped = run(true, Ctx::eval());
        assert_eq!(run(false, Ctx::eval()), skipped, "{case:?}");
        assert_eq!(run(false, Ctx::eval().with_grad()), skipped, "{case:?}, with gradients");
    }
}

#[test]
fn evaluation_skips_and_a_gradient_pass_computes_the_same() {
    let images = images();
    for case in cases() {
        let model = model(case);
        let skipped = model.forward(&images, &mut Ctx::eval()).expect("they fit");
        let masked = model.forward(&images, &mut Ctx::eval().with_grad()).expect("they fit");
        assert_eq!(skipped.logits.data(), masked.logits.data(), "{case:?}");
        assert_eq!(skipped.gates.values().data(), masked.gates.values().data(), "{case:?}");
        let density = skipped.gates.density();
        assert!(
            density > 0.0 && density < 1.0,
            "a test of skipping needs both kinds of gates: {density}"
        );
    }
}

#[test]
fn the_weights_of_a_filter_that_is_off_are_not_read() {
    let images = images();
    for case in cases() {
        let model = model(case);
        let gates = gates(&model, 2);
        let run = || {
            let logits = model.backbone_with_gates(&images, &gates, true, &mut Ctx::eval());
            logits.expect("they fit").data().to_vec()
        };
        let clean = run();
        let poisoned = poison(&model, &gates);
        assert!(poisoned > 0, "no filter is off in every sample: the test would show nothing");
        assert_eq!(run(), clean, "{case:?}: a NaN in {poisoned} closed filters reached the logits");
    }
}

#[test]
fn open_gates_leave_the_plain_network() {
    let images = images();
    for case in cases() {
        let model = model(case);
        let gated = model.backbone_with_gates(&images, &gates(&model, 3), true, &mut Ctx::eval());
        let plain = model.backbone().forward(&images, &mut Ctx::eval()).expect("they fit");
        assert_eq!(gated.expect("they fit").data(), plain.data(), "{case:?}");
    }
}

#[test]
fn a_training_pass_refuses_to_skip() {
    let (model, images) = (model(GatePlacement::All), images());
    let gates = gates(&model, 2);
    let error = model.backbone_with_gates(&images, &gates, true, &mut Ctx::train(0));
    let text = error.expect_err("batch statistics need every filter").to_string();
    assert!(text.contains("skip = true"), "{text}");
}
