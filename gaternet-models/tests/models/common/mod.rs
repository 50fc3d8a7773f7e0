//! A model as if it were trained, and images for it.

use gaternet_core::nn::{Module, State};
use gaternet_core::{Ctx, Tensor};
use gaternet_models::{BackboneConfig, GatePlacement, GatedConfig, GatedResNet};

pub(crate) mod closed;
pub(crate) mod families;

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

pub(crate) const PLACEMENTS: [GatePlacement; 3] =
    [GatePlacement::BlockOutput, GatePlacement::Inner, GatePlacement::All];

/// Every placement on a ResNet-20 and on a small Wide ResNet, and all gates on every other family.
pub(crate) fn cases() -> impl Iterator<Item = Case> {
    let wide = BackboneConfig::wide_resnet(10, 2, 10);
    let on = move |placement: GatePlacement| [placement.into(), Case { backbone: wide, placement }];
    let all = |backbone| Case { backbone, placement: GatePlacement::All };
    PLACEMENTS.into_iter().flat_map(on).chain(families(10).into_iter().map(all))
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
