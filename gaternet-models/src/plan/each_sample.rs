//! Ops that compute one sample at a time, with what follows them in their step.

use gaternet_core::Result;
use gaternet_core::nn::BatchNorm2d;
use gaternet_kernels::cpu::elementwise;

use super::kernel::{BatchKernel, Inputs, Lists, Operands, SampleKernel};
use super::mask::{close, rectify};
use crate::gating::pruning::Pruning;
use crate::ops::scale_shift;

/// A kernel that computes `relu(gate · norm(op(inputs)) + residual)` sample by sample.
pub(super) struct EachSample {
    op: Box<dyn SampleKernel>,
    /// Scale and shift of each channel, from the batch norm.
    norm: Option<(Vec<f32>, Vec<f32>)>,
    lists: Lists,
}

impl EachSample {
    pub(super) fn new(
        op: Box<dyn SampleKernel>,
        norm: Option<&BatchNorm2d>,
        pruning: Pruning<'_>,
        lists: Lists,
    ) -> EachSample {
        let kept = |values: Vec<f64>| {
            let values: Vec<f32> = values.into_iter().map(|value| value as f32).collect();
            pruning.per_filter(&values, 1)
        };
        let norm = norm.map(scale_shift).map(|(scale, shift)| (kept(scale), kept(shift)));
        EachSample { op, norm, lists }
    }
}

impl BatchKernel for EachSample {
    fn run(&self, operands: &Operands<'_>, output: &mut [f32]) -> Result<()> {
        let Operands { isa, samples, inputs, residual, relu, skip_inactive, masks, .. } = *operands;
        let count = samples.count();
        let active = self.lists.filters.map(|layer| &operands.active[layer]);
        let len = output.len() / count;
        samples.try_for_each(len, output, |n, output| {
            let sample = |values: &'_ [f32]| {
                let len = values.len() / count;
                n * len..(n + 1) * len
            };
            let input = |i: usize| {
                let values = inputs.get(i);
                &values[sample(values)]
            };
            let row = active.map(|active| active.row(samples.first() + n));
            let computed = row.filter(|_| !masks);
            self.op.run(Inputs::new(inputs.count(), &input), computed, output)?;
            if let Some((scale, shift)) = &self.norm {
                let plane = output.len() / scale.len();
                for (channel, y) in output.chunks_exact_mut(plane).enumerate() {
                    let (scale, shift) = (scale[channel], shift[channel]);
                    y.iter_mut().for_each(|y| *y = *y * scale + shift);
                }
            }
            if let (Some(row), Some(active), false) = (row, active, skip_inactive) {
                close(row, active.filters(), output);
            }
            if let Some(residual) = residual {
                elementwise::add_assign(isa, output, &residual[sample(residual)])?;
            }
            if relu {
                rectify(output);
            }
            Ok(())
        })
    }

    fn weight_bytes(&self) -> usize {
        self.op.weight_bytes()
    }
}
