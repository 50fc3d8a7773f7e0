//! The inference plan computes what the model computes.

use crate::common::closed::{gates, poison};
use crate::common::{BATCH, cases, images, model};
use gaternet_core::{Ctx, Tensor};
use gaternet_models::{
    Calibration, DType, GatePlacement, GatedResNet, InferencePlan, Model, PlanOptions,
};

fn plan(model: &GatedResNet, skip: bool) -> InferencePlan {
    plan_of(model, skip, DType::F32)
}

fn plan_of(model: &GatedResNet, skip: bool, dtype: DType) -> InferencePlan {
    let options = PlanOptions { skip, dtype, ..PlanOptions::default() };
    InferencePlan::gated(model, options).expect("it fits")
}

/// Logits of one pass.
fn run(plan: &mut InferencePlan, images: &Tensor, gates: &[f32]) -> Vec<f32> {
    let mut logits = vec![f32::NAN; images.dims()[0] * plan.classes()];
    plan.run_with_gates(images.data(), gates, &mut logits).expect("they fit");
    logits
}

fn assert_close(what: &str, got: &[f32], want: &[f32]) {
    assert_within(1e-4, what, got, want);
}

/// `bound` is relative to the largest logit.
fn assert_within(bound: f32, what: &str, got: &[f32], want: &[f32]) {
    let scale = want.iter().fold(0.0, |max: f32, x| max.max(x.abs()));
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let error = (got - want).abs() / scale;
        assert!(error < bound, "{what}, logit {i}: {got}, the model gives {want}");
    }
    assert_eq!(got.len(), want.len(), "{what}");
}

#[test]
fn logits_are_the_models_up_to_rounding() {
    let images = images();
    for case in cases() {
        let model = model(case);
        let mut plan = plan(&model, true);
        for density in 0..4 {
            let gates = gates(&model, density);
            let want = model.backbone_with_gates(&images, &gates, true, &mut Ctx::eval());
            let got = run(&mut plan, &images, gates.values().data());
            let what = format!("{case:?}, density case {density}");
            assert_close(&what, &got, want.expect("they fit").data());
        }
    }
}

#[test]
fn products_of_bf16_change_logits_by_their_rounding() {
    let images = images();
    for case in cases() {
        let model = model(case);
        for density in 0..4 {
            let gates = gates(&model, density);
            let run =
                |dtype| run(&mut plan_of(&model, true, dtype), &images, gates.values().data());
            let [f32, bf16] = DType::ALL.map(run);
            let what = format!("{case:?}, density case {density}");
            assert_within(0.05, &what, &bf16, &f32);
            assert_ne!(bf16, f32, "{what}: nothing was rounded");
        }
    }
}

#[test]
fn gater_and_gates_are_the_models() {
    let (model, images) = (model(GatePlacement::All), images());
    let want = model.forward(&images, &mut Ctx::eval()).expect("they fit");
    let mut plan = InferencePlan::new(&Model::Gated(Box::new(model)), PlanOptions::default())
        .expect("it fits");
    let mut gates = vec![f32::NAN; BATCH * plan.gate_count()];
    plan.gates(images.data(), &mut gates).expect("they fit");
    let decided = want.gate_logits.data().iter().zip(want.gates.values().data()).zip(&gates);
    for (i, ((gate_logits, want), got)) in decided.enumerate() {
        assert!(
            got == want || gate_logits.abs() < 1e-4,
            "gate {i}: {got} for a gate logit {gate_logits}"
        );
    }
    let mut logits = vec![f32::NAN; want.logits.len()];
    plan.run(images.data(), &mut logits).expect("they fit");
    assert_eq!(logits, run(&mut plan, &images, &gates));
    assert_close("gates of its own", &logits, want.logits.data());
}

#[test]
fn a_plain_network_and_another_image_size() {
    let model = model(GatePlacement::BlockOutput);
    let plain = model.backbone();
    let images = Tensor::randn([2, 3, 17, 40], 1.0, Ctx::train(8).rng()).expect("small");
    let options = PlanOptions { size: [17, 40], ..PlanOptions::default() };
    let mut plan = InferencePlan::plain(plain, options).expect("it fits");
    let want = plain.forward(&images, &mut Ctx::eval()).expect("they fit");
    assert_close("17x40", &run(&mut plan, &images, &[]), want.data());
    let mut logits = vec![f32::NAN; want.len()];
    plan.run(images.data(), &mut logits).expect("they fit");
    assert_close("17x40", &logits, want.data());
    assert_eq!((plan.gate_count(), plan.classes()), (0, 10));
}

#[test]
fn skipping_and_masking_have_the_same_bits() {
    let images = images();
    for (case, dtype) in cases().flat_map(|case| DType::ALL.map(|dtype| (case, dtype))) {
        let model = model(case);
        let [mut skips, mut masks] = [true, false].map(|skip| plan_of(&model, skip, dtype));
        for density in 0..4 {
            let gates = gates(&model, density);
            let bits = |plan: &mut InferencePlan| {
                let logits = run(plan, &images, gates.values().data());
                logits.into_iter().map(f32::to_bits).collect::<Vec<_>>()
            };
            let what = format!("{case:?}, {dtype}, density case {density}");
            assert_eq!(bits(&mut skips), bits(&mut masks), "{what}");
        }
    }
}

#[test]
fn the_weights_of_a_filter_that_is_off_are_not_read() {
    let images = images();
    for case in cases() {
        let model = model(case);
        let gates = gates(&model, 2);
        let clean = run(&mut plan(&model, true), &images, gates.values().data());
        let poisoned = poison(&model, &gates);
        assert!(poisoned > 0, "no filter is off in every sample: the test would show nothing");
        let got = run(&mut plan(&model, true), &images, gates.values().data());
        assert_eq!(got, clean, "{case:?}: a NaN in {poisoned} closed filters reached the logits");
    }
}

#[test]
fn neither_threads_nor_the_other_samples_change_a_bit() {
    let (model, images) = (model(GatePlacement::All), images());
    let gates = gates(&model, 2);
    let values = gates.values().data();
    // 1 and 2 threads run a sample on each, 5 share every sample of 3.
    let all: Vec<_> = [1, 2, 5]
        .into_iter()
        .map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            pool.expect("threads").install(|| {
                let mut plan = plan(&model, true);
                let first = run(&mut plan, &images, values);
                assert_eq!(run(&mut plan, &images, values), first, "{threads} threads, again");
                first
            })
        })
        .collect();
    assert_eq!(all[0], all[1], "1 and 2 threads");
    assert_eq!(all[0], all[2], "1 and 5 threads");
    let plan = plan(&model, true);
    let (image, row) = (images.len() / BATCH, values.len() / BATCH);
    for n in 0..BATCH {
        let mut logits = vec![f32::NAN; plan.classes()];
        let (image, row) = (n * image..(n + 1) * image, n * row..(n + 1) * row);
        plan.run_with_gates(&images.data()[image], &values[row], &mut logits).expect("they fit");
        assert_eq!(logits, all[0][n * 10..(n + 1) * 10], "sample {n} alone");
    }
}

#[test]
fn a_plan_keeps_the_weights_it_was_made_of() {
    use gaternet_core::nn::Module;
    let (model, images) = (model(GatePlacement::Inner), images());
    let gates = gates(&model, 2);
    let mut plan = plan(&model, true);
    let before = run(&mut plan, &images, gates.values().data());
    for (_, parameter) in model.parameters() {
        parameter.update(|values| values.fill(0.0));
    }
    assert_eq!(run(&mut plan, &images, gates.values().data()), before);
}

#[test]
fn a_calibration_settles_the_gates_that_no_image_disagrees_about() {
    let images = images();
    for case in cases() {
        let model = model(case);
        let gates = gates(&model, 2);
        let mut calibration = Calibration::new(model.plan().gates());
        // One image at a time, as of several batches.
        for row in gates.values().data().chunks(model.plan().gates()) {
            calibration.add(row).expect("as many gates");
        }
        // What images get that open all or nothing.
        let settled = |open: fn(usize) -> bool| {
            let gate = |opened: &usize| f32::from(u8::from(open(*opened)));
            calibration.opened().iter().map(gate).collect::<Vec<_>>().repeat(BATCH)
        };
        let (some, every) = (settled(|opened| opened > 0), settled(|opened| opened == BATCH));
        assert!(some != every && every.contains(&1.0), "the gates show nothing");
        let (all, nothing) = (vec![1.0; some.len()], vec![0.0; some.len()]);
        for (skip, dtype) in
            [true, false].into_iter().flat_map(|skip| DType::ALL.map(|dtype| (skip, dtype)))
        {
            let options = PlanOptions { skip, dtype, ..PlanOptions::default() };
            let mut whole = InferencePlan::gated(&model, options).expect("it fits");
            let mut plan =
                InferencePlan::calibrated(&model, options, &calibration).expect("it fits");
            let what = format!("{case:?}, skip {skip}, {dtype}");
            let gates = gates.values().data();
            assert_eq!(run(&mut plan, &images, gates), run(&mut whole, &images, gates), "{what}");
            let [got, want] = [run(&mut plan, &images, &all), run(&mut whole, &images, &some)];
            assert_eq!(got, want, "{what}: an image that opens pruned filters");
            let [got, want] = [run(&mut plan, &images, &nothing), run(&mut whole, &images, &every)];
            assert_eq!(got, want, "{what}: an image that closes what is always open");
            let [less, bytes] = [plan.weight_bytes(), whole.weight_bytes()];
            assert!(less < bytes, "{what}: {less} bytes of weights instead of {bytes}");
        }
    }
}

#[test]
fn a_calibration_may_open_nothing_and_must_be_of_the_networks_gates() {
    let images = images();
    for case in cases() {
        let model = model(case);
        let nothing = Calibration::new(model.plan().gates());
        let plan = InferencePlan::calibrated(&model, PlanOptions::default(), &nothing);
        let gates = gates(&model, 0);
        let want = run(&mut self::plan(&model, true), &images, gates.values().data());
        let mut plan = plan.expect("it fits");
        for density in [0, 3] {
            let gates = self::gates(&model, density);
            let got = run(&mut plan, &images, gates.values().data());
            assert_eq!(got, want, "{case:?}, density case {density}");
        }
        let mut logits = vec![f32::NAN; want.len()];
        plan.run(images.data(), &mut logits).expect("they fit");
        assert_eq!(logits, want, "{case:?}: there is nothing to decide");
    }
    let model = model(GatePlacement::Inner);
    let mut calibration = Calibration::new(7);
    let error = calibration.add(&[1.0; 8]).expect_err("no whole row").to_string();
    assert!(error.contains("8 values for 7 gates"), "{error}");
    calibration.add(&[1.0; 14]).expect("two images");
    let plan = InferencePlan::calibrated(&model, PlanOptions::default(), &calibration);
    let error = plan.expect_err("not its gates").to_string();
    assert!(error.contains("7 for 336"), "{error}");
}

#[test]
fn what_does_not_fit_is_refused() {
    let (model, images) = (model(GatePlacement::All), images());
    let plan = plan(&model, true);
    let gates = vec![1.0; BATCH * plan.gate_count()];
    let mut logits = vec![7.0; BATCH * 10];
    let images = images.data();
    let refused = |images: &[f32], gates: &[f32], logits: &mut [f32]| {
        plan.run_with_gates(images, gates, logits).expect_err("it does not fit").to_string()
    };
    let error = refused(&images[1..], &gates, &mut logits);
    assert!(error.contains("9215 values for images of 3072"), "{error}");
    let error = refused(images, &gates[1..], &mut logits);
    assert!(error.contains("2015 values for (3, 672)"), "{error}");
    let error = refused(images, &gates, &mut logits[1..]);
    assert!(error.contains("29 values for (3, 10)"), "{error}");
    for (value, name) in [(0.5, "0.5"), (f32::NAN, "NaN")] {
        let mut soft = gates.clone();
        soft[672 + 5] = value;
        let error = refused(images, &soft, &mut logits);
        assert!(error.contains("a gate must be 0 or 1") && error.contains("(1, 5)"), "{error}");
        assert!(error.contains(name), "{error}");
    }
    assert_eq!(logits, [7.0; BATCH * 10], "something was written");
    plan.run(&[], &mut []).expect("no images, no logits");
    let options = PlanOptions { size: [32, 0], ..PlanOptions::default() };
    let error = InferencePlan::gated(&model, options).expect_err("no pixels").to_string();
    assert!(error.contains("conv2d"), "{error}");
}
