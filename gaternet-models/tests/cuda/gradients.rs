//! One step from equal weights. Ten steps at a high learning rate magnify rounding until gates
//! differ; here a wrong gradient has nothing to hide behind.

use gaternet_core::gate::{Estimator, MinActive, TauSchedule};
use gaternet_models::{BackboneConfig, GateLoss, GatePlacement, GateTerm, Model};

use crate::emulator;
use crate::setup::{Data, bottleneck, cpu_step, distance, gated_as, options, resnet, sgd, wide};
use crate::train::{BATCH, IMAGES, STEPS, order, run, trainer, velocities};

/// The first of its epoch; temperatures and weights of losses have changed by then.
const STEP: usize = 6;

/// The first step of momentum makes a velocity of each gradient.
fn agree(name: &str, new: impl Fn() -> Model) {
    let Some(device) = emulator::device() else { return };
    let ([host, other], data) = ([new(), new()], Data::new(IMAGES));
    let [mut of_host, mut of_other] = [sgd(&host), sgd(&other)];
    let mut trainer = trainer::<f32>(&device, &other, &of_other, &data, options(BATCH, STEPS));
    assert_eq!(STEP % trainer.steps(), 0);
    let numbers = &order(STEP / trainer.steps())[..BATCH];
    let want = cpu_step(&host, &mut of_host, &data, numbers, [STEP, STEPS]);
    let got = run(&mut trainer, [STEP, STEP + 1])[0];
    trainer.store(&mut of_other).expect("a copy");

    let what = format!("{name}: loss, right, open {got:?}, on the CPU {want:?}");
    assert!((got[0] - want[0]).abs() < 1e-5 * want[0], "{what}");
    assert_eq!(got[1], want[1], "{what}");
    assert!((got[2] - want[2]).abs() < 1e-6, "{what}");
    let [got, want] = [velocities(&of_other), velocities(&of_host)];
    for part in ["backbone.", "gater."] {
        let all = |of: &[(String, Vec<f32>)]| -> Vec<f32> {
            let of_part = of.iter().filter(|(tensor, _)| tensor.starts_with(part));
            of_part.flat_map(|(_, values)| values).copied().collect()
        };
        let far = distance(&all(&got), &all(&want));
        assert!(far < 5e-5, "{name}: the gradients of {part}* are {far:.1e} apart");
    }
    for ((tensor, got), (_, want)) in got.iter().zip(&want) {
        let far = distance(got, want);
        assert!(far < 5e-4, "{name}: the gradients of {tensor} are {far:.1e} apart");
    }
}

/// Every loss on every placement.
fn all_agree(estimator: Estimator) {
    let networks: [(BackboneConfig, _, _, MinActive, f32); 4] = [
        (resnet(), GatePlacement::Inner, 3, MinActive::default(), 0.6),
        (bottleneck(), GatePlacement::All, 2, MinActive::Gates(1), 0.6),
        (wide(), GatePlacement::BlockOutput, 1, MinActive::default(), 0.8),
        // Whole blocks.
        (resnet(), GatePlacement::BlockOutput, 64, MinActive::default(), 0.6),
    ];
    for (backbone, placement, filters, min_active, macs) in networks {
        for loss in [
            GateLoss::L1,
            GateLoss::TargetRate { target: 0.3 },
            GateLoss::TargetRate { target: 0.9 },
            GateLoss::TargetMacs { target: macs },
            GateLoss::TargetMacs { target: 1.0 },
            GateLoss::BatchShaping { a: 0.6, b: 0.4 },
        ] {
            let name = format!("{estimator:?}, {loss:?}, {placement:?}");
            agree(&name, || {
                gated_as(backbone, placement, |config| {
                    (config.estimator, config.filters_per_gate, config.min_active) =
                        (estimator, filters, min_active);
                    config.gate_losses = vec![GateTerm::new(loss, 2.0)];
                })
            });
        }
    }
}

const TAU: TauSchedule = TauSchedule { first: 2.0, last: 0.5, fraction: 0.7 };

#[test]
fn gradients_of_sem_hash_are_those_of_the_cpu() {
    all_agree(Estimator::SemHash);
}

#[test]
fn gradients_of_straight_through_gates_are_those_of_the_cpu() {
    all_agree(Estimator::StraightThrough);
}

#[test]
fn gradients_of_hard_gumbel_sigmoid_gates_are_those_of_the_cpu() {
    all_agree(Estimator::GumbelSigmoid { tau: TAU, hard: true });
}

#[test]
fn gradients_of_soft_gumbel_sigmoid_gates_are_those_of_the_cpu() {
    all_agree(Estimator::GumbelSigmoid { tau: TAU, hard: false });
}
