//! Tests of recipes.

use gaternet_core::data::{Augment, Normalize};

use super::*;

#[test]
fn a_recipe_is_what_its_file_says() {
    let recipe = Recipe {
        ema: Some(0.99),
        mixup: Some(Mixup { alpha: 0.2 }),
        augment: Augment { cutout: 8, ..Augment::train_resized(48) },
        test_augment: Augment::eval_resized(48),
        gater: GaterTraining {
            pretrain: 2,
            warm_up: WarmUp { open_epochs: 1, ..WarmUp::default() },
            ..GaterTraining::default()
        },
        ..Recipe::gated(GatedConfig::cifar(20, 10))
    };
    let text = serde_json::to_string(&recipe).expect("JSON");
    assert_eq!(serde_json::from_str::<Recipe>(&text).expect("as written"), recipe);
    let error = serde_json::from_str::<Recipe>(r#"{ "epoch": 3 }"#).expect_err("a wrong name");
    assert!(error.to_string().contains("epoch"), "{error}");
    let error = serde_json::from_str::<Recipe>(r#"{ "dtype": "f64" }"#).expect_err("no such type");
    assert!(error.to_string().contains("\"f64\": must be"), "{error}");
}

#[test]
fn settings_out_of_range_are_named() {
    let plain = || Recipe::plain(BackboneConfig::resnet(20, 10));
    let gater = |gater| Recipe { gater, ..Recipe::default() };
    for (recipe, parts) in [
        (Recipe { epochs: 0, ..plain() }, ["epochs = 0", "at least 1"]),
        (Recipe { batch_size: 0, ..plain() }, ["batch_size = 0", "at least 1"]),
        (Recipe { ema: Some(1.0), ..plain() }, ["ema = 1", "below 1"]),
        (Recipe { clip_grad_norm: Some(-0.5), ..plain() }, ["clip_grad_norm = -0.5", "negative"]),
        (Recipe { weight_decay: f32::NAN, ..plain() }, ["weight_decay = NaN", "finite"]),
        (Recipe { new_head: true, ..plain() }, ["new_head = true", "no checkpoint"]),
        (
            gater(GaterTraining { learning_rate: Some(-1.0), ..GaterTraining::default() }),
            ["gater.learning_rate = -1", "not negative"],
        ),
        (
            gater(GaterTraining {
                warm_up: WarmUp { open_epochs: 15, ..WarmUp::default() },
                ..GaterTraining::default()
            }),
            ["open_epochs = 15, of 15 epochs", "an epoch to learn in"],
        ),
    ] {
        let error = recipe.validate().expect_err(parts[0]).to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    }
    plain().validate().expect("the defaults");
    Recipe::default().validate().expect("the defaults");
}

#[test]
fn everything_that_changes_the_results_is_in_the_metadata() {
    let usual = Recipe::default();
    let flat = Augment { flip: false, ..Augment::train() };
    let normalize = Normalize { mean: vec![0.5; 3], ..Normalize::cifar10() };
    let grey = Augment { normalize, ..Augment::train() };
    for (other, name) in [
        (Recipe { ema: Some(0.9), ..usual.clone() }, "ema"),
        (Recipe { augment: flat.clone(), ..usual.clone() }, "flip"),
        (Recipe { augment: grey, ..usual.clone() }, "train_statistics"),
        (Recipe { augment: Augment::train_resized(32), ..usual.clone() }, "train_crop"),
        (Recipe { test_augment: Augment::train(), ..usual.clone() }, "test_augmentation"),
        (Recipe { mixup: Some(Mixup { alpha: 0.3 }), ..usual.clone() }, "mixup"),
    ] {
        assert!(!usual.metadata().contains_key(name), "{name} is in files of older runs");
        assert!(other.metadata().contains_key(name), "{name}");
    }
}
