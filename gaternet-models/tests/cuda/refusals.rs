use gaternet_core::data::MixupDraw;
use gaternet_kernels::cuda::bf16;
use gaternet_models::cuda::{CudaPlan, CudaTrainer, TrainImages, TrainOptions};
use gaternet_models::{GateLoss, GatePlacement, GateTerm, Model, NetworkBuilder, PlainNet, Value};

use crate::emulator;
use crate::setup::{CLASSES, Data, SIDE, gated_as, options, plain, resnet, sgd};

/// Why a model cannot be trained.
fn refusal(model: &Model) -> Option<String> {
    let device = emulator::device()?;
    let (data, sgd) = (Data::new(2), sgd(model));
    let images = data.upload(&device);
    let trainer =
        CudaTrainer::<bf16>::new(&device, model, &sgd, images, [3, SIDE, SIDE], options(2, 1));
    Some(trainer.expect_err("no kernel").to_string())
}

/// A classifier, of the images and a vector of their means.
fn custom(rest: impl FnOnce(&mut NetworkBuilder, [Value; 2]) -> Value) -> Model {
    let (mut net, images) = NetworkBuilder::new(3, 1);
    let means = net.global_avg_pool(images);
    let features = rest(&mut net, [images, means]);
    net.linear("fc", features, CLASSES).expect("valid");
    Model::Plain(PlainNet::custom(net.finish().expect("valid")).into())
}

#[test]
fn layers_of_what_they_are_not_made_for_are_named() {
    for (model, what) in [
        (custom(|net, [_, means]| net.dropout(means, 0.5)), "training dropout of vectors"),
        (
            custom(|net, [images, _]| {
                let maps = net.sigmoid(images);
                net.global_avg_pool(maps)
            }),
            "training the sigmoid of maps",
        ),
        (
            custom(|net, [_, means]| net.concat(&[means, means]).expect("two")),
            "training concatenation of vectors",
        ),
        (custom(|net, [_, means]| net.add(means, means)), "adding vectors"),
        (
            custom(|net, [images, means]| {
                let factors = net.sigmoid(means);
                let maps = net.conv("conv", images, 3, 3).done().expect("valid");
                let maps = net.scale_channels(maps, factors);
                let maps = net.scale_channels(maps, factors);
                net.global_avg_pool(maps)
            }),
            "training vectors that two layers read",
        ),
    ] {
        let Some(error) = refusal(&model) else { return };
        assert_eq!(error, format!("there is no CUDA kernel for {what}: use the CPU"));
    }
}

#[test]
fn what_has_no_kernel_is_named() {
    let loss = GateTerm::new(GateLoss::TargetLatency { target: 0.5 }, 1.0);
    let model = gated_as(resnet(), GatePlacement::All, |config| config.gate_losses = vec![loss]);
    let Some(error) = refusal(&model) else { return };
    let want =
        "there is no CUDA kernel for the gate loss TargetLatency { target: 0.5 }: use the CPU";
    assert_eq!(error, want);
    let model = gated_as(resnet(), GatePlacement::All, |config| config.gater.batch_norm = true);
    let Some(error) = refusal(&model) else { return };
    assert!(
        error.contains("batch norm of vectors whose length, 5, is no multiple of 16"),
        "{error}"
    );
}

#[test]
fn orders_lengths_and_options_are_checked() {
    let Some(device) = emulator::device() else { return };
    let (data, model) = (Data::new(3), plain(resnet()));
    let sgd = sgd(&model);
    let new = |options: TrainOptions| {
        let images = data.upload(&device);
        CudaTrainer::<f32>::new(&device, &model, &sgd, images, [3, SIDE, SIDE], options)
    };
    for options in [options(0, 1), TrainOptions { learning_rates: Vec::new(), ..options(2, 1) }] {
        let error = new(options).expect_err("nothing to do").to_string();
        assert!(error.contains("an image in a batch and a learning rate"), "{error}");
    }
    let mut trainer = new(options(2, 1)).expect("kernels for all");
    assert_eq!(trainer.steps(), 2);
    for order in [&[0, 1][..], &[0, 1, 1], &[0, 1, 3], &[0, 1, 2, 2]] {
        let error = trainer.begin(0, order).expect_err("not once").to_string();
        assert!(error.contains("must hold the number of every image once"), "{error}");
    }
    trainer.begin(0, &[2, 0, 1]).expect("every image");
    trainer.step().expect("a step");
    trainer.step().expect("a step");
    let error = trainer.step().expect_err("a third").to_string();
    assert!(error.contains("below the steps of an epoch"), "{error}");
    let mut plan = CudaPlan::<f32>::new(&device, &model, [SIDE; 2], 2).expect("kernels for all");
    let images = data.images(&[0, 1, 2]);
    let error = plan.run(images.data(), &mut [0.0; 12], &mut []).expect_err("three").to_string();
    assert!(error.contains("at most the batch"), "{error}");
    let (resident, augment) = (data.upload(&device), options(1, 1).augment);
    for numbers in [&[0, 1, 2][..], &[3], &[0]] {
        let run = plan.run_on(&resident, &augment, numbers, &mut [0.0; 8], &mut []);
        let error = run.expect_err("two images").to_string();
        assert!(error.contains("at most the batch"), "{numbers:?}: {error}");
    }
}

#[test]
fn images_and_draws_must_be_those_that_a_step_has() {
    let Some(device) = emulator::device() else { return };
    let (data, model) = (Data::new(3), plain(resnet()));
    let sgd = sgd(&model);
    let new = |mixup, images: TrainImages| {
        let options = TrainOptions { mixup, ..options(2, 1) };
        CudaTrainer::<f32>::new(&device, &model, &sgd, images, [3, SIDE, SIDE], options)
            .expect("kernels for all")
    };
    let resident = || data.upload(&device).into();
    let draw = |partners: &[usize]| MixupDraw { lambda: 0.5, partners: partners.to_vec() };
    let order = [2, 0, 1];
    let mut plain = new(false, resident());
    let refused = plain.begin_mixed(0, &order, &[draw(&[0, 1]), draw(&[0])]);
    let mut texts = vec![(refused, "there must be a draw for every batch")];
    texts.push((plain.step_on(&data.batch(&[0, 1]), None), "are on the device already"));
    let mut mixed = new(true, resident());
    texts.push((mixed.begin(0, &order), "there must be a draw for every batch"));
    for partners in [&[0][..], &[0, 2]] {
        let refused = mixed.begin_mixed(0, &order, &[draw(partners), draw(&[0])]);
        texts.push((refused, "must have a partner in it"));
    }
    let mut copied = new(false, TrainImages::Copied(3));
    texts.push((copied.begin(0, &order), "a step gets its images by step_on"));
    texts.push((copied.step(), "a step gets its images by step_on"));
    let of_draw = copied.step_on(&data.batch(&[0, 1]), Some(&draw(&[0, 1])));
    texts.push((of_draw, "blended or not"));
    texts.push((copied.step_on(&data.batch(&[0]), None), "has 1 elements, its dims need 2"));
    let mut foreign = data.batch(&[0, 1]);
    foreign.labels[1] = CLASSES;
    texts.push((copied.step_on(&foreign, None), "labels must be classes"));
    texts.push((new(true, TrainImages::Copied(3)).step_on(&data.batch(&[0, 1]), None), "or not"));
    for (result, text) in texts {
        let error = result.expect_err(text).to_string();
        assert!(error.contains(text), "no {text:?} in {error}");
    }
}
