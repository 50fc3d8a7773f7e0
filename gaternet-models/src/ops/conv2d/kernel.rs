//! Convolutions of a plan: batch norm folded in, pruned, and masked where a plan does not skip.

use gaternet_core::Result;
use gaternet_core::nn::Conv2d;
use gaternet_kernels::cpu::conv2d::{Active, Epilogue, Method, PreparedConv2d};
use gaternet_kernels::{Conv2dDims, Isa};

use crate::gating::pruning::{KeptLayer, Pruning};
use crate::ops::scale_shift::fold;
use crate::plan::{BatchKernel, Lists, Operands, PlanContext, Planned, Samples, mask};

struct Kernel {
    conv: PreparedConv2d,
    lists: Lists,
}

pub(super) fn plan(conv: &Conv2d, at: &mut PlanContext<'_>) -> Result<Planned> {
    let weight = conv.weight().tensor().data().to_vec();
    let folded = fold(weight, conv.shape()[0], at.take_norm());
    let dims = dims(conv, at.options.batch, at.whole[0])?;
    // The algorithm is that of the whole convolution, so that pruning does not change a bit.
    let method = Method::choose(at.options.dtype, &dims);
    let conv = prepare(at.isa, method, &dims, folded, at.take_pruning())?;
    Ok(Planned::batch(Kernel { conv, lists: at.lists }))
}

/// Prepares the convolution with the filters and channels that pruning keeps.
fn prepare(
    isa: Isa,
    method: Method,
    dims: &Conv2dDims,
    (weight, bias): (Vec<f32>, Vec<f32>),
    kept: Pruning<'_>,
) -> Result<PreparedConv2d> {
    let ([h, w], [kh, kw]) = (dims.in_size(), dims.kernel());
    let weight = kept.weight(&weight, dims.in_channels(), dims.taps());
    let bias = kept.per_filter(&bias, 1);
    let [filters, channels] = kept.sizes([dims.out_channels(), dims.in_channels()]);
    let shape = [filters, channels, kh, kw];
    let dims = Conv2dDims::new([1, channels, h, w], shape, dims.stride(), dims.padding())?;
    Ok(match kept.filters {
        Some(KeptLayer { filters, compact: false, .. }) => {
            PreparedConv2d::of_filters(isa, method, &dims, filters, &weight, Some(&bias))?
        }
        _ => PreparedConv2d::with_method(isa, method, &dims, &weight, Some(&bias))?,
    })
}

impl BatchKernel for Kernel {
    fn run(&self, operands: &Operands<'_>, output: &mut [f32]) -> Result<()> {
        let list = |layer: Option<usize>| layer.map(|layer| &operands.active[layer]);
        let (filters, channels) = (list(self.lists.filters), list(self.lists.channels));
        let epilogue = Epilogue::default()
            .with_residual(operands.residual)
            .with_relu(operands.relu)
            .with_exclude_inactive(operands.skip_inactive);
        let all = Active::default();
        match filters {
            _ if !operands.masks => {
                let lists = all.with_filters(filters).with_channels(channels);
                self.convolve(operands, lists, epilogue, output)
            }
            None => self.convolve(operands, all, epilogue, output),
            Some(filters) => {
                self.convolve(operands, all, Epilogue::default(), output)?;
                mask(operands, Some(filters), output)
            }
        }
    }

    fn weight_bytes(&self) -> usize {
        self.conv.weight_bytes()
    }
}

impl Kernel {
    fn convolve(
        &self,
        operands: &Operands<'_>,
        active: Active<'_>,
        epilogue: Epilogue<'_>,
        output: &mut [f32],
    ) -> Result<()> {
        let input = operands.inputs.get(0);
        match operands.samples {
            Samples::Some(range) => {
                self.conv.forward_here(range.clone(), active, input, epilogue, output)?;
            }
            Samples::All(count) => self.conv.forward(*count, active, input, epilogue, output)?,
        }
        Ok(())
    }
}

pub(super) fn dims(
    conv: &Conv2d,
    batch: usize,
    [channels, h, w]: [usize; 3],
) -> Result<Conv2dDims> {
    let options = conv.options();
    let input = [batch, channels, h, w];
    Ok(Conv2dDims::new(input, conv.shape(), options.stride, options.padding)?)
}
