//! Gates for a model, and NaN for what they close.

use std::collections::BTreeMap;

use gaternet_core::Tensor;
use gaternet_core::gate::Gates;
use gaternet_core::nn::Module;
use gaternet_models::GatedResNet;

use crate::common::BATCH;

/// Gates of every sample: none open, one in each block, more than half, differing by sample, or
/// all.
pub(crate) fn gates(model: &GatedResNet, density: usize) -> Gates {
    let plan = model.plan();
    let mut values = Vec::with_capacity(BATCH * plan.gates());
    for n in 0..BATCH {
        for layer in plan.layers() {
            for filter in 0..layer.columns.len() {
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

/// Makes NaN of every weight that only closed gates touch: of the filters that are off in all
/// samples, and in the convolutions that read them. Returns the number of such filters.
pub(crate) fn poison(model: &GatedResNet, gates: &Gates) -> usize {
    let parameters: BTreeMap<_, _> = model.parameters().into_iter().collect();
    let mut poisoned = 0;
    let convs = model.backbone().convs([32, 32]).expect("32x32 fits");
    for (conv, conv_gates) in convs.iter().zip(model.plan().convs()) {
        let off = |layer: Option<usize>, filter: usize| {
            let active = layer.map(|layer| gates.active(layer).expect("a layer of the plan"));
            active
                .is_some_and(|active| (0..BATCH).all(|n| !active.row(n).contains(&(filter as u32))))
        };
        let taps = conv.kernel[0] * conv.kernel[1];
        parameters[&format!("backbone.{}.weight", conv.name)].update(|weight| {
            for (i, tap) in weight.chunks_exact_mut(taps).enumerate() {
                let (filter, channel) = (i / conv.in_channels, i % conv.in_channels);
                if off(conv_gates.filters, filter) || off(conv_gates.channels, channel) {
                    tap.fill(f32::NAN);
                }
            }
        });
        poisoned +=
            (0..conv.out_channels).filter(|filter| off(conv_gates.filters, *filter)).count();
    }
    poisoned
}
