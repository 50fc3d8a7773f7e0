//! Softmax cross-entropy with smoothed labels, one or two for a sample: loss, gradient and number
//! of right answers.

use super::buffer::CudaBuffer;
use super::error::Result;
use super::launch::{Kernel, Launch, address, int};
use super::source::{Source, source};
use crate::dims::checked_len;
use crate::error::{KernelError, check_len};

pub(super) static SOURCE: Source = source!("cross_entropy.cu", ["reduce.cuh", "dev.cuh"]);
static SAMPLES: Kernel = Kernel { source: &SOURCE, name: "cross_entropy_samples" };
static SUMS: Kernel = Kernel { source: &SOURCE, name: "cross_entropy_sums" };

/// Of cross_entropy.cu: samples of a block.
const WARPS: u32 = 4;
const SUM_THREADS: u32 = 256;

/// What the logits (N, K) of a batch should say.
#[derive(Debug, Clone, Copy)]
pub struct Targets<'a> {
    /// (N): the class of each sample.
    pub labels: &'a CudaBuffer<i32>,
    /// Of blended samples, (N) and (1): another class, and the fraction of the first one.
    pub partners: Option<(&'a CudaBuffer<i32>, &'a CudaBuffer<f32>)>,
}

/// Where results go.
#[derive(Debug)]
pub struct Loss<'a> {
    /// (2): the mean loss, and how many labels have the largest logit of their sample (the first,
    /// if several are equal); of two labels, their fractions.
    pub result: &'a mut CudaBuffer<f32>,
    /// (2): to which the *sum* of the losses and that number are added, so that the host may look
    /// after many batches.
    pub totals: Option<&'a mut CudaBuffer<f32>>,
    /// At least 2·N.
    pub scratch: &'a mut CudaBuffer<f32>,
}

/// The mean over n of `-Σ_k t[n, k]·log softmax(logits[n])[k]` with `t = (1 -
/// label_smoothing)·(fraction·one_hot(labels) + (1 - fraction)·one_hot(partners)) + label_smoothing/K`,
/// of logits (N, K), and its gradient to the logits; without partners the fraction is 1. A label that
/// is not below K gives NaN.
///
/// # Errors
/// [`KernelError`] if there is no sample or class, the smoothing is not in [0, 1] or a length does
/// not fit; the driver's errors.
pub fn forward_backward(
    classes: usize,
    label_smoothing: f32,
    logits: &CudaBuffer<f32>,
    targets: Targets<'_>,
    grad_logits: Option<&mut CudaBuffer<f32>>,
    loss: Loss<'_>,
) -> Result<()> {
    const OP: &str = "cross_entropy";
    let Targets { labels, partners } = targets;
    let batch = labels.len();
    if batch == 0 || classes == 0 || !(0.0..=1.0).contains(&label_smoothing) {
        let rule = "there must be a sample and a class, and the smoothing must be in [0, 1]";
        let got = format!("{batch} samples, {classes} classes, smoothing {label_smoothing}");
        return Err(KernelError::Dims { op: OP, rule, got }.into());
    }
    let len = checked_len(OP, &[batch, classes])?;
    check_len(OP, "logits", len, logits.len())?;
    if let Some(grad) = &grad_logits {
        check_len(OP, "grad_logits", len, grad.len())?;
    }
    let (partners, fraction) = partners.unzip();
    check_len(OP, "partners", batch, partners.map_or(batch, CudaBuffer::len))?;
    check_len(OP, "fraction", 1, fraction.map_or(1, CudaBuffer::len))?;
    let Loss { result, totals, scratch } = loss;
    check_len(OP, "result", 2, result.len())?;
    check_len(OP, "totals", 2, totals.as_ref().map_or(2, |totals| totals.len()))?;
    check_len(OP, "scratch", 2 * batch, scratch.len().min(2 * batch))?;
    let (n, k) = (int(OP, "batch", 2 * batch)? / 2, int(OP, "classes", classes)?);
    let device = &result.device().clone();
    // Mirrors `Targets` of cross_entropy.cu.
    let raw = [address(Some(labels)), address(partners), address(fraction)];
    let launch = Launch::new(device, &SAMPLES)?
        .uses(Some(labels))
        .uses(partners)
        .uses(fraction)
        .read(logits)
        .value(&raw)
        .write_if(grad_logits)
        .write(scratch)
        .value(&n)
        .value(&k)
        .value(&label_smoothing);
    let blocks = n.cast_unsigned().div_ceil(WARPS);
    // SAFETY: the parameters of cross_entropy_samples; the lengths are checked, and labels are
    // before they are used.
    unsafe { launch.run([blocks, 1, 1], 32 * WARPS, 0)? };
    let launch = Launch::new(device, &SUMS)?.read(scratch).write(result).write_if(totals).value(&n);
    // SAFETY: the parameters of cross_entropy_sums; the lengths are checked.
    unsafe { launch.run([1, 1, 1], SUM_THREADS, 32) }
}
