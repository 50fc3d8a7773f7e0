//! A model as if it were trained, and gates for it.

use std::collections::BTreeMap;

use gaternet_core::gate::Gates;
use gaternet_core::nn::{Module, State};
use gaternet_core::{Ctx, Tensor};
use gaternet_models::{BackboneConfig, GatePlacement, GatedConfig, GatedResNet};

mod families;

use families::families;

pub(crate) const BATCH: usize = 3;

/// A backbone and where its gates are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    backbone: BackboneConfig,
    placement: GatePlacement,
}

/// On a ResNet-20.
impl From<GatePlacement> for Case {
    fn from(placement: GatePlacement) -> Case {
        Case { backbone: BackboneConfig::resnet(20, 10), placement }
    }
}

/// Every placement on a ResNet-20 and on a small Wide ResNet, and all gates on every other family.
pub(crate) fn cases() -> impl Iterator<Item = Case> {
    let placements = [GatePlacement::ResidualOutput, GatePlacement::Hidden, GatePlacement::All];
    let wide = BackboneConfig::wide_resnet(10, 2, 10);
    let on = move |placement: GatePlacement| [placement.into(), Case { backbone: wide, placement }];
    let all = |backbone| Case { backbone, placement: GatePlacement::All };
    placements.into_iter().flat_map(on).chain(families(10).into_iter().map(all))
}

pub(crate) fn model(case: impl Into<Case>) -> GatedResNet {
    let Case { backbone, placement } = case.into();
    let config = GatedConfig { placement, ..GatedConfig::new(backbone) };
    let model = GatedResNet::new(config, 3).expect("valid");
    // Statistics and affine parameters as of a trained net: with those of a fresh one a mistake in
    // batch norm of a skipped plane would not show.
    let mut rng = Ctx::train(11);
    for (name, state) in model.state() {
        let noise = |tensor: &Tensor, rng: &mut Ctx| {
            Tensor::randn(tensor.shape(), 0.3, rng.rng()).expect("as large as the parameter")
        };
        match state {
            State::Parameter(p) if name.contains("bn") || name.contains("norm") => {
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

pub(crate) fn images() -> Tensor {
    Tensor::randn([BATCH, 3, 32, 32], 1.0, Ctx::train(5).rng()).expect("small")
}

/// Gates of every sample: none open, one in each unit, more than half, differing by sample, or all.
pub(crate) fn gates(model: &GatedResNet, density: usize) -> Gates {
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

/// Makes NaN of every weight that only closed gates touch: of the filters that are off in all samples, and
/// in the convolutions that read them. Returns the number of such filters.
pub(crate) fn poison(model: &GatedResNet, gates: &Gates) -> usize {
    let parameters: BTreeMap<_, _> = model.parameters().into_iter().collect();
    let mut poisoned = 0;
    let convs = model.backbone().convs([32, 32]).expect("32x32 fits");
    for (conv, slots) in convs.iter().zip(model.plan().convs()) {
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
