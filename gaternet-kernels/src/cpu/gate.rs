//! One gate per plane: `y[n, c] = gate[n, c]·x[n, c]`, and +0 where the gate is 0, by selection:
//! whatever x holds there, NaN included, does not show.

use super::isa::{Isa, dispatch};
use super::parallel::for_runs;
use super::reduce::{BLOCK, sums_along};
use crate::dims::{PlaneDims, checked_len};
use crate::error::{Result, check_len};

/// Computes y (N, C, H, W) of x (N, C, H, W) and gates (N, C).
///
/// # Errors
/// [`KernelError`](crate::KernelError) if a length does not fit `dims`.
pub fn forward(isa: Isa, dims: PlaneDims, x: &[f32], gates: &[f32], y: &mut [f32]) -> Result<()> {
    check("gate::forward", dims, gates, [("x", x.len()), ("y", y.len())])?;
    gate_planes(isa, dims, x, gates, y);
    Ok(())
}

/// Computes the gradients that are asked for: that of x, (N, C, H, W), and that of the gates, (N,
/// C), which is the sum of `grad_y·x` over the plane, also where a gate is 0.
///
/// # Errors
/// [`KernelError`](crate::KernelError) if a length does not fit `dims`.
pub fn backward(
    isa: Isa,
    dims: PlaneDims,
    x: &[f32],
    gates: &[f32],
    grad_y: &[f32],
    grad_x: Option<&mut [f32]>,
    grad_gates: Option<&mut [f32]>,
) -> Result<()> {
    let op = "gate::backward";
    check(op, dims, gates, [("x", x.len()), ("grad_y", grad_y.len())])?;
    if let Some(grad_x) = &grad_x {
        check_len(op, "grad_x", x.len(), grad_x.len())?;
    }
    if let Some(grad_gates) = &grad_gates {
        check_len(op, "grad_gates", gates.len(), grad_gates.len())?;
    }
    if let Some(grad_x) = grad_x {
        gate_planes(isa, dims, grad_y, gates, grad_x);
    }
    if let Some(grad_gates) = grad_gates {
        let plane = dims.plane;
        for_runs(grad_gates, 1, plane, |planes, products| {
            let at = planes.start * plane..planes.end * plane;
            let (x, grad_y) = (&x[at.clone()], &grad_y[at]);
            dispatch!(isa, plane_products(isa: Isa, plane: usize, x: &[f32], grad_y: &[f32], products: &mut [f32]));
        });
    }
    Ok(())
}

fn check(
    op: &'static str,
    dims: PlaneDims,
    gates: &[f32],
    whole: [(&'static str, usize); 2],
) -> Result<()> {
    let len = checked_len(op, &[dims.batch, dims.channels, dims.plane])?;
    for (buffer, got) in whole {
        check_len(op, buffer, len, got)?;
    }
    check_len(op, "gates", dims.batch * dims.channels, gates.len())
}

fn gate_planes(isa: Isa, dims: PlaneDims, x: &[f32], gates: &[f32], y: &mut [f32]) {
    let plane = dims.plane;
    for_runs(y, plane, plane, |planes, y| {
        let (x, gates) = (&x[planes.start * plane..planes.end * plane], &gates[planes]);
        dispatch!(isa, scale_planes(plane: usize, x: &[f32], gates: &[f32], y: &mut [f32]));
    });
}

#[inline(always)]
fn scale_planes(plane: usize, x: &[f32], gates: &[f32], y: &mut [f32]) {
    for ((y, x), &gate) in y.chunks_exact_mut(plane).zip(x.chunks_exact(plane)).zip(gates) {
        if gate == 0.0 {
            y.fill(0.0);
        } else {
            y.iter_mut().zip(x).for_each(|(y, x)| *y = gate * x);
        }
    }
}

#[inline(always)]
fn plane_products(isa: Isa, plane: usize, x: &[f32], grad_y: &[f32], products: &mut [f32]) {
    for (i, product) in products.iter_mut().enumerate() {
        let at = i * plane..(i + 1) * plane;
        let mut total = 0.0;
        for (x, grad) in x[at.clone()].chunks(BLOCK).zip(grad_y[at].chunks(BLOCK)) {
            total += sums_along(isa, 0.0, x, grad)[1];
        }
        *product = total as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference;
    use crate::testing::{assert_close, gate_patterns, plane_grid, values, widen};

    #[test]
    fn both_passes_agree_with_the_reference() {
        for isa in Isa::available() {
            for dims in plane_grid() {
                for (pattern, gates) in gate_patterns(dims) {
                    let what = (isa, dims, pattern);
                    let (x, grad) = (values(1, dims.len()), values(2, dims.len()));
                    let (x64, grad64, gates64) = (widen(&x), widen(&grad), widen(&gates));
                    let mut y = vec![7.0; dims.len()];
                    forward(isa, dims, &x, &gates, &mut y).expect("lengths fit");
                    let want = reference::gate::forward(dims, &x64, &gates64);
                    assert_close(what, &y, &want, 1e-6);

                    let mut of_x = vec![7.0; dims.len()];
                    let mut of_gates = vec![7.0; gates.len()];
                    let wanted = (Some(&mut of_x[..]), Some(&mut of_gates[..]));
                    backward(isa, dims, &x, &gates, &grad, wanted.0, wanted.1)
                        .expect("lengths fit");
                    let want = reference::gate::backward_x(dims, &gates64, &grad64);
                    assert_close(what, &of_x, &want, 1e-6);
                    let want = reference::gate::backward_gates(dims, &x64, &grad64);
                    assert_close(what, &of_gates, &want, 1e-4);
                }
            }
        }
    }

    #[test]
    fn an_off_gate_hides_nan_and_signs() {
        let dims = PlaneDims { batch: 1, channels: 3, plane: 20 };
        let mut x = vec![f32::NAN; 60];
        x[20..].fill(-1.0);
        for isa in Isa::available() {
            let mut y = vec![7.0; 60];
            forward(isa, dims, &x, &[0.0, -0.0, 1.0], &mut y).expect("lengths fit");
            assert!(y[..40].iter().all(|y| y.to_bits() == 0), "{isa}: {y:?}");
            assert_eq!(y[40..], [-1.0; 20], "{isa}");
        }
    }

    #[test]
    fn wrong_lengths_are_refused_and_nothing_is_written() {
        let isa = Isa::available()[0];
        let dims = PlaneDims { batch: 1, channels: 2, plane: 3 };
        let (right, wrong) = ([1.0; 6], [1.0; 5]);
        let mut out = [7.0; 6];
        assert!(forward(isa, dims, &wrong, &[1.0; 2], &mut out).is_err());
        assert!(forward(isa, dims, &right, &[1.0; 3], &mut out).is_err());
        assert!(forward(isa, dims, &right, &[1.0; 2], &mut out[..5]).is_err());
        assert!(backward(isa, dims, &right, &[1.0; 2], &wrong, Some(&mut out), None).is_err());
        let mut short = [7.0; 1];
        let wanted = (Some(&mut out[..]), Some(&mut short[..]));
        assert!(backward(isa, dims, &right, &[1.0; 2], &right, wanted.0, wanted.1).is_err());
        assert_eq!((out, short), ([7.0; 6], [7.0; 1]));
        let huge = PlaneDims { batch: usize::MAX, channels: 2, plane: 0 };
        assert!(forward(isa, huge, &[], &[], &mut []).is_err());
    }
}
