//! Weights of a model of other classes: everything but the head.

use std::collections::BTreeMap;
use std::path::PathBuf;

use gaternet_core::Error;
use gaternet_core::checkpoint::TensorValue;
use gaternet_core::nn::Module;
use gaternet_models::{
    BackboneConfig, Family, GatedConfig, GatedNet, GaterConfig, Head, Model, NetworkBuilder,
    PlainNet,
};

fn gated(classes: usize, seed: u64) -> Model {
    let gater = GaterConfig { depth: 8, width: 0.5, ..GaterConfig::default() };
    let config = GatedConfig { gater, ..GatedConfig::cifar(8, classes) };
    Model::Gated(Box::new(GatedNet::new(config, seed).expect("valid")))
}

fn plain(config: BackboneConfig, seed: u64) -> Model {
    Model::Plain(Box::new(PlainNet::new(config, seed).expect("valid")))
}

fn save(model: &Model) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.safetensors");
    model.save(&path, &BTreeMap::new()).expect("a writable folder");
    (folder, path)
}

/// Every number of the state, by name.
fn numbers(model: &impl Module) -> BTreeMap<String, Vec<f64>> {
    let numbers = |value: TensorValue| match value {
        TensorValue::F32(tensor) => tensor.data().iter().map(|x| f64::from(*x)).collect(),
        TensorValue::I64 { values, .. } => values.iter().map(|x| *x as f64).collect(),
        other => panic!("{other:?} is neither"),
    };
    let state = model.state();
    state.iter().map(|(name, state)| (name.clone(), numbers(state.into()))).collect()
}

#[test]
fn a_fresh_head_stays_as_drawn_and_everything_else_is_the_files() {
    let densenet =
        |classes| BackboneConfig::new(Family::Densenet { depth: 10, growth: 4 }, classes);
    for (old, new, again, head) in [
        (gated(10, 1), gated(7, 2), gated(7, 2), "backbone.fc."),
        (
            plain(BackboneConfig::resnet(8, 10), 1),
            plain(BackboneConfig::resnet(8, 100), 2),
            plain(BackboneConfig::resnet(8, 100), 2),
            "fc.",
        ),
        (plain(densenet(3), 1), plain(densenet(2), 2), plain(densenet(2), 2), "classifier."),
        // As many classes, but others.
        (gated(10, 1), gated(10, 2), gated(10, 2), "backbone.fc."),
    ] {
        let (_folder, path) = save(&old);
        new.load_weights_with(&path, Head::Fresh).expect("all but the head fits");
        let (old, new, drawn) = (numbers(&old), numbers(&new), numbers(&again));
        assert!(old.keys().eq(new.keys()));
        for (name, values) in &new {
            let expected = if name.starts_with(head) { &drawn[name] } else { &old[name] };
            assert!(values == expected, "{name}");
        }
        assert_ne!(old[&format!("{head}weight")], new[&format!("{head}weight")]);
    }
}

#[test]
fn what_does_not_fit_beside_the_head_is_listed_and_nothing_is_loaded() {
    let (_folder, path) = save(&gated(10, 1));
    let same = gated(7, 2);
    let before = numbers(&same);
    let error = same.load_weights_with(&path, Head::Same).expect_err("other classes");
    let Error::Checkpoint { missing, unexpected, misshapen, .. } = error else { panic!("{error}") };
    let names: Vec<_> = misshapen.iter().map(|misfit| &misfit.name[..]).collect();
    assert_eq!(names, ["backbone.fc.weight", "backbone.fc.bias"]);
    assert!(missing.is_empty() && unexpected.is_empty());
    assert_eq!(numbers(&same), before);

    let deeper = plain(BackboneConfig::resnet(14, 7), 2);
    let (_folder, path) = save(&plain(BackboneConfig::resnet(8, 10), 1));
    let error = deeper.load_weights_with(&path, Head::Fresh).expect_err("another depth");
    let Error::Checkpoint { missing, misshapen, .. } = error else { panic!("{error}") };
    assert!(missing.iter().any(|name| name == "stage1.block2.conv1.weight"), "{missing:?}");
    assert_eq!(misshapen, []);

    // A head that reads other features is another network's.
    let wide = BackboneConfig { width: 2.0, ..BackboneConfig::resnet(8, 7) };
    let error = plain(wide, 2).load_weights_with(&path, Head::Fresh).expect_err("twice as wide");
    let Error::Checkpoint { misshapen, .. } = error else { panic!("{error}") };
    assert!(misshapen.iter().any(|misfit| misfit.name == "fc.weight"), "{misshapen:?}");
}

#[test]
fn a_network_without_a_linear_layer_at_its_end_has_no_head() {
    let build = |seed| {
        let (mut net, images) = NetworkBuilder::new(3, seed);
        let maps = net.conv("conv", images, 4, 3).done().expect("valid");
        net.global_avg_pool(maps);
        PlainNet::custom(net.finish().expect("valid"))
    };
    let (_folder, path) = save(&Model::Plain(Box::new(build(1))));
    build(2).load_weights(&path).expect("the same tensors");
    let error = build(2).load_weights_with(&path, Head::Fresh).expect_err("no head").to_string();
    assert!(error.contains("head = Fresh") && error.contains("linear layer"), "{error}");
}
