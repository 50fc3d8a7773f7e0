//! Everything about gates that a configuration can change, in training and in evaluation.
//!
//! Ten steps at a high learning rate magnify rounding, most of all where gates are hard or a target
//! pulls: with some other numbers of filters per gate and weights than those here, single gates are
//! open on one side only in the last steps. At a tenth of the rate those agree too, and
//! [`gradients`](crate::gradients) compares single steps of all.

use gaternet_core::gate::{Estimator, MinActive, TauSchedule};
use gaternet_models::{BackboneConfig, GateLoss, GatePlacement, GateTerm, GatedConfig};

use crate::plan::check;
use crate::setup::{bottleneck, gated_as, resnet, wide};
use crate::train::agrees_in_f32;

/// Ten steps, and evaluation, of a backbone whose gates are changed.
fn agrees_on(
    backbone: BackboneConfig,
    placement: GatePlacement,
    name: &str,
    change: impl Fn(&mut GatedConfig),
) {
    let name = format!("{name}, {placement:?}");
    agrees_in_f32(&name, || gated_as(backbone, placement, &change));
    check::<f32>(&name, &gated_as(backbone, placement, &change), 1e-5);
}

fn agrees(name: &str, change: impl Fn(&mut GatedConfig)) {
    agrees_on(resnet(), GatePlacement::Inner, name, change);
}

fn losses(config: &mut GatedConfig, losses: &[(GateLoss, f32)]) {
    config.gate_losses = losses.iter().map(|&(loss, weight)| GateTerm::new(loss, weight)).collect();
}

#[test]
fn shared_gates_are_those_of_the_cpu() {
    for (backbone, placement) in [
        (resnet(), GatePlacement::Inner),
        (wide(), GatePlacement::BlockOutput),
        (bottleneck(), GatePlacement::All),
    ] {
        agrees_on(backbone, placement, "3 filters a gate", |config| config.filters_per_gate = 3);
    }
}

#[test]
fn targets_are_those_of_the_cpu() {
    agrees("a rate", |config| losses(config, &[(GateLoss::TargetRate { target: 0.4 }, 2.0)]));
    // The recommended recipe, with fewer filters per gate.
    for (backbone, placement) in
        [(resnet(), GatePlacement::Inner), (bottleneck(), GatePlacement::All)]
    {
        agrees_on(backbone, placement, "MACs of shared gates", |config| {
            config.filters_per_gate = 3;
            losses(config, &[(GateLoss::TargetMacs { target: 0.6 }, 4.0)]);
        });
    }
}

#[test]
fn losses_that_fade_and_add_up_are_those_of_the_cpu() {
    agrees("several losses", |config| {
        let macs = GateLoss::TargetMacs { target: 0.8 };
        losses(config, &[(GateLoss::L1, 0.2), (macs, 1.0), (GateLoss::L1, 0.3)]);
        config.gate_losses[0].fades_over = Some(0.5);
        config.gate_losses[1].fades_over = Some(0.9);
    });
    agrees("no loss", |config| config.gate_losses.clear());
}

#[test]
fn batch_shaping_is_that_of_the_cpu() {
    agrees("batch-shaping", |config| {
        let shaping = GateLoss::BatchShaping { a: 0.6, b: 0.4 };
        losses(config, &[(shaping, 0.75), (GateLoss::L1, 0.1)]);
        config.gate_losses[0].fades_over = Some(0.7);
    });
}

#[test]
fn min_actives_are_those_of_the_cpu() {
    agrees("a gate", |config| config.min_active = MinActive::Gates(1));
    agrees("a fraction of shared gates", |config| {
        (config.min_active, config.filters_per_gate) = (MinActive::Fraction(0.4), 2);
        losses(config, &[(GateLoss::TargetRate { target: 0.7 }, 2.0)]);
    });
}

#[test]
fn batch_norm_of_the_gater_is_that_of_the_cpu() {
    agrees("batch norm", |config| {
        (config.gater.batch_norm, config.gater.bottleneck) = (true, 16);
    });
}

#[test]
fn estimators_are_those_of_the_cpu() {
    agrees("straight-through", |config| {
        (config.estimator, config.filters_per_gate) = (Estimator::StraightThrough, 2);
    });
    agrees("top-k", |config| config.estimator = Estimator::TopK { density: 0.4 });
    let tau = TauSchedule { first: 2.0, last: 0.5, fraction: 0.7 };
    for hard in [false, true] {
        agrees(&format!("Gumbel-sigmoid, hard {hard}"), |config| {
            config.estimator = Estimator::GumbelSigmoid { tau, hard };
            (config.min_active, config.filters_per_gate) = (MinActive::Gates(1), 2);
        });
    }
}
