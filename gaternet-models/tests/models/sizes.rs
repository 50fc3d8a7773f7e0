//! Images of sizes for which there is no memory, or no number.

use gaternet_core::Error;
use gaternet_models::{
    BackboneConfig, GatedConfig, GatedNet, GaterConfig, InferencePlan, LatencyModel, Model,
    PlainNet, PlanOptions,
};

fn models() -> [Model; 2] {
    let gater = GaterConfig { depth: 8, ..GaterConfig::default() };
    let config = GatedConfig { gater, ..GatedConfig::cifar(8, 10) };
    let plain = PlainNet::new(BackboneConfig::resnet(8, 10), 0).expect("valid");
    [
        Model::Plain(Box::new(plain)),
        Model::Gated(Box::new(GatedNet::new(config, 0).expect("valid"))),
    ]
}

#[test]
fn a_plan_for_more_than_the_memory_is_refused() {
    for model in models() {
        for size in [[1 << 20, 1 << 14], [1 << 14, 1 << 20], [1 << 17, 1 << 17]] {
            let options = PlanOptions { size, batch: 1, ..PlanOptions::default() };
            let error = InferencePlan::new(&model, options).expect_err("4 TB").to_string();
            let parts = [String::from("must fit in memory"), format!("image of {size:?}")];
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        }
        // The plan fits, 2^34 images to measure it with, 200 TB, do not.
        let options = PlanOptions { batch: 1 << 34, ..PlanOptions::default() };
        let error = LatencyModel::measure(&model, options).expect_err("2^34 images").to_string();
        assert!(error.contains("must fit in memory"), "{error}");
    }
}

#[test]
fn sizes_whose_products_overflow_are_errors_and_not_other_numbers() {
    for model in models() {
        let macs = |size| model.cost(size, None).map(|cost| cost.backbone);
        let small = macs([1 << 10, 1 << 10]).expect("in range");
        // Beyond what the exact sizes of pools add, work grows with the pixels.
        let large = macs([1 << 16, 1 << 16]).expect("in range");
        assert!((large / small / 4096.0 - 1.0).abs() < 0.01, "{large} for {small}");
        for size in [[1 << 28, 1 << 26], [1 << 31, 1 << 30], [1 << 62, 4], [usize::MAX, 1]] {
            let error = macs(size).expect_err("too large");
            assert!(
                matches!(error.root(), Error::Shape { .. } | Error::Kernel(_)),
                "{size:?}: {error}"
            );
            let options = PlanOptions { size, ..PlanOptions::default() };
            let error = InferencePlan::new(&model, options).expect_err("too large");
            assert!(
                matches!(error.root(), Error::Shape { .. } | Error::Kernel(_)),
                "{size:?}: {error}"
            );
        }
    }
}
