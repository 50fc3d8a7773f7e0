use gaternet_core::gate::{GateLoss, GateTerm};
use gaternet_kernels::cuda::bf16;
use gaternet_models::cuda::{CudaPlan, CudaTrainer, TrainOptions};
use gaternet_models::{GatePlacement, Model, NetworkBuilder, PlainNet, Value};

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
    Model::Plain(PlainNet::custom(net.finish()).into())
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
}
