//! Parameters, gates and MACs against the counts of the paper's models.

use gaternet_core::gate::Gates;
use gaternet_core::nn::Module;
use gaternet_core::{Ctx, Tensor};
use gaternet_models::{GatedResNet, GatedResNetConfig, ResNet, ResNetConfig};

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
    ];
    for (depth, parameters, macs, gates, all_parameters, all_macs) in table {
        let gated = GatedResNet::new(GatedResNetConfig::cifar(depth, 10), 0).expect("in the table");
        let plain = gated.backbone();
        let size = [32, 32];
        assert_eq!(millions(plain.parameter_count() as u64, 4), parameters, "ResNet-{depth}");
        assert_eq!(millions(plain.macs(size), 1), macs, "ResNet-{depth}");
        assert_eq!(gated.plan().gates(), gates, "ResNet-{depth}");
        assert_eq!(millions(gated.parameter_count() as u64, 3), all_parameters, "ResNet-{depth}");
        let with_gater = plain.macs(size) + gated.gater().macs(size);
        assert_eq!(millions(with_gater, 1), all_macs, "ResNet-{depth}");
    }
}

#[test]
fn every_depth_of_the_family_builds_and_runs() {
    let image = Tensor::randn([1, 3, 32, 32], 1.0, Ctx::train(0).rng()).expect("small");
    for depth in [20, 32, 44, 56, 110] {
        let model = ResNet::new(ResNetConfig { depth, classes: 100 }, 1).expect("6n + 2");
        let logits = model.forward(&image, &Ctx::eval()).expect("an image");
        assert_eq!(logits.dims(), [1, 100], "ResNet-{depth}");
    }
}

#[test]
fn executed_macs_follow_the_gates() {
    let model = GatedResNet::new(GatedResNetConfig::cifar(20, 10), 0).expect("valid");
    let cost = |open: fn(usize) -> bool| {
        let gates = model.plan().gates();
        let values = (0..2 * gates).map(|i| f32::from(u8::from(open(i % gates)))).collect();
        let values = Tensor::new(values, [2, gates]).expect("two rows");
        let gates = Gates::new(values, &model.plan().widths()).expect("the plan's widths");
        model.cost([32, 32], &gates)
    };
    let all = cost(|_| true);
    assert_eq!(all.executed, all.backbone);
    let none = cost(|_| false);
    // Without any gate open, the second convolution of all nine units is saved: 2.359296 M MACs each.
    assert_eq!(all.executed - none.executed, 9.0 * 2_359_296.0);
    // One filter of the first unit's 16.
    let one = cost(|gate| gate != 0);
    assert_eq!(all.executed - one.executed, 2_359_296.0 / 16.0);
    assert!(
        (all.ratio() - 2.0).abs() < 0.01,
        "the gater costs as much as ResNet-20: {}",
        all.ratio()
    );
}
