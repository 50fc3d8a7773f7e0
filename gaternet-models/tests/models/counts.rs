//! Parameters, gates and MACs against the counts of the paper's models.

use gaternet_core::gate::{Estimator, Gates};
use gaternet_core::nn::Module;
use gaternet_core::{Ctx, Tensor};
use gaternet_models::{
    BackboneConfig, Cost, Family, GatePlacement, GatedConfig, GatedResNet, PlainNet,
};

/// Rounds to `digits` after the point, in millions.
fn millions(count: u64, digits: usize) -> String {
    format!("{:.digits$}", count as f64 / 1e6)
}

#[test]
fn counts_of_the_paper() {
    // depth, parameters, MACs, gates, parameters and MACs with the gater
    let table = [
        (20, "0.2725", "40.8", 336, "0.548", "81.6"),
        (56, "0.8558", "125.8", 1008, "1.137", "166.6"),
        (110, "1.7307", "253.2", 2016, "2.021", "294.0"),
        // 169.05 million, where the paper's table has 169.0.
        (164, "1.6201", "169.1", 7200, "1.957", "209.9"),
    ];
    for (depth, parameters, macs, gates, all_parameters, all_macs) in table {
        let backbone = match depth {
            164 => BackboneConfig::bottleneck(depth, 10),
            _ => BackboneConfig::resnet(depth, 10),
        };
        let gated = GatedResNet::new(GatedConfig::new(backbone), 0).expect("in the table");
        let plain = gated.backbone();
        let size = [32, 32];
        assert_eq!(millions(plain.parameter_count() as u64, 4), parameters, "ResNet-{depth}");
        assert_eq!(millions(plain.macs(size).expect("fits"), 1), macs, "ResNet-{depth}");
        assert_eq!(gated.plan().gates(), gates, "ResNet-{depth}");
        assert_eq!(millions(gated.parameter_count() as u64, 3), all_parameters, "ResNet-{depth}");
        let with_gater = plain.macs(size).expect("fits") + gated.gater().macs(size).expect("fits");
        assert_eq!(millions(with_gater, 1), all_macs, "ResNet-{depth}");
    }
}

#[test]
fn every_depth_of_the_family_builds_and_runs() {
    let image = Tensor::randn([1, 3, 32, 32], 1.0, Ctx::train(0).rng()).expect("small");
    for depth in [20, 32, 44, 56, 110] {
        let model = PlainNet::new(BackboneConfig::resnet(depth, 100), 1).expect("6n + 2");
        let logits = model.forward(&image, &mut Ctx::eval()).expect("an image");
        assert_eq!(logits.dims(), [1, 100], "ResNet-{depth}");
    }
}

fn gated(depth: usize, placement: GatePlacement) -> GatedResNet {
    let config = GatedConfig { placement, ..GatedConfig::cifar(depth, 10) };
    GatedResNet::new(config, 0).expect("valid")
}

/// Gates of two samples, by sample and column.
fn gates(model: &GatedResNet, open: impl Fn(usize, usize) -> bool) -> Gates {
    let gates = model.plan().gates();
    let values = (0..2 * gates).map(|i| f32::from(u8::from(open(i / gates, i % gates)))).collect();
    let values = Tensor::new(values, [2, gates]).expect("two rows");
    Gates::new(values, &model.plan().widths()).expect("the plan's widths")
}

/// Of two samples on 32x32 images.
fn cost(model: &GatedResNet, open: impl Fn(usize, usize) -> bool) -> Cost {
    model.cost([32, 32], &gates(model, open)).expect("32x32 fits")
}

/// MACs of one 3x3 convolution of a block, the same in every stage; the first of a stage with
/// stride 2 has half of them.
const UNIT_CONV: f64 = 2_359_296.0;

#[test]
fn executed_macs_follow_the_gates() {
    let model = gated(20, GatePlacement::BlockOutput);
    let cost = |open: fn(usize) -> bool| cost(&model, |_, gate| open(gate));
    let all = cost(|_| true);
    assert_eq!(all.executed, all.backbone);
    let none = cost(|_| false);
    // Without any gate open, the second convolution of all nine blocks is saved.
    assert_eq!(all.executed - none.executed, 9.0 * UNIT_CONV);
    // One filter of the first block's 16.
    let one = cost(|gate| gate != 0);
    assert_eq!(all.executed - one.executed, UNIT_CONV / 16.0);
    assert!(
        (all.ratio() - 2.0).abs() < 0.01,
        "the gater costs as much as ResNet-20: {}",
        all.ratio()
    );
}

#[test]
fn an_inner_filter_that_is_off_saves_its_fraction_of_both_convolutions() {
    let model = gated(20, GatePlacement::Inner);
    let saved = |open: fn(usize) -> bool| {
        let cost = cost(&model, |_, gate| open(gate));
        cost.backbone - cost.executed
    };
    assert_eq!(saved(|_| true), 0.0);
    assert_eq!(saved(|gate| gate != 0), 2.0 * UNIT_CONV / 16.0);
    // 18 convolutions, two of which have stride 2.
    assert_eq!(saved(|_| false), (16.0 + 2.0 / 2.0) * UNIT_CONV);
}

#[test]
fn two_gates_of_a_sample_multiply_before_the_mean_over_samples() {
    let model = gated(20, GatePlacement::All);
    let executed = |open: fn(usize, usize) -> bool| cost(&model, open).executed;
    let (all, none) = (executed(|_, _| true), executed(|_, _| false));
    // One sample runs everything, the other nothing: half, where the product of means is a quarter.
    assert_eq!(executed(|sample, _| sample == 0), (all + none) / 2.0);
}

#[test]
fn the_macs_of_a_batch_are_the_mean_of_its_images() {
    let model = gated(20, GatePlacement::All);
    let gates = gates(&model, |sample, gate| (gate + sample) % (2 + 5 * sample) == 0);
    let images = model.image_macs([32, 32], &gates).expect("it fits");
    assert!(images.len() == 2 && images[0] > 1.2 * images[1], "{images:?}");
    let cost = model.cost([32, 32], &gates).expect("it fits");
    let mean = images.iter().sum::<f64>() / 2.0;
    assert!((cost.executed + cost.gater - mean).abs() < 1.0, "{cost:?}, images {images:?}");
}

#[test]
fn a_threshold_meets_a_budget() {
    let model = gated(56, GatePlacement::All);
    let (n, c) = (6, model.plan().gates());
    let gate_logits = (0..n * c).map(|i| ((i * 37) % 1009) as f32 / 500.0 - 1.0).collect();
    let gate_logits = Tensor::new(gate_logits, [n, c]).expect("as many");
    let ratio = |threshold: f32| {
        let open = gate_logits.data().iter().map(|x| f32::from(u8::from(x - threshold >= 0.0)));
        let values = Tensor::new(open.collect(), [n, c]).expect("as many");
        let gates = Gates::new(values, &model.plan().widths()).expect("its widths");
        model.cost([32, 32], &gates).expect("it fits").ratio()
    };
    for budget in [0.4, 0.5, 0.9, 1.3] {
        let threshold =
            model.threshold_for_budget([32, 32], &gate_logits, budget).expect("in reach");
        let got = ratio(threshold);
        assert!(got <= budget && got > budget - 0.01, "{budget}: {got} at {threshold}");
    }
    let all = model.threshold_for_budget([32, 32], &gate_logits, 5.0).expect("in reach");
    assert!(all < -1.0, "{all}");
    for budget in [0.33, -1.0, f64::NAN] {
        let error =
            model.threshold_for_budget([32, 32], &gate_logits, budget).expect_err("too little");
        let text = error.to_string();
        assert!(text.contains("every gate closed, 0.33"), "{text}");
    }
    let nan = Tensor::full([n, c], f32::NAN).expect("small");
    assert!(model.threshold_for_budget([32, 32], &nan, 0.5).is_err());
    let narrow = Tensor::zeros([n, c - 1]).expect("small");
    assert!(model.threshold_for_budget([32, 32], &narrow, 0.5).is_err());
    let fixed = model.clone().with_estimator(Estimator::TopK { density: 0.5 }).expect("valid");
    let error = fixed.threshold_for_budget([32, 32], &gate_logits, 0.5).expect_err("no threshold");
    assert!(error.to_string().contains("top_k of density 0.5"), "{error}");
    let none = Tensor::zeros([0, c]).expect("small");
    assert!(model.threshold_for_budget([32, 32], &none, 0.5).is_err());
}

#[test]
fn macs_at_half_open_are_those_of_the_placement() {
    for (depth, placement, ratio) in [
        (20, GatePlacement::BlockOutput, "1.74"),
        (20, GatePlacement::Inner, "1.51"),
        (20, GatePlacement::All, "1.38"),
        (56, GatePlacement::BlockOutput, "1.07"),
        (56, GatePlacement::Inner, "0.83"),
        (56, GatePlacement::All, "0.70"),
        (110, GatePlacement::BlockOutput, "0.91"),
        (110, GatePlacement::Inner, "0.66"),
        (110, GatePlacement::All, "0.54"),
    ] {
        let model = gated(depth, placement);
        // Every layer has an even width: half of each.
        let cost = cost(&model, |sample, gate| (sample + gate) % 2 == 0);
        assert_eq!(format!("{:.2}", cost.ratio()), ratio, "ResNet-{depth}, {placement:?}");
    }
}

#[test]
fn every_placement_has_its_gates() {
    for (placement, gates) in
        [(GatePlacement::BlockOutput, 336), (GatePlacement::Inner, 336), (GatePlacement::All, 672)]
    {
        assert_eq!(gated(20, placement).plan().gates(), gates, "{placement:?}");
    }
    let model = gated(8, GatePlacement::All);
    let layers: Vec<_> = model.plan().layers().iter().map(|layer| layer.conv.as_str()).collect();
    let blocks = ["stage1.block1", "stage2.block1", "stage3.block1"];
    let want: Vec<_> =
        blocks.iter().flat_map(|b| [format!("{b}.conv1"), format!("{b}.conv2")]).collect();
    assert_eq!(layers, want);
}

#[test]
fn every_family_has_the_published_counts() {
    let large = |depth| BackboneConfig::new(Family::ImagenetResnet { depth }, 1000);
    let shake = BackboneConfig::new(Family::ShakeShake { depth: 26, base: 32 }, 10);
    let dense = BackboneConfig::new(Family::Densenet { depth: 100, growth: 12 }, 10);
    // Parameters in millions and MACs in billions of images of this side, as their authors give
    // them: Zagoruyko and Komodakis 2016, Gastaldi 2017, Huang et al. 2017, torchvision; MACs that
    // they do not give are left out.
    for (config, side, parameters, macs) in [
        (BackboneConfig::wide_resnet(28, 10, 10), 32, "36.5", Some("5.2")),
        (BackboneConfig::wide_resnet(40, 4, 10), 32, "8.9", None),
        (shake, 32, "2.9", None),
        (dense, 32, "0.77", None),
        (large(18), 224, "11.69", Some("1.81")),
        (large(34), 224, "21.80", Some("3.66")),
        (large(50), 224, "25.56", Some("4.09")),
        (large(101), 224, "44.55", Some("7.80")),
    ] {
        let model = PlainNet::new(config, 0).expect("valid");
        let digits = |text: &str| text.split('.').nth(1).map_or(0, str::len);
        let count = millions(model.parameter_count() as u64, digits(parameters));
        assert_eq!(count, parameters, "{config}");
        if let Some(macs) = macs {
            let count = model.macs([side, side]).expect("it fits") / 1000;
            assert_eq!(millions(count, digits(macs)), macs, "{config}");
        }
    }
}
