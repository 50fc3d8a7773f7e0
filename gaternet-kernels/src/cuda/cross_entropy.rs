//! Softmax cross-entropy with smoothed labels, one or two for a sample: loss, gradient and number
//! of correct predictions.

use super::buffer::CudaBuffer;
use super::error::Result;
use super::launch::{Kernel, Launch, address, int};
use super::source::{Source, source};
use crate::dims::checked_len;
use crate::error::{KernelError, check_len};

pub(super) static SOURCE: Source = source!("cross_entropy.cu", ["reduce.cuh", "dev.cuh"]);
static SAMPLES: Kernel = Kernel { source: &SOURCE, name: "cross_entropy_samples" };
static SUMS: Kernel = Kernel { source: &SOURCE, name: "cross_entropy_sums" };

/// The samples of a block in cross_entropy.cu.
const WARPS: u32 = 4;
const SUM_THREADS: u32 = 256;

/// The classes that the logits (N, K) of a batch should predict.
#[derive(Debug, Clone, Copy)]
pub struct Targets<'a> {
    /// The class of each sample, (N).
    pub labels: &'a CudaBuffer<i32>,
    /// For blended samples, the second class of each, (N), and the fraction of the first one, (1).
    pub partners: Option<(&'a CudaBuffer<i32>, &'a CudaBuffer<f32>)>,
}

/// The buffers that results go to.
#[derive(Debug)]
pub struct Loss<'a> {
    /// (2): the mean loss, and the number of correct predictions, which are samples whose label has
    /// the largest logit (the first, if several are equal). Of two labels each counts by its
    /// fraction.
    pub result: &'a mut CudaBuffer<f32>,
    /// (2): the *sum* of the losses and the number of correct predictions are added to it, so that
    /// the host need not look after every batch.
    pub totals: Option<&'a mut CudaBuffer<f32>>,
    /// Scratch of at least 2·N values.
    pub scratch: &'a mut CudaBuffer<f32>,
}

/// Computes the mean over n of `-Σ_k t[n, k]·log softmax(logits[n])[k]` with
/// `t = (1 - label_smoothing)·(fraction·one_hot(labels) + (1 - fraction)·one_hot(partners)) +
/// label_smoothing/K`,
/// for logits (N, K), and its gradient with respect to the logits, (N, K). Without partners the
/// fraction is 1. A label that is not below K gives NaN.
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
