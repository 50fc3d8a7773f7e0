//! Runs of [`Trainer`]: their ends, their files, and what they tell.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use gaternet_core::checkpoint::Checkpoint;
use gaternet_core::data::{Augment, InMemory, Mixup};
use gaternet_models::train::{
    Data, Error, EvaluationOptions, Existing, GaterTraining, Metrics, Observer, Outcome, PhaseName,
    PhaseStart, Place, Recipe, RunFolder, Skipped, Standing, Steps, TestSet, Trainer, evaluate,
};
use gaternet_models::{
    BackboneConfig, GatePlacement, GatedConfig, GatedNet, GaterConfig, Model, NetworkBuilder,
    WarmUp,
};
use tempfile::tempdir;

/// `count` images of 16x16 pixels in two classes.
fn images(count: usize) -> InMemory {
    let image =
        |i: usize| (0..3 * 16 * 16).map(move |at| ((at + 31 * i) % 97 + 80 * (i % 2)) as u8);
    let classes = ["a", "b"].map(str::to_owned).to_vec();
    let labels = (0..count).map(|i| i % 2).collect();
    InMemory::new((0..count).flat_map(image).collect(), [3, 16, 16], labels, classes)
        .expect("as many as there are labels")
}

fn data() -> Data {
    Data::new("squares", images(20), images(8))
}

/// 3 steps an epoch, the last of 4 images.
fn recipe() -> Recipe {
    let gater = GaterConfig { depth: 8, width: 0.25, ..GaterConfig::default() };
    Recipe {
        epochs: 2,
        batch_size: 8,
        ema: Some(0.5),
        ..Recipe::gated(GatedConfig { gater, ..GatedConfig::cifar(8, 2) })
    }
}

fn resume(dir: &Path) -> Place {
    Place { existing: Existing::Resume, ..Place::new(dir) }
}

/// Stops when it has been asked so often, and counts what it is told.
#[derive(Default)]
struct Counter {
    left: Option<AtomicUsize>,
    phases: Vec<(PhaseName, usize)>,
    steps: usize,
    epochs: Vec<(PhaseName, usize)>,
    saved: Vec<String>,
}

impl Observer for Counter {
    fn phase_begins(&mut self, phase: &PhaseStart) {
        self.phases.push((phase.position.phase, phase.epochs));
    }

    fn steps_done(&mut self, steps: &Steps<'_>) {
        assert!(steps.sums.mean_loss() > 0.0 && steps.sums.images > 0);
        self.steps += steps.steps;
    }

    fn epoch_ends(&mut self, phase: PhaseName, metrics: &Metrics) {
        self.epochs.push((phase, metrics.epoch));
    }

    fn saved(&mut self, path: &Path) {
        assert!(path.exists(), "{}", path.display());
        self.saved.push(path.file_name().expect("a file").to_string_lossy().into_owned());
    }

    fn should_stop(&self) -> bool {
        let Some(left) = &self.left else { return false };
        left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_err()
    }
}

fn whole(recipe: &Recipe, dir: &Path) -> Counter {
    let mut counter = Counter::default();
    let trainer = Trainer::new(recipe.clone(), &data(), Place::new(dir)).expect("it can train");
    assert_eq!(trainer.standing(), Standing::Begins);
    let outcome = trainer.run(&mut counter).expect("it trains");
    let Outcome::Complete(results) = outcome else { panic!("{outcome:?}") };
    assert_eq!(results.epochs.len(), recipe.epochs);
    counter
}

fn model_file(dir: &Path) -> Vec<u8> {
    fs::read(RunFolder::new(dir).model_path()).expect("a model")
}

#[test]
fn a_run_that_is_stopped_after_every_few_questions_ends_in_the_same_bits() {
    let dir = tempdir().expect("a folder");
    let (one, parts) = (dir.path().join("one"), dir.path().join("parts"));
    let recipe = Recipe {
        mixup: Some(Mixup { alpha: 0.4 }),
        clip_grad_norm: Some(0.5),
        label_smoothing: 0.1,
        augment: Augment { cutout: 4, crop_padding: 2, ..Augment::train() },
        gater: GaterTraining {
            pretrain: 1,
            learning_rate: Some(0.05),
            warm_up: WarmUp { open_epochs: 1, ..WarmUp::default() },
            ..GaterTraining::default()
        },
        ..recipe()
    };
    let counter = whole(&recipe, &one);
    let (pretraining, training) = (PhaseName::Pretraining, PhaseName::Training);
    assert_eq!(counter.phases, [(pretraining, 1), (training, 2)]);
    assert_eq!(counter.epochs, [(pretraining, 1), (training, 1), (training, 2)]);
    assert_eq!(counter.steps, 9);
    let count = |name: &str| counter.saved.iter().filter(|saved| *saved == name).count();
    assert_eq!([count("model.safetensors"), count("gater.safetensors")], [2, 1]);

    let mut stops = 0;
    loop {
        let trainer = Trainer::new(recipe.clone(), &data(), resume(&parts)).expect("it goes on");
        let mut counter = Counter { left: Some(AtomicUsize::new(2)), ..Counter::default() };
        match trainer.run(&mut counter).expect("it trains") {
            Outcome::Complete(_) => break,
            Outcome::Stopped(_) => stops += 1,
            Outcome::Paused(_) => panic!("nobody asked for that"),
        }
        assert!(RunFolder::new(&parts).state_path().exists());
        assert!(stops < 20, "it gets nowhere");
    }
    assert!(stops > 4, "{stops}");
    assert!(model_file(&one) == model_file(&parts), "the stops changed the model");
    assert!(!RunFolder::new(&parts).state_path().exists());
    // What the log says is what the file holds.
    let folder = RunFolder::new(&parts);
    let last = Metrics::last(folder.metrics_path()).expect("metrics");
    let model = Model::load(folder.model_path()).expect("a model");
    let test = TestSet::new(images(8), Augment::eval());
    let evaluation = evaluate(&model, &test, &EvaluationOptions::default()).expect("it runs");
    assert_eq!(evaluation.accuracy, last.test_accuracy);
    assert!((evaluation.gate_density - last.gate_density).abs() < 1e-12);
    let trainer = Trainer::new(recipe, &data(), resume(&parts)).expect("it is complete");
    assert_eq!(trainer.standing(), Standing::Complete);
}

#[test]
fn results_are_lost_only_if_that_is_asked_for() {
    let dir = tempdir().expect("a folder");
    let out = dir.path().join("out");
    whole(&recipe(), &out);
    let begin = |recipe: Recipe, data: &Data, place: Place| {
        Trainer::new(recipe, data, place).expect_err("it would begin")
    };
    let error = begin(recipe(), &data(), Place::new(&out));
    assert!(matches!(&error, Error::Exists { path } if path.ends_with("metrics.jsonl")), "{error}");
    let other = Recipe { seed: 4, ..recipe() };
    let error = begin(other.clone(), &data(), resume(&out));
    let Error::OtherRun { name, there, here, .. } = &error else { panic!("{error}") };
    assert_eq!([name, there, here], ["seed", "0", "4"]);
    let flat = Augment { flip: false, ..Augment::train() };
    let error = begin(Recipe { augment: flat, ..recipe() }, &data(), resume(&out));
    assert!(error.to_string().contains("flip = none, this one has false"), "{error}");
    let fewer = Data::new("squares", images(16), images(8));
    let error = begin(recipe(), &fewer, resume(&out));
    assert!(error.to_string().contains("train_images = 20, this one has 16"), "{error}");

    let before = model_file(&out);
    let place = Place { existing: Existing::Replace, ..Place::new(&out) };
    let trainer = Trainer::new(other, &data(), place.clone()).expect("it may");
    assert_eq!(model_file(&out), before, "nothing is lost before it runs");
    let error = begin(recipe(), &data(), place);
    assert!(matches!(&error, Error::InUse { dir, .. } if *dir == out), "{error}");
    trainer.run(&mut ()).expect("it trains");
    assert_ne!(model_file(&out), before);
}

#[test]
fn a_dry_run_writes_nothing_and_does_not_run() {
    let dir = tempdir().expect("a folder");
    let place = Place { dry_run: true, ..Place::new(dir.path()) };
    let trainer = Trainer::new(recipe(), &data(), place).expect("it could train");
    assert_eq!((trainer.steps_per_epoch(), trainer.image_size()), (3, [16; 2]));
    assert_eq!(trainer.metadata()["data"], "squares");
    let error = trainer.run(&mut ()).expect_err("dry").to_string();
    assert!(error.contains("dry_run = true"), "{error}");
    assert_eq!(fs::read_dir(dir.path()).expect("the folder").count(), 0);
}

#[test]
fn a_network_of_a_program_trains_and_goes_on() {
    let dir = tempdir().expect("a folder");
    let model = || {
        let (mut net, images) = NetworkBuilder::new(3, 0);
        let x = net.conv("stem", images, 8, 3).batch_norm("stem_bn").relu().done();
        let x = x.expect("a convolution");
        let wide = net.conv("wide", x, 16, 3).batch_norm("bn1").relu();
        let wide = wide.role(gaternet_models::ConvRole::Inner).done().expect("a convolution");
        let back = net.conv("back", wide, 8, 3).batch_norm("bn2").residual(x).relu().done();
        let features = net.global_avg_pool(back.expect("a convolution"));
        net.linear("fc", features, 2).expect("a layer");
        let gater = GaterConfig { depth: 8, width: 0.25, ..GaterConfig::default() };
        let net = net.finish().expect("a network");
        let gated = GatedNet::gate(net, GatePlacement::Inner, gater, 1).expect("it can be gated");
        Model::Gated(Box::new(gated))
    };
    let run = |dir: &Path, epochs: usize| {
        let trainer = Trainer::with_model(model(), recipe(), &data(), resume(dir));
        trainer.expect("it can train").run_epochs(epochs, &mut ()).expect("it trains")
    };
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    assert!(matches!(run(&one, 9), Outcome::Complete(_)));
    assert!(matches!(run(&two, 1), Outcome::Paused(_)));
    assert!(matches!(run(&two, 1), Outcome::Complete(_)));
    let weights = |dir: &Path| {
        let file = Checkpoint::load(RunFolder::new(dir).model_path()).expect("a model");
        format!("{:?}", file.tensors)
    };
    assert_eq!(weights(&one), weights(&two));
}

#[test]
fn a_training_that_diverges_says_where_and_what_is_left() {
    let dir = tempdir().expect("a folder");
    let mut recipe = Recipe { ..recipe() };
    recipe.schedule.peak = 1e38;
    let trainer = Trainer::new(recipe, &data(), Place::new(dir.path())).expect("it can begin");
    let error = trainer.run(&mut ()).expect_err("it diverges");
    let Error::Diverged { event, kept } = &error else { panic!("{error}") };
    assert!(event.contains("epoch 1 of the training, step "), "{event}");
    assert_eq!(kept, "no model was saved");
}

#[test]
fn classes_are_those_of_the_model_that_a_run_begins_with() {
    let dir = tempdir().expect("a folder");
    let (first, second) = (dir.path().join("first"), dir.path().join("second"));
    let plain = || Recipe { epochs: 1, ..Recipe::plain(BackboneConfig::resnet(8, 2)) };
    let plain = || Recipe { batch_size: 8, ..plain() };
    let skipped = Skipped { path: "a/3.png".into(), reason: "it is empty".to_owned() };
    let with_skipped = Data { skipped: vec![skipped], ..data() };
    let trainer = Trainer::new(plain(), &with_skipped, Place::new(&first)).expect("it can train");
    trainer.run(&mut ()).expect("it trains");
    let lines = fs::read_to_string(RunFolder::new(&first).skipped_path()).expect("a list");
    assert_eq!(lines, "{\"path\":\"a/3.png\",\"reason\":\"it is empty\"}\n");

    let names = ["b", "a"].map(str::to_owned);
    let (train, test) = (data().train, data().test);
    let exchanged = [train, test].map(|set| set.with_classes(&names).expect("the same names"));
    let [train, test] = exchanged;
    let exchanged = Data::new("squares", train, test);
    let tuned = Recipe { checkpoint: Some(RunFolder::new(&first).model_path()), ..plain() };
    let new = |recipe| Trainer::new(recipe, &exchanged, Place::new(&second));
    let error = new(tuned.clone()).expect_err("in another order");
    assert!(error.to_string().contains("another order: class 0 is \"a\" there, \"b\" here"));
    let by_name = Recipe { classes_by_name: true, ..tuned };
    let trainer = new(by_name).expect("by their names");
    assert_eq!(trainer.metadata()["class_names"], "[\"a\",\"b\"]");
}
