//! Off means exactly zero, and not computed.

use gaternet_core::gate::Gates;
use gaternet_core::nn::{Module, State};
use gaternet_core::{Ctx, Tensor};
use gaternet_models::{GatePlacement, GatedResNet, GatedResNetConfig};

const BATCH: usize = 3;

const PLACEMENTS: [GatePlacement; 3] =
    [GatePlacement::ResidualOutput, GatePlacement::Hidden, GatePlacement::All];

fn model(placement: GatePlacement) -> GatedResNet {
    let config = GatedResNetConfig { placement, ..GatedResNetConfig::cifar(20, 10) };
    let model = GatedResNet::new(config, 3).expect("valid");
    // Statistics and affine parameters as of a trained net: with those of a fresh one a mistake in
    // batch norm of a skipped plane would not show.
    let mut rng = Ctx::train(11);
    for (name, state) in model.state() {
        let noise = |tensor: &Tensor, rng: &mut Ctx| {
            Tensor::randn(tensor.shape(), 0.3, rng.rng()).expect("as large as the parameter")
        };
        match state {
            State::Parameter(p) if name.contains("bn") => {
                let noise = noise(&p.tensor(), &mut rng);
                p.update(|values| values.iter_mut().zip(noise.data()).for_each(|(v, n)| *v += n));
            }
            State::Buffer(b) => {
                let noise = noise(&b.tensor(), &mut rng);
                b.update(|values| {
                    values.iter_mut().zip(noise.data()).for_each(|(v, n)| *v += n.abs())
                });
            }
            _ => {}
        }
    }
    model
}

fn images() -> Tensor {
    Tensor::randn([BATCH, 3, 32, 32], 1.0, Ctx::train(5).rng()).expect("small")
}

/// Gates of every sample: none open, one in each unit, more than half, differing by sample, or all.
fn gates(model: &GatedResNet, density: usize) -> Gates {
    let plan = model.plan();
    let mut values = Vec::with_capacity(BATCH * plan.gates());
    for n in 0..BATCH {
        for slot in plan.slots() {
            for filter in 0..slot.columns.len() {
                let open = match density {
                    0 => false,
                    1 => filter == n,
                    2 => filter % 4 != 1 && (filter * 7 + n * 3) % 5 < 4,
                    _ => true,
                };
                values.push(f32::from(u8::from(open)));
            }
        }
    }
    let values = Tensor::new(values, [BATCH, plan.gates()]).expect("one row a sample");
    Gates::new(values, &plan.widths()).expect("the plan's widths")
}

fn bits(x: &Tensor) -> Vec<u32> {
    x.data().iter().map(|v| v.to_bits()).collect()
}

#[test]
fn skipping_and_masking_have_the_same_bits() {
    let images = images();
    for placement in PLACEMENTS {
        let model = model(placement);
        for density in 0..4 {
            let gates = gates(&model, density);
            let run = |skip, ctx: Ctx| {
                model.backbone_with_gates(&images, &gates, skip, &ctx).expect("they fit")
            };
            let skipped = bits(&run(true, Ctx::eval()));
            let what = format!("{placement:?}, density case {density}");
            assert_eq!(bits(&run(false, Ctx::eval())), skipped, "{what}");
            assert_eq!(
                bits(&run(false, Ctx::eval().with_grad())),
                skipped,
                "{what}, with gradients"
            );
        }
    }
}

#[test]
fn soft_gates_scale_alike_whether_the_others_are_skipped_or_not() {
    let images = images();
    for placement in PLACEMENTS {
        let model = model(placement);
        let hard = gates(&model, 2);
        let soft = hard.values().data().iter().enumerate().map(|(i, g)| g * (0.1 + (i % 7) as f32));
        let values = Tensor::new(soft.collect(), hard.values().shape()).expect("as many");
        let gates = Gates::new(values, &model.plan().widths()).expect("the plan's widths");
        let run = |skip, ctx: Ctx| {
            bits(&model.backbone_with_gates(&images, &gates, skip, &ctx).expect("they fit"))
        };
        let skipped = run(true, Ctx::eval());
        assert_eq!(run(false, Ctx::eval()), skipped, "{placement:?}");
        assert_eq!(run(false, Ctx::eval().with_grad()), skipped, "{placement:?}, with gradients");
    }
}

#[test]
fn evaluation_skips_and_a_gradient_pass_computes_the_same() {
    let images = images();
    for placement in PLACEMENTS {
        let model = model(placement);
        let skipped = model.forward(&images, &mut Ctx::eval()).expect("they fit");
        let masked = model.forward(&images, &mut Ctx::eval().with_grad()).expect("they fit");
        assert_eq!(skipped.logits.data(), masked.logits.data(), "{placement:?}");
        assert_eq!(skipped.gates.values().data(), masked.gates.values().data(), "{placement:?}");
        let density = skipped.gates.density();
        assert!(
            density > 0.0 && density < 1.0,
            "a test of skipping needs both kinds of gates: {density}"
        );
    }
}

#[test]
fn the_weights_of_a_filter_that_is_off_are_not_read() {
    let images = images();
    for placement in PLACEMENTS {
        let model = model(placement);
        let gates = gates(&model, 2);
        let run = || {
            let logits = model.backbone_with_gates(&images, &gates, true, &Ctx::eval());
            logits.expect("they fit").data().to_vec()
        };
        let clean = run();
        let poisoned = poison(&model, &gates);
        assert!(poisoned > 0, "no filter is off in every sample: the test would show nothing");
        assert_eq!(
            run(),
            clean,
            "{placement:?}: a NaN in {poisoned} closed filters reached the logits"
        );
    }
}

/// Makes NaN of every weight that only closed gates touch: of the filters that are off in all samples, and
/// in the convolutions that read them. Returns the number of such filters.
fn poison(model: &GatedResNet, gates: &Gates) -> usize {
    let parameters: std::collections::BTreeMap<_, _> = model.parameters().into_iter().collect();
    let mut poisoned = 0;
    for (conv, slots) in model.backbone().convs([32, 32]).iter().zip(model.plan().convs()) {
        let off = |slot: Option<usize>, filter: usize| {
            let live = slot.map(|slot| gates.live(slot).expect("a slot of the plan"));
            live.is_some_and(|live| (0..BATCH).all(|n| !live.row(n).contains(&(filter as u32))))
        };
        let taps = conv.kernel[0] * conv.kernel[1];
        parameters[&format!("backbone.{}.weight", conv.name)].update(|weight| {
            for (i, tap) in weight.chunks_exact_mut(taps).enumerate() {
                let (filter, channel) = (i / conv.in_channels, i % conv.in_channels);
                if off(slots.filters, filter) || off(slots.channels, channel) {
                    tap.fill(f32::NAN);
                }
            }
        });
        poisoned += (0..conv.out_channels).filter(|filter| off(slots.filters, *filter)).count();
    }
    poisoned
}

#[test]
fn open_gates_leave_the_plain_network() {
    let images = images();
    for placement in PLACEMENTS {
        let model = model(placement);
        let gated = model.backbone_with_gates(&images, &gates(&model, 3), true, &Ctx::eval());
        let plain = model.backbone().forward(&images, &Ctx::eval()).expect("they fit");
        assert_eq!(gated.expect("they fit").data(), plain.data(), "{placement:?}");
    }
}

#[test]
fn a_training_pass_refuses_to_skip() {
    let (model, images) = (model(GatePlacement::All), images());
    let gates = gates(&model, 2);
    let error = model.backbone_with_gates(&images, &gates, true, &Ctx::train(0));
    let text = error.expect_err("batch statistics need every filter").to_string();
    assert!(text.contains("skip = true"), "{text}");
}
