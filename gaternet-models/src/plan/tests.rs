//! Tests of what only the inside of a plan shows.

use gaternet_core::{Ctx, Tensor};

use super::{InferencePlan, PlanOptions};
use crate::{DType, GatePlacement, GatedConfig, GatedNet, GaterConfig};

const BATCH: usize = 5;

fn model(placement: GatePlacement) -> GatedNet {
    let gater = GaterConfig { depth: 8, ..GaterConfig::default() };
    let config = GatedConfig { placement, gater, ..GatedConfig::cifar(8, 10) };
    GatedNet::new(config, 1).expect("valid")
}

fn images() -> Tensor {
    Tensor::randn([BATCH, 3, 32, 32], 1.0, Ctx::train(2).rng()).expect("small")
}

#[test]
fn layer_by_layer_and_image_by_image_have_the_same_bits() {
    let (model, images) = (model(GatePlacement::All), images());
    for (skip, dtype) in
        [true, false].into_iter().flat_map(|skip| DType::ALL.map(|dtype| (skip, dtype)))
    {
        let options = PlanOptions { skip, dtype, ..PlanOptions::default() };
        let mut plan = InferencePlan::gated(&model, options).expect("it fits");
        let gates: Vec<_> = (0..BATCH * plan.gate_count())
            .map(|i| f32::from(u8::from(i % 3 != 0 && i % 7 != 2)))
            .collect();
        let mut logits = |by_layer: bool| {
            plan.backbone().by_layer = by_layer;
            let mut logits = vec![f32::NAN; BATCH * plan.classes()];
            let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("threads");
            pool.install(|| plan.run_with_gates(images.data(), &gates, &mut logits))
                .expect("they fit");
            logits.into_iter().map(f32::to_bits).collect::<Vec<_>>()
        };
        assert_eq!(logits(true), logits(false), "skip {skip}, {dtype}");
    }
}

#[test]
fn a_network_of_more_weights_than_caches_hold_runs_layer_by_layer() {
    let runs_by_layer = |depth, dtype| {
        let model = GatedNet::new(GatedConfig::cifar(depth, 10), 0).expect("valid");
        let options = PlanOptions { dtype, ..PlanOptions::default() };
        let mut plan = InferencePlan::plain(model.backbone(), options).expect("it fits");
        (plan.backbone().by_layer, plan.weight_bytes())
    };
    for (depth, expected) in [(20, [false, false]), (110, [true, false]), (302, [true, true])] {
        for (dtype, expected) in DType::ALL.into_iter().zip(expected) {
            let (by_layer, bytes) = runs_by_layer(depth, dtype);
            assert_eq!(by_layer, expected, "depth {depth}, {dtype}: {bytes} bytes of weights");
        }
    }
}
