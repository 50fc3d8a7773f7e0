//! The pruned subnetwork of a gated network is a plain network with the same logits.

use std::collections::BTreeMap;

use crate::common::closed::{gates, poison};
use crate::common::{BATCH, cases, images, model};
use gaternet_core::checkpoint::{self, Checkpoint};
use gaternet_core::nn::Module;
use gaternet_core::{Ctx, Tensor};
use gaternet_models::{
    BackboneConfig, Calibration, ConvRole, GatePlacement, GatedNet, GaterConfig, InferencePlan,
    Model, NetworkBuilder, PlainNet, PlanOptions,
};

fn calibration(gates: &[f32], count: usize) -> Calibration {
    let mut calibration = Calibration::new(count);
    calibration.add(gates).expect("whole rows");
    calibration
}

fn assert_close(what: &str, got: &[f32], want: &[f32]) {
    let scale = want.iter().fold(0.0, |max: f32, x| max.max(x.abs()));
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let error = (got - want).abs() / scale;
        assert!(error < 1e-5, "{what}, logit {i}: {got}, the gated plan gives {want}");
    }
    assert_eq!(got.len(), want.len(), "{what}");
}

/// Logits of a gated plan in which every image has the gates `open` (c).
fn with_gates(model: &GatedNet, images: &Tensor, open: &[f32]) -> Vec<f32> {
    let plan = InferencePlan::gated(model, PlanOptions::default()).expect("it fits");
    let mut logits = vec![f32::NAN; BATCH * plan.classes()];
    plan.run_with_gates(images.data(), &open.repeat(BATCH), &mut logits).expect("they fit");
    logits
}

#[test]
fn a_saved_pruned_subnetwork_has_the_logits_of_the_gated_plan() {
    let (images, folder) = (images(), tempfile::tempdir().expect("a temporary folder"));
    let file = folder.path().join("static.safetensors");
    for case in cases() {
        let model = model(case);
        let count = model.plan().gates();
        let calibration = calibration(gates(&model, 2).values().data(), count);
        for (fraction, least) in [(0.0, 1), (0.5, 2), (1.0, BATCH + 1)] {
            let what = format!("{case:?}, fraction {fraction}");
            let opened = calibration.opened().iter();
            let open: Vec<_> = opened.map(|n| f32::from(u8::from(*n >= least))).collect();
            let pruned = model.pruned_subnetwork(&calibration, fraction).expect("its gates");
            pruned.save(&file, &BTreeMap::new()).expect("a writable folder");
            let (Model::Plain(pruned), whole) = (Model::load(&file).expect("just saved"), &model)
            else {
                panic!("{what}: not a plain network");
            };
            assert_close(
                &what,
                pruned.forward(&images, &mut Ctx::eval()).expect("they fit").data(),
                &with_gates(whole, &images, &open),
            );
            let (less, parameters) = (pruned.parameter_count(), whole.backbone().parameter_count());
            match what.contains("placement: BlockOutput") {
                // Residual outputs keep their place.
                true => assert_eq!(less, parameters, "{what}"),
                false => assert!(less < parameters, "{what}: {less} of {parameters}"),
            }
        }
    }
}

#[test]
fn nothing_of_what_is_gone_is_left() {
    let images = images();
    for case in cases() {
        let model = model(case);
        let gates = gates(&model, 2);
        let calibration = calibration(gates.values().data(), model.plan().gates());
        let logits = || {
            let pruned = model.pruned_subnetwork(&calibration, 0.0).expect("its gates");
            pruned.forward(&images, &mut Ctx::eval()).expect("they fit")
        };
        let clean = logits();
        poison(&model, &gates);
        assert_eq!(logits().data(), clean.data(), "{case:?}: a NaN of a pruned filter");
    }
}

#[test]
fn a_unit_without_outputs_keeps_one_filter_and_adds_nothing() {
    let (model, images) = (model(GatePlacement::All), images());
    let layers = model.plan().layers();
    let inactive =
        layers.iter().find(|layer| layer.conv == "stage2.block2.conv2").expect("a layer");
    let mut open = vec![1.0; model.plan().gates()];
    open[inactive.columns.clone()].fill(0.0);
    let calibration = calibration(&open, open.len());
    assert_eq!(
        calibration.inactive_layers(model.plan()).expect("its gates"),
        ["stage2.block2.conv2"]
    );
    let pruned = model.pruned_subnetwork(&calibration, 0.0).expect("its gates");
    #[rustfmt::skip]
    assert_eq!(pruned.inner_filters(), Some(&[16, 16, 16, 32, 1, 32, 64, 64, 64][..]));
    let want = with_gates(&model, &images, &open);
    assert_close("plain", pruned.forward(&images, &mut Ctx::eval()).expect("fits").data(), &want);
    let options = PlanOptions::default();
    let plan = InferencePlan::calibrated(&model, options, &calibration).expect("its gates");
    let mut logits = vec![f32::NAN; want.len()];
    plan.run(images.data(), &mut logits).expect("they fit");
    assert_eq!(logits, want, "calibrated plan");
}

#[test]
fn weights_are_copies() {
    let (model, images) = (model(GatePlacement::Inner), images());
    let calibration = calibration(gates(&model, 2).values().data(), model.plan().gates());
    let pruned = model.pruned_subnetwork(&calibration, 0.0).expect("its gates");
    let before = pruned.forward(&images, &mut Ctx::eval()).expect("they fit");
    for (_, parameter) in model.parameters() {
        parameter.update(|values| values.fill(0.0));
    }
    let after = pruned.forward(&images, &mut Ctx::eval()).expect("they fit");
    assert_eq!(after.data(), before.data());
}

#[test]
fn a_network_of_a_programs_own_has_a_pruned_subnetwork() {
    let (mut net, input) = NetworkBuilder::new(3, 0);
    let h = net.conv("one", input, 8, 3).batch_norm("bn").relu().role(ConvRole::Inner);
    let h = h.done().expect("valid");
    let y = net.conv("two", h, 4, 3).done().expect("valid");
    let y = net.global_avg_pool(y);
    net.linear("fc", y, 10).expect("valid");
    let gater = GaterConfig { depth: 8, ..GaterConfig::default() };
    let model = GatedNet::gate(net.finish().expect("valid"), GatePlacement::Inner, gater, 0)
        .expect("valid");
    let open = [1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0];
    let pruned = model.pruned_subnetwork(&calibration(&open, 8), 0.0).expect("its gates");
    assert_eq!(pruned.convs([8, 8]).expect("fits").iter().map(|c| c.out_channels).max(), Some(4));
    let images = images();
    let got = pruned.forward(&images, &mut Ctx::eval()).expect("they fit");
    assert_close("custom", got.data(), &with_gates(&model, &images, &open));
}

#[test]
fn lists_of_filters_that_fit_no_architecture() {
    let config = BackboneConfig::resnet(8, 10);
    let error = |filters: &[usize]| {
        PlainNet::narrowed(config, filters, 0).expect_err("a wrong list").to_string()
    };
    let text = error(&[3, 5]);
    assert!(text.contains("none for stage3.block1.conv1"), "{text}");
    assert!(error(&[3, 5, 7, 9]).contains("1 too many"), "{}", error(&[3, 5, 7, 9]));
    let text = error(&[3, 33, 7]);
    assert!(text.contains("33 of 32 for stage2.block1.conv1"), "{text}");
    assert!(error(&[3, 0, 7]).contains("must not hold a 0"), "{}", error(&[3, 0, 7]));

    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("narrow.safetensors");
    let net = PlainNet::narrowed(config, &[3, 5, 7], 0).expect("valid");
    net.save(&file, &BTreeMap::new()).expect("a writable folder");
    let again = PlainNet::load(&file).expect("just saved");
    assert_eq!(again.inner_filters(), Some(&[3, 5, 7][..]));
    let stored = Checkpoint::load(&file).expect("just saved");
    let mut metadata = stored.metadata;
    metadata.insert("inner_filters".to_owned(), "[3, -5]".to_owned());
    let tensors: Vec<_> = stored.tensors.into_iter().collect();
    checkpoint::save(&file, &tensors, &metadata).expect("a writable folder");
    let text = PlainNet::load(&file).expect_err("a negative number").to_string();
    assert!(text.contains("metadata inner_filters") && text.contains("[3, -5]"), "{text}");
}
