//! How the parts of a gated network are trained: pre-training of the gater, rest, settings of their
//! own.

use gaternet_core::nn::{CrossEntropyLoss, Module, State};
use gaternet_core::optim::{Optimizer, Sgd, SgdConfig};
use gaternet_core::{Ctx, Tensor};
use gaternet_models::{
    BackboneConfig, Family, GatePlacement, GatedConfig, GatedNet, GaterConfig, Model, Part,
    PlainNet, WarmUp,
};

fn model(pool: usize, seed: u64) -> GatedNet {
    let gater = GaterConfig { depth: 8, pool, ..GaterConfig::default() };
    let config = GatedConfig { gater, placement: GatePlacement::All, ..GatedConfig::cifar(8, 4) };
    GatedNet::new(config, seed).expect("valid")
}

fn batch() -> (Tensor, Vec<usize>) {
    let images = Tensor::randn([8, 3, 16, 16], 1.0, Ctx::train(1).rng()).expect("small");
    (images, (0..8).map(|i| i % 4).collect())
}

/// Every value of a module by name; counters as floats.
fn values(module: &impl Module) -> Vec<(String, Vec<f32>)> {
    let value = |state: &State| match state {
        State::Parameter(parameter) => parameter.tensor().data().to_vec(),
        State::Buffer(buffer) => buffer.tensor().data().to_vec(),
        State::Counter(counter) => vec![counter.get() as f32],
    };
    module.state().iter().map(|(name, state)| (name.clone(), value(state))).collect()
}

/// Names whose values differ.
fn moved(before: &[(String, Vec<f32>)], after: &[(String, Vec<f32>)]) -> Vec<String> {
    let pairs = before.iter().zip(after);
    pairs.filter(|(a, b)| a.1 != b.1).map(|(a, _)| a.0.clone()).collect()
}

fn train_classifier(classifier: &PlainNet, steps: u64) -> Vec<f32> {
    let (images, labels) = batch();
    let mut sgd = Sgd::new(classifier.parameters(), SgdConfig::default()).expect("valid");
    let step = |step| {
        let mut ctx = Ctx::train(3).with_stream(step);
        let logits = classifier.forward(&images, &mut ctx).expect("they fit");
        let loss = CrossEntropyLoss::default().forward(&logits, &labels).expect("a label each");
        sgd.step(&loss.backward().expect("a scalar")).expect("every gradient is there");
        loss.item().expect("a scalar")
    };
    (0..steps).map(step).collect()
}

/// One step of the whole model, or of the backbone with all gates open.
fn step(model: &GatedNet, sgd: &mut Sgd, open: bool) {
    let (images, labels) = batch();
    let mut ctx = Ctx::train(5);
    let loss = if open {
        let logits = model.backbone().forward(&images, &mut ctx).expect("they fit");
        CrossEntropyLoss::default().forward(&logits, &labels).expect("a label each")
    } else {
        let output = model.forward(&images, &mut ctx).expect("they fit");
        model.loss(&output, &labels).expect("a label each").total
    };
    sgd.step(&loss.backward().expect("something is trained")).expect("every gradient is there");
}

#[test]
fn pre_training_learns_and_moves_the_extractor_of_the_gater_alone() {
    for pool in [1, 2] {
        let model = model(pool, 0);
        let before = values(&model);
        let classifier = model.gater().classifier(4, 0).expect("4 classes");
        let losses = train_classifier(&classifier, 20);
        assert!(losses[19] < 0.5 * losses[0], "pool {pool}: {losses:?}");
        let moved = moved(&before, &values(&model));
        let extractor = |name: &&String| {
            name.starts_with("gater.resnet.") && !name.starts_with("gater.resnet.newfc.")
        };
        let all = before.iter().map(|(name, _)| name).filter(extractor);
        assert!(moved.iter().eq(all), "pool {pool}: {moved:?}");
        // The features of both are the same: FC1 stands where the output layer was.
        let same: Vec<_> = values(&classifier);
        for (name, value) in values(model.gater()) {
            if let Some((_, shared)) = same.iter().find(|(other, _)| *other == name) {
                assert_eq!(&value, shared, "{name}");
            }
        }
    }
}

#[test]
fn a_gater_takes_over_a_classifier_a_plain_network_or_another_gater() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("file");
    let new = model(1, 1);
    let fresh = values(&new);

    let trained = model(1, 2);
    let classifier = trained.gater().classifier(10, 2).expect("10 classes");
    train_classifier(&classifier, 1);
    classifier.save(&file, &Default::default()).expect("a writable folder");
    new.gater().load(&file).expect("one architecture");
    let extractor = |model: &GatedNet| {
        let mut values = values(model);
        values.retain(|(name, _)| name.starts_with("gater.resnet.") && !name.contains("newfc"));
        values
    };
    assert_eq!(extractor(&new), extractor(&trained));
    let rest = moved(&fresh, &values(&new));
    assert!(rest.iter().all(|name| name.starts_with("gater.resnet.")), "{rest:?}");

    let plain = PlainNet::new(BackboneConfig::resnet(8, 10), 3).expect("valid");
    plain.save(&file, &Default::default()).expect("a writable folder");
    new.gater().load(&file).expect("one architecture");
    let find = |values: &[(String, Vec<f32>)], name: &str| {
        values.iter().find(|(other, _)| other == name).expect(name).1.clone()
    };
    let name = "stage3.block1.conv2.weight";
    let got = find(&values(&new), &format!("gater.resnet.{name}"));
    assert_eq!(got, find(&values(&plain), name));

    trained.save(&file, &Default::default()).expect("a writable folder");
    new.gater().load(&file).expect("one architecture");
    assert_eq!(values(new.gater()), values(trained.gater()), "with FC1 and FC2");
}

#[test]
fn a_file_that_is_no_gater_of_this_kind_changes_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("file");
    let new = model(1, 1);
    let before = values(&new);
    let deeper = PlainNet::new(BackboneConfig::resnet(14, 10), 3).expect("valid");
    deeper.save(&file, &Default::default()).expect("a writable folder");
    let error = new.gater().load(&file).expect_err("another depth").to_string();
    assert!(error.contains("unexpected stage1.block2.bn1.bias"), "{error}");
    let wide = GatedConfig { placement: GatePlacement::Inner, ..new.config().clone() };
    let wide = GatedNet::new(wide, 0).expect("valid");
    wide.save(&file, &Default::default()).expect("a writable folder");
    let error = new.gater().load(&file).expect_err("other gates").to_string();
    assert!(error.contains("112 gates for a model of 224"), "{error}");
    assert_eq!(moved(&before, &values(&new)), [""; 0]);
}

#[test]
fn what_rests_in_an_epoch_does_not_move() {
    let warm_up =
        WarmUp { open_epochs: 1, frozen_gater: 2, frozen_extractor: 3, frozen_backbone: 0 };
    let backbone_first = WarmUp { frozen_backbone: 1, ..WarmUp::default() };
    let cases: [(WarmUp, usize, &[&str]); 6] = [
        (warm_up, 1, &["backbone"]),
        (warm_up, 2, &["backbone"]),
        (warm_up, 3, &["backbone", "gater.resnet.newfc", "gater.fnn"]),
        (warm_up, 4, &["backbone", "gater"]),
        (backbone_first, 1, &["gater"]),
        (backbone_first, 2, &["backbone", "gater"]),
    ];
    for (warm_up, epoch, parts) in cases {
        warm_up.validate(4).expect("it can begin like this");
        let model = model(1, 0);
        let mut sgd = Sgd::with_groups(model.parameter_groups().into(), SgdConfig::default());
        let sgd = sgd.as_mut().expect("valid");
        warm_up.begin(&model, epoch);
        let before = values(&model);
        step(&model, sgd, warm_up.gates_open(epoch));
        let moved = moved(&before, &values(&model));
        // Statistics follow the data wherever a network runs.
        let trained = model.parameters().into_iter().map(|(name, _)| name);
        for name in trained {
            let expected = parts.iter().any(|part| name.starts_with(part));
            assert_eq!(moved.contains(&name), expected, "{warm_up:?}, epoch {epoch}: {name}");
        }
    }
}

#[test]
fn schedules_of_gates_begin_with_the_first_epoch_that_has_gates() {
    let progress = |open, step| {
        let (step, steps) =
            WarmUp { open_epochs: open, ..WarmUp::default() }.gated_steps(step, 10, 5);
        Ctx::train(0).with_progress(step, steps).progress()
    };
    assert_eq!([0, 10, 25].map(|step| progress(0, step)), [0.0, 0.2, 0.5]);
    assert_eq!([0, 19, 20, 35, 50].map(|step| progress(2, step)), [0.0, 0.0, 0.0, 0.5, 1.0]);
}

#[test]
fn a_rest_that_cannot_be_is_refused() {
    let none = WarmUp::default();
    for (warm_up, text) in [
        (WarmUp { open_epochs: 4, ..none }, "open_epochs = 4, of 4 epochs"),
        (WarmUp { frozen_gater: 5, ..none }, "frozen_gater = 5, of 4 epochs"),
        (WarmUp { frozen_backbone: 1, frozen_gater: 1, ..none }, "must not rest in one epoch"),
        (WarmUp { frozen_backbone: 1, open_epochs: 1, ..none }, "must not rest in one epoch"),
    ] {
        let error = warm_up.validate(4).expect_err(text).to_string();
        assert!(error.contains(text), "{error}");
    }
    WarmUp { frozen_backbone: 4, ..none }.validate(4).expect("a gater for a trained backbone");
}

#[test]
fn the_gater_has_settings_of_its_own() {
    let model = model(1, 0);
    let before = values(&model);
    let [backbone, mut gater] = model.parameter_groups();
    assert_eq!(backbone.parameters.len() + gater.parameters.len(), model.parameters().len());
    assert_eq!(gater.parameters.len(), model.part(Part::Gater).len());
    (gater.learning_rate_factor, gater.weight_decay) = (0.0, Some(1.0));
    let mut sgd = Sgd::with_groups(vec![backbone, gater], SgdConfig::default()).expect("valid");
    step(&model, &mut sgd, false);
    let moved = moved(&before, &values(&model));
    let parameters = model.parameters();
    let of = |part: &str| {
        let parameters = parameters.iter().filter(|(name, _)| name.starts_with(part));
        parameters.filter(|(name, _)| moved.contains(name)).count()
    };
    assert_eq!(of("gater."), 0, "a learning rate of 0");
    assert_eq!(of("backbone."), model.part(Part::Backbone).len());
}

#[test]
fn the_fewest_images_of_a_batch_train_and_fewer_do_not() {
    let plain = |config| Model::Plain(PlainNet::new(config, 0).expect("valid").into());
    let gated = |gater| {
        let gater = GaterConfig { depth: 8, ..gater };
        let config = GatedConfig { gater, ..GatedConfig::cifar(8, 4) };
        Model::Gated(GatedNet::new(config, 0).expect("valid").into())
    };
    let imagenet = BackboneConfig::new(Family::ImagenetResnet { depth: 18 }, 4);
    let small = BackboneConfig { width: 0.125, ..imagenet };
    for (name, model, side, fewest) in [
        ("maps of 8x8 in the end", plain(BackboneConfig::resnet(8, 4)), 32, 1),
        ("maps of 1x1 in the end", plain(BackboneConfig::resnet(8, 4)), 4, 2),
        ("an ImageNet network", plain(small), 64, 1),
        ("an ImageNet network on small images", plain(small), 32, 2),
        ("a gater on small maps", gated(GaterConfig { pool: 4, ..GaterConfig::default() }), 16, 2),
        ("a gater on larger ones", gated(GaterConfig { pool: 2, ..GaterConfig::default() }), 16, 1),
        (
            "batch norm over features",
            gated(GaterConfig { batch_norm: true, ..GaterConfig::default() }),
            16,
            2,
        ),
    ] {
        let size = [side; 2];
        assert_eq!(model.min_train_batch(size).expect("it fits"), fewest, "{name}");
        let passes = |images: usize| {
            let images = Tensor::randn([images, 3, side, side], 1.0, Ctx::train(1).rng());
            model.forward(&images.expect("small"), &mut Ctx::train(2)).is_ok()
        };
        assert!(passes(fewest), "{name}");
        assert!(fewest == 1 || !passes(fewest - 1), "{name}");
    }
}
