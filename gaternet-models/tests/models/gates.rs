//! How gates are made and what they are trained for, in a whole network.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::common::PLACEMENTS;
use crate::common::families::families;
use gaternet_core::gate::{Estimator, Gates, TauSchedule};
use gaternet_core::nn::Module;
use gaternet_core::optim::{Optimizer, Sgd, SgdConfig};
use gaternet_core::{Ctx, Tensor};
use gaternet_models::{
    BackboneConfig, Calibration, ConvGates, ConvTime, Family, GateLoss, GatePlacement, GateTerm,
    GatedConfig, GatedNet, GaterConfig, InferencePlan, LatencyCosts, PlanOptions, TimeTable,
};

const TAU: TauSchedule = TauSchedule { first: 2.0, last: 0.5, fraction: 0.5 };
const ESTIMATORS: [Estimator; 5] = [
    Estimator::SemHash,
    Estimator::StraightThrough,
    Estimator::GumbelSigmoid { tau: TAU, hard: true },
    Estimator::GumbelSigmoid { tau: TAU, hard: false },
    Estimator::TopK { density: 0.5 },
];

const LOSSES: [(GateLoss, f32); 4] = [
    (GateLoss::L1, 0.1),
    (GateLoss::TargetRate { target: 0.3 }, 50.0),
    (GateLoss::TargetMacs { target: 0.5 }, 5.0),
    (GateLoss::BatchShaping { a: 0.6, b: 0.4 }, 1.0),
];

fn config(backbone: BackboneConfig, placement: GatePlacement) -> GatedConfig {
    let gater = GaterConfig { depth: 8, width: 0.5, pool: 2, ..GaterConfig::default() };
    GatedConfig { placement, gater, ..GatedConfig::new(backbone) }
}

fn tiny() -> GatedConfig {
    config(BackboneConfig::resnet(8, 4), GatePlacement::All)
}

fn build(config: GatedConfig) -> GatedNet {
    GatedNet::new(config, 2).expect("valid")
}

fn images(count: usize, side: usize) -> Tensor {
    Tensor::randn([count, 3, side, side], 1.0, Ctx::train(1).rng()).expect("small")
}

/// About half of the gates of three samples, and others in each.
fn some_gates(model: &GatedNet) -> Gates {
    let gates = model.plan().gates();
    let open = |i: usize| (i * 7 / 5 + i / gates).is_multiple_of(2);
    let values = (0..3 * gates).map(|i| f32::from(u8::from(open(i)))).collect();
    let values = Tensor::new(values, [3, gates]).expect("a row each");
    Gates::new(values, &model.plan().widths()).expect("the plan's")
}

#[test]
fn a_step_lowers_the_loss_under_every_estimator_and_loss() {
    let (images, labels) = (images(8, 16), [0, 1, 2, 3, 0, 1, 2, 3]);
    for estimator in ESTIMATORS {
        for (loss, weight) in LOSSES {
            let case = format!("{estimator:?}, {loss:?}");
            let gate_losses = vec![GateTerm::new(loss, weight)];
            if matches!(estimator, Estimator::TopK { .. }) && loss.has_target() {
                let config = GatedConfig { estimator, gate_losses, ..tiny() };
                let text = GatedNet::new(config, 1).expect_err(&case).to_string();
                assert!(text.contains("gate_losses"), "{text}");
                continue;
            }
            let model = build(GatedConfig { estimator, gate_losses, ..tiny() });
            // The same noise twice: what moves the loss is the step.
            let draw = model.draw(8, &mut Ctx::train(4)).expect("small");
            let pass = || {
                let mut ctx = Ctx::train(4).with_progress(1, 4);
                let output = model.forward_with_draw(&images, &draw, &mut ctx).expect(&case);
                model.loss(&output, &labels).expect(&case)
            };
            let config = SgdConfig::default().with_learning_rate(0.01);
            let mut sgd = Sgd::new(model.parameters(), config).expect("valid");
            let before = pass();
            sgd.step(&before.total.backward().expect("a scalar")).expect("every gradient");
            let item = |loss: &Tensor| loss.item().expect("a scalar");
            let [before, after] = [before, pass()].map(|loss| item(&loss.total));
            assert!(after < before, "{case}: {before} became {after}");
        }
    }
}

#[test]
fn targets_are_met_by_the_gates_without_noise() {
    let (images, labels) = (images(16, 8), [0, 1, 2, 3].repeat(4));
    for estimator in &ESTIMATORS[..4] {
        for (loss, weight) in &LOSSES[1..3] {
            let gate_losses = vec![GateTerm::new(*loss, *weight)];
            let mut config = GatedConfig { estimator: *estimator, gate_losses, ..tiny() };
            // Almost all open at first.
            config.gater.gate_bias = 2.0;
            config.backbone.width = 0.5;
            let model = build(config);
            let mut sgd = Sgd::new(model.parameters(), SgdConfig::default()).expect("valid");
            let steps = 100;
            let mut step = |step: usize| {
                sgd.set_learning_rate(0.1 * (1.0 - step as f32 / steps as f32)).expect("in range");
                let mut ctx = Ctx::train(4).with_stream(step as u64).with_progress(step, steps);
                let output = model.forward(&images, &mut ctx).expect("they fit");
                let loss = model.loss(&output, &labels).expect("a label each").total;
                sgd.step(&loss.backward().expect("a scalar")).expect("every gradient");
                output.evaluated
            };
            (1..steps).for_each(|at| drop(step(at - 1)));
            // With the statistics of the batch: running ones of 16 images are others.
            let gates = Gates::new(step(steps - 1), &model.plan().widths()).expect("the plan's");
            let (got, want) = match *loss {
                GateLoss::TargetMacs { target } => {
                    (model.cost([8, 8], &gates).expect("they fit").ratio(), target)
                }
                GateLoss::TargetRate { target } => (gates.density(), target),
                _ => unreachable!("not a target"),
            };
            let error = (got - f64::from(want)).abs();
            assert!(error < 0.04, "{estimator:?}, {loss:?}: {got}");
        }
    }
}

/// A machine on which the time of a convolution is that of its MACs.
fn latency_by_macs(model: &GatedNet, size: [usize; 2]) -> LatencyCosts {
    const DENSITIES: [f64; 2] = [0.25, 1.0];
    let convs = model.backbone().convs(size).expect("it fits");
    let gates = model.plan().convs();
    let gated = |gates: &ConvGates| *gates != ConvGates::default();
    let (mut times, mut tables, mut fixed, mut plain) = (Vec::new(), Vec::new(), 0.0, 0.0);
    for (conv, gates) in convs.iter().zip(gates) {
        let seconds = conv.macs() as f64;
        plain += seconds;
        if !gated(gates) {
            fixed += seconds;
            continue;
        }
        let ConvGates { filters, channels, .. } = gates.computed();
        times.push(ConvTime { filters, channels, table: tables.len() });
        let density = |gated: bool, i: usize| if gated { DENSITIES[i] } else { 1.0 };
        let table = TimeTable::new(&DENSITIES, |f, c| {
            seconds * density(filters.is_some(), f) * density(channels.is_some(), c)
        });
        tables.push(table.expect("a table"));
    }
    LatencyCosts { plain, fixed, convs: times, tables, layers: model.plan().layers().len() }
}

#[test]
fn a_time_is_met_where_it_is_known() {
    let (images, labels) = (images(16, 8), [0, 1, 2, 3].repeat(4));
    let gate_losses = vec![GateTerm::new(GateLoss::TargetLatency { target: 0.5 }, 5.0)];
    let mut config = GatedConfig { gate_losses, ..tiny() };
    config.gater.gate_bias = 2.0;
    let model = build(config);
    let output = model.forward(&images, &mut Ctx::train(0)).expect("they fit");
    let error = model.loss(&output, &labels).expect_err("unknown").to_string();
    assert!(error.contains("measure_latency"), "{error}");
    let mut other = latency_by_macs(&model, [8, 8]);
    other.layers = 1;
    assert!(model.clone().with_latency(other).is_err(), "of another network");
    let latency = latency_by_macs(&model, [8, 8]);
    let model = model.with_latency(latency.clone()).expect("its own");
    model.check_targets([8, 8]).expect("it can be met");

    let mut sgd = Sgd::new(model.parameters(), SgdConfig::default()).expect("valid");
    let steps = 100;
    let mut ratio = 0.0;
    for step in 0..steps {
        sgd.set_learning_rate(0.1 * (1.0 - step as f32 / steps as f32)).expect("in range");
        let mut ctx = Ctx::train(4).with_stream(step as u64).with_progress(step, steps);
        let output = model.forward(&images, &mut ctx).expect("they fit");
        let loss = model.loss(&output, &labels).expect("a label each").total;
        sgd.step(&loss.backward().expect("a scalar")).expect("every gradient");
        let gates = Gates::new(output.evaluated, &model.plan().widths()).expect("the plan's");
        let mut opened = Calibration::new(model.plan().gates());
        opened.add(gates.values().data()).expect("whole rows");
        let densities = opened.densities(model.plan()).expect("its gates");
        ratio = latency.ratio(&densities).expect("one each");
    }
    assert!((ratio - 0.5).abs() < 0.04, "{ratio}");
}

#[test]
fn a_measured_latency_is_that_of_the_gates_and_of_the_plain_network() {
    let model = build(tiny());
    let options = PlanOptions { size: [8, 8], batch: 2, ..PlanOptions::default() };
    let latency = model.measure_latency(options).expect("it fits");
    assert_eq!(latency.layers, model.plan().layers().len());
    // Both convolutions of every block and those that read them.
    assert_eq!(latency.convs.len(), 6, "{latency:?}");
    assert!(latency.plain > 0.0 && latency.fixed > 0.0);
    let open = latency.ratio(&[1.0; 6]).expect("one each");
    assert!(open.is_finite() && open > 0.0);
    model.with_latency(latency).expect("its own");
}

#[test]
fn the_costs_of_a_loss_are_those_of_the_cost_model() {
    for backbone in families(4) {
        for placement in PLACEMENTS {
            let model = build(config(backbone, placement));
            let (gates, size) = (some_gates(&model), [32, 32]);
            let want = model.cost(size, &gates).expect("it fits").ratio();
            let costs = model.mac_costs(size).expect("it fits");
            let got = costs.ratio(gates.values(), &model.plan().widths()).expect("the plan's");
            assert!((got - want).abs() < 1e-12, "{backbone}, {placement:?}: {got}, not {want}");
            let again = model.mac_costs(size).expect("it fits");
            assert!(Arc::ptr_eq(&costs, &again), "they are computed once");
            // Those of another size are not these.
            let other = model.mac_costs([64, 64]).expect("it fits");
            assert!(other.fixed > costs.fixed, "{backbone}");
            assert_eq!(*model.mac_costs(size).expect("it fits"), *costs);
        }
    }
}

#[test]
fn a_block_is_what_shares_gates() {
    let blocks = |family, placement| {
        let model = build(config(BackboneConfig::new(family, 4), placement));
        let costs = model.mac_costs([32, 32]).expect("it fits");
        costs.blocks.iter().map(Vec::len).collect::<Vec<_>>()
    };
    let resnet = Family::Resnet { depth: 8, pre_activation: false };
    for (placement, want) in PLACEMENTS.into_iter().zip([[1; 3], [2; 3], [2; 3]]) {
        assert_eq!(blocks(resnet, placement), want, "{placement:?}");
    }
    let channels = gaternet_models::BottleneckChannels::Paper;
    let bottleneck = Family::Bottleneck { depth: 11, pre_activation: false, channels };
    assert_eq!(blocks(bottleneck, GatePlacement::All), [3; 3]);
    // A branch each.
    let shake = Family::ShakeShake { depth: 8, base: 8 };
    assert_eq!(blocks(shake, GatePlacement::All), [2; 6]);
}

#[test]
fn gates_of_another_plan_are_refused() {
    let model = build(tiny());
    let images = images(3, 16);
    for placement in [GatePlacement::Inner, GatePlacement::BlockOutput] {
        let other = build(GatedConfig { placement, ..tiny() });
        let gates = some_gates(&other);
        let text = "layers of its widths, got widths [16, 32, 64], the plan has";
        for error in [
            model.backbone_with_gates(&images, &gates, true, &mut Ctx::eval()).map(|_| ()),
            model.cost([16, 16], &gates).map(|_| ()),
            other
                .forward(&images, &mut Ctx::train(0))
                .and_then(|output| model.loss(&output, &[0, 1, 2]))
                .map(|_| ()),
        ] {
            let error = error.expect_err("another plan").to_string();
            assert!(error.contains(text), "{placement:?}: {error}");
        }
    }
}

#[test]
fn a_file_of_other_gates_is_refused_and_says_what_to_do() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("model");
    build(GatedConfig { placement: GatePlacement::Inner, ..tiny() })
        .save(&file, &BTreeMap::new())
        .expect("a writable folder");
    let model = build(tiny());
    for error in [model.load_weights(&file), model.gater().load(&file)] {
        let error = error.expect_err("other gates").to_string();
        let parts = ["112 gates for a model of 224", "build it with the placement"];
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    }
}

#[test]
fn a_target_that_gates_cannot_meet_says_what_they_can() {
    let gate_losses = vec![GateTerm::new(GateLoss::TargetMacs { target: 0.01 }, 1.0)];
    let model = build(GatedConfig { gate_losses, ..tiny() });
    let error = model.check_targets([16, 16]).expect_err("too low").to_string();
    assert!(error.contains("target_macs = 0.01 (all gates closed cost 0."), "{error}");
    let output = model.forward(&images(3, 16), &mut Ctx::train(0)).expect("they fit");
    assert!(model.loss(&output, &[0, 1, 2]).is_err());
    build(tiny()).check_targets([16, 16]).expect("no target");
}

#[test]
fn estimator_losses_and_batch_norm_come_back_from_a_file_and_decide_the_plan() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("model");
    let images = images(6, 32);
    for estimator in ESTIMATORS {
        for batch_norm in [false, true] {
            let mut config = GatedConfig { estimator, ..tiny() };
            config.gater.batch_norm = batch_norm;
            config.gate_losses.push(GateTerm {
                fades_over: Some(0.5),
                ..GateTerm::new(GateLoss::BatchShaping { a: 0.6, b: 0.4 }, 1.0)
            });
            let model = build(config.clone());
            // So that statistics are not those of a fresh model.
            model.forward(&images, &mut Ctx::train(0)).expect("they fit");
            model.save(&file, &BTreeMap::new()).expect("a writable folder");
            let model = GatedNet::load(&file).expect("just saved");
            assert_eq!(model.config(), &config);

            let output = model.forward(&images, &mut Ctx::eval()).expect("they fit");
            let want = output.gates.values().data();
            assert!(want.iter().all(|gate| *gate == 0.0 || *gate == 1.0), "{estimator:?}");
            if let Estimator::TopK { .. } = estimator {
                assert_eq!(output.gates.density(), 0.5);
            }
            let plan = InferencePlan::gated(&model, PlanOptions::default()).expect("it fits");
            let mut gates = vec![f32::NAN; want.len()];
            plan.gates(images.data(), &mut gates).expect("they fit");
            let same = gates.iter().zip(want).filter(|(got, want)| got == want).count();
            // Rounding may turn a gate logit that is almost 0, or almost another.
            let turned = want.len() - same;
            assert!(turned <= 2, "{estimator:?}, batch norm {batch_norm}: {turned} gates differ");
        }
    }
}

#[test]
fn batch_norm_in_the_gater_normalises_the_bottleneck() {
    let plain = build(tiny());
    let mut config = tiny();
    config.gater.batch_norm = true;
    let model = build(config);
    let names: Vec<_> = model.gater().state().into_iter().map(|(name, _)| name).collect();
    assert!(names.contains(&"fnn.bn.running_var".to_owned()), "{names:?}");
    // Weight and bias of the 8 blocks; all others are drawn as without.
    assert_eq!(model.parameter_count(), plain.parameter_count() + 16);
    let images = images(8, 16);
    let output = model.forward(&images, &mut Ctx::train(0)).expect("they fit");
    let without = plain.forward(&images, &mut Ctx::train(0)).expect("they fit");
    assert_ne!(output.gate_logits.data(), without.gate_logits.data());
    let gradients = model.loss(&output, &[0; 8]).and_then(|loss| loss.total.backward());
    let gradients = gradients.expect("a scalar");
    for (name, parameter) in model.parameters() {
        let gradient = gradients.get(&parameter).unwrap_or_else(|error| panic!("{name}: {error}"));
        let moves =
            name.starts_with("gater.fnn.bn").then(|| gradient.data().iter().any(|g| *g != 0.0));
        assert_ne!(moves, Some(false), "{name} has no gradient");
    }
    let one = Tensor::randn([1, 3, 16, 16], 1.0, Ctx::train(1).rng()).expect("small");
    let error = model.forward(&one, &mut Ctx::train(0)).expect_err("one image").to_string();
    assert!(error.contains("2 images or more in training"), "{error}");
    assert!(error.contains("without batch_norm, got (1, 3, 16, 16)"), "{error}");
    model.forward(&one, &mut Ctx::eval()).expect("evaluation has running statistics");
    plain.forward(&one, &mut Ctx::train(0)).expect("maps have more than 1 value per channel");
}

#[test]
fn a_term_that_has_faded_costs_nothing() {
    let shaping = GateTerm {
        fades_over: Some(0.5),
        ..GateTerm::new(GateLoss::BatchShaping { a: 0.6, b: 0.4 }, 1.0)
    };
    let model = build(tiny()).with_gate_losses(vec![shaping]).expect("in range");
    let gate_loss = |step| {
        let mut ctx = Ctx::train(0).with_progress(step, 4);
        let output = model.forward(&images(8, 16), &mut ctx).expect("they fit");
        let loss = model.loss(&output, &[0; 8]).expect("a label each");
        let item = |loss: &Tensor| loss.item().expect("a scalar");
        assert_eq!(item(&loss.total), item(&loss.cross_entropy) + item(&loss.gates));
        item(&loss.gates)
    };
    let [first, second, third] = [0, 1, 2].map(gate_loss);
    assert!((second - first / 2.0).abs() < 1e-3 * first && first > 0.0, "{first}, {second}");
    assert_eq!(third, 0.0);
    let bad = GateTerm { weight: -1.0, ..shaping };
    assert!(build(tiny()).with_gate_losses(vec![bad]).is_err());
    assert!(build(tiny()).with_estimator(Estimator::TopK { density: 2.0 }).is_err());
}
