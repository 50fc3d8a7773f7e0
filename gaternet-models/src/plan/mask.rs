//! Masking: zeros for the inactive filters of an output that has all of them.

use gaternet_core::Result;
use gaternet_kernels::ActiveFilters;
use gaternet_kernels::cpu::elementwise;

use super::kernel::Operands;

/// Computes `relu(gate · output + residual)` in place, where the gate of a filter is 1 if it is
/// active, else 0.
pub(crate) fn mask(
    operands: &Operands<'_>,
    active: Option<&ActiveFilters>,
    output: &mut [f32],
) -> Result<()> {
    let Operands { isa, samples, residual, relu, .. } = *operands;
    let len = output.len() / samples.count();
    samples.try_for_each(len, output, |sample, output| {
        if let Some(active) = active {
            close(active.row(samples.first() + sample), active.filters(), output);
        }
        if let Some(residual) = residual {
            elementwise::add_assign(isa, output, &residual[sample * len..(sample + 1) * len])?;
        }
        if relu {
            rectify(output);
        }
        Ok(())
    })
}

/// Sets the planes of all but the `active` of `filters` filters to 0.
pub(super) fn close(active: &[u32], filters: usize, output: &mut [f32]) {
    let plane = output.len() / filters;
    let mut next = 0;
    for &filter in active {
        output[next..filter as usize * plane].fill(0.0);
        next = (filter as usize + 1) * plane;
    }
    output[next..].fill(0.0);
}

/// Computes `max(0, y)` in place; NaN passes through.
pub(super) fn rectify(y: &mut [f32]) {
    y.iter_mut().for_each(|y| *y = if *y <= 0.0 { 0.0 } else { *y });
}
