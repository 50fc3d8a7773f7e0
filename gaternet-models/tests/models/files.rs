//! Models in files, and files that are not theirs.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use gaternet_core::checkpoint::{self, Checkpoint};
use gaternet_core::nn::Module;
use gaternet_core::{Ctx, Error, Tensor};
use gaternet_models::{
    BackboneConfig, ConvRole, GatePlacement, GatedConfig, GatedResNet, GaterConfig, Model,
    NetworkBuilder, PlainNet,
};

fn gated(depth: usize) -> GatedResNet {
    GatedResNet::new(GatedConfig::cifar(depth, 10), 7).expect("valid")
}

fn images() -> Tensor {
    Tensor::randn([2, 3, 32, 32], 1.0, Ctx::train(1).rng()).expect("small")
}

/// The parameters, one after the other.
fn numbers(model: &impl Module) -> Vec<f32> {
    let parameters = model.parameters().into_iter();
    parameters.flat_map(|(_, parameter)| parameter.tensor().data().to_vec()).collect()
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().expect("a temporary folder"))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

#[test]
fn a_model_comes_back_with_the_same_bits_whichever_kind_it_is() {
    let folder = Folder::new();
    let (images, metadata) = (images(), BTreeMap::from([("seed".to_owned(), "7".to_owned())]));
    let model = gated(20);
    // One training pass, so that statistics are not those of a fresh model.
    model.forward(&images, &mut Ctx::train(0)).expect("they fit");
    model.save(folder.file("gated"), &metadata).expect("a writable folder");
    let want = model.forward(&images, &mut Ctx::eval()).expect("they fit").logits;
    let direct = GatedResNet::load(folder.file("gated")).expect("just saved");
    assert_eq!(
        direct.forward(&images, &mut Ctx::eval()).expect("they fit").logits.data(),
        want.data()
    );
    let any = Model::load(folder.file("gated")).expect("just saved");
    assert_eq!(any.forward(&images, &mut Ctx::eval()).expect("they fit").0.data(), want.data());
    let stored = Checkpoint::load(folder.file("gated")).expect("just saved");
    assert_eq!(stored.metadata["seed"], "7");

    let plain = PlainNet::new(BackboneConfig::resnet(32, 100), 1).expect("valid");
    plain.save(folder.file("plain"), &metadata).expect("a writable folder");
    let any = Model::load(folder.file("plain")).expect("just saved");
    let want = plain.forward(&images, &mut Ctx::eval()).expect("they fit");
    assert_eq!(any.forward(&images, &mut Ctx::eval()).expect("they fit").0.data(), want.data());
    assert!(matches!(any, Model::Plain(_)) && any.classes() == 100);
}

#[test]
fn the_placement_is_stored_and_a_file_without_one_has_the_papers() {
    let folder = Folder::new();
    let file = folder.file("model");
    for (placement, name) in [
        (GatePlacement::BlockOutput, "block-output"),
        (GatePlacement::Inner, "inner"),
        (GatePlacement::All, "all"),
    ] {
        let config = GatedConfig { placement, ..GatedConfig::cifar(8, 10) };
        let model = GatedResNet::new(config.clone(), 7).expect("valid");
        model.save(&file, &BTreeMap::new()).expect("a writable folder");
        assert_eq!(GatedResNet::load(&file).expect("just saved").config(), &config);
        let stored = Checkpoint::load(&file).expect("just saved").metadata;
        let entry = format!("\"placement\":\"{name}\"");
        assert!(stored["config"].contains(&entry), "no {entry} in {}", stored["config"]);
    }

    gated(8).save(&file, &BTreeMap::new()).expect("a writable folder");
    let stored = Checkpoint::load(&file).expect("just saved");
    let mut metadata = stored.metadata;
    let old = metadata["config"].replace("\"placement\":\"block-output\",", "");
    assert_ne!(old, metadata["config"], "nothing was taken out");
    metadata.insert("config".to_owned(), old);
    let tensors: Vec<_> = stored.tensors.into_iter().collect();
    checkpoint::save(&file, &tensors, &metadata).expect("a writable folder");
    let again = GatedResNet::load(&file).expect("a file from before there was a choice");
    assert_eq!(again.config().placement, GatePlacement::BlockOutput);
}

#[test]
fn a_checkpoint_of_another_kind_says_so() {
    let folder = Folder::new();
    gated(20).save(folder.file("gated"), &BTreeMap::new()).expect("a writable folder");
    let plain = PlainNet::new(BackboneConfig::resnet(20, 10), 1).expect("valid");
    plain.save(folder.file("plain"), &BTreeMap::new()).expect("a writable folder");
    let same = |error: &Error, got: &str, wanted: &str| {
        let text = error.to_string();
        let sentence = format!("is a {got} model, and a {wanted} one is wanted here");
        assert!(matches!(error, Error::OtherKind { .. }) && text.contains(&sentence), "{text}");
    };
    let before = numbers(&plain);
    same(&PlainNet::load(folder.file("gated")).expect_err("gated"), "gated", "plain");
    same(&plain.load_weights(folder.file("gated")).expect_err("gated"), "gated", "plain");
    assert_eq!(numbers(&plain), before);
    same(&GatedResNet::load(folder.file("plain")).expect_err("plain"), "plain", "gated");
    same(&gated(20).load_weights(folder.file("plain")).expect_err("plain"), "plain", "gated");

    // A gated one of another program, which has no metadata.
    let stored = Checkpoint::load(folder.file("gated")).expect("just saved");
    let tensors: Vec<_> = stored.tensors.into_iter().collect();
    checkpoint::save(folder.file("gated"), &tensors, &BTreeMap::new()).expect("a writable folder");
    same(&plain.load_weights(folder.file("gated")).expect_err("gated"), "gated", "plain");
    gated(20).load_weights(folder.file("gated")).expect("the same tensors");
}

#[test]
fn a_checkpoint_of_another_architecture_lists_everything_that_differs() {
    let folder = Folder::new();
    gated(20).save(folder.file("right"), &BTreeMap::new()).expect("a writable folder");
    let right = Checkpoint::load(folder.file("right")).expect("just saved");
    // The configuration says ResNet-32 with 100 classes, the tensors are those of ResNet-20 with
    // 10.
    let mut metadata = right.metadata.clone();
    let mut config = GatedConfig::cifar(32, 100);
    config.gater.depth = 20;
    metadata.insert("config".to_owned(), serde_json::to_string(&config).expect("plain fields"));
    let mut tensors: Vec<_> = right.tensors.into_iter().collect();
    tensors.push(("extra.weight".to_owned(), tensors[0].1.clone()));
    checkpoint::save(folder.file("wrong"), &tensors, &metadata).expect("a writable folder");
    let error = GatedResNet::load(folder.file("wrong")).expect_err("another depth").to_string();
    for part in [
        "wrong",
        "backbone.stage1.block4.conv1.weight",
        "extra.weight",
        "backbone.fc.weight",
        "(10, 64)",
        "(100, 64)",
    ] {
        assert!(error.contains(part), "{part} is not in: {error}");
    }
}

#[test]
fn lists_in_errors_end_after_ten_names() {
    let folder = Folder::new();
    let small = PlainNet::new(BackboneConfig::resnet(8, 10), 1).expect("valid");
    small.save(folder.file("small"), &BTreeMap::new()).expect("a writable folder");
    let deep = BackboneConfig { width: 0.5, ..BackboneConfig::resnet(110, 10) };
    let deep = PlainNet::new(deep, 1).expect("valid");
    let error = deep.load_weights(folder.file("small")).expect_err("another depth");
    let text = error.to_string();
    let Error::Checkpoint { missing, misshapen, .. } = error else { panic!("{text}") };
    assert!(missing.len() > 100 && misshapen.len() > 10, "{text}");
    assert!(text.len() < 2000, "{} characters: {text}", text.len());
    for hidden in [missing.len() - 10, misshapen.len() - 10] {
        assert!(text.contains(&format!(" and {hidden} more;")), "{text}");
    }
    assert!(text.contains(&missing[9]) && !text.contains(&missing[10]), "{text}");
}

#[test]
fn a_model_of_a_thousand_layers_is_refused_by_names_and_shapes() {
    // 6 GB of weights, in a file of none.
    let folder = Folder::new();
    let file = folder.file("model");
    let backbone = BackboneConfig { width: 16.0, ..BackboneConfig::resnet(1202, 10) };
    let config = GatedConfig { backbone, ..GatedConfig::cifar(20, 10) };
    let config = serde_json::to_string(&config).expect("plain fields");
    let metadata = [("model".to_owned(), "gated".to_owned()), ("config".to_owned(), config)];
    checkpoint::save(&file, &[], &BTreeMap::from(metadata)).expect("a writable folder");
    let before = gaternet_core::memory::peak_bytes();
    let error = Model::load(&file).expect_err("no weights");
    assert!(matches!(error, Error::Checkpoint { .. }), "{error}");
    let taken = gaternet_core::memory::peak_bytes() - before;
    assert!(taken < 1 << 26, "{taken} bytes of tensors");
}

#[test]
fn a_broken_configuration_is_shown() {
    let folder = Folder::new();
    let file = folder.file("model");
    gated(20).save(&file, &BTreeMap::new()).expect("a writable folder");
    let stored = Checkpoint::load(&file).expect("just saved");
    let tensors: Vec<_> = stored.tensors.into_iter().collect();
    for config in ["", "{\"depth\": 20}", "[1"] {
        let mut metadata = stored.metadata.clone();
        metadata.insert("config".to_owned(), config.to_owned());
        checkpoint::save(&file, &tensors, &metadata).expect("a writable folder");
        let error = GatedResNet::load(&file).expect_err("no configuration").to_string();
        assert!(error.contains("metadata config"), "{error}");
    }
}

#[test]
fn a_failed_save_leaves_the_old_file() {
    let folder = Folder::new();
    let file = folder.file("model");
    let model = gated(20);
    model.save(&file, &BTreeMap::new()).expect("a writable folder");
    let before = fs::read(&file).expect("just saved");
    model.parameters()[0].1.update(|weights| weights[0] = f32::NAN);
    let error = model.save(&file, &BTreeMap::new()).expect_err("a NaN is not saved").to_string();
    assert!(error.contains("backbone.conv.weight"), "{error}");
    assert_eq!(fs::read(&file).expect("still there"), before);
    assert_eq!(
        fs::read_dir(folder.0.path()).expect("a folder").count(),
        1,
        "a temporary file is left"
    );
}

#[test]
fn a_network_of_a_programs_own_comes_back_through_that_program() {
    let build = |seed| {
        let (mut net, images) = NetworkBuilder::new(3, seed);
        let inner = net.conv("conv1", images, 8, 3).batch_norm("bn1").relu();
        let inner = inner.role(ConvRole::Inner).done().expect("valid");
        let maps = net.conv("conv2", inner, 4, 3).done().expect("valid");
        let features = net.global_avg_pool(maps);
        net.linear("fc", features, 2).expect("valid");
        let gater = GaterConfig { depth: 8, ..GaterConfig::default() };
        GatedResNet::gate(net.finish().expect("valid"), GatePlacement::Inner, gater, seed)
            .expect("valid")
    };
    let folder = Folder::new();
    let file = folder.file("own");
    let (model, other) = (build(1), build(2));
    model.save(&file, &BTreeMap::new()).expect("a writable folder");
    let error = GatedResNet::load(&file).expect_err("no configuration builds it").to_string();
    assert!(error.contains("load_weights"), "{error}");
    other.load_weights(&file).expect("the same tensors");
    let images = Tensor::randn([2, 3, 16, 16], 1.0, Ctx::train(0).rng()).expect("small");
    let logits = |model: &GatedResNet| {
        model.forward(&images, &mut Ctx::eval()).expect("they fit").logits.data().to_vec()
    };
    assert_eq!(logits(&model), logits(&other));

    let (mut net, images) = NetworkBuilder::new(3, 0);
    let maps = net.conv("conv", images, 8, 3).done().expect("valid");
    net.global_avg_pool(maps);
    let gater = GaterConfig::default();
    let error = GatedResNet::gate(net.finish().expect("valid"), GatePlacement::All, gater, 0);
    let error = error.expect_err("no role").to_string();
    assert!(error.contains("placement = All"), "{error}");
}
