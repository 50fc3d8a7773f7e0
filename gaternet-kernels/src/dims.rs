//! Sizes of the ops. The output-size formula of convolutions and pools is here only.

use crate::error::{KernelError, Result};

/// Sizes of a 2-D convolution (cross-correlation, as in PyTorch; groups = 1).
///
/// The input is (N, C, H, W), the weight (F, C, KH, KW) and the output (N, F, OH, OW) with
/// `OH = (H + 2·padding - KH) / stride + 1` (rounded down), OW alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv2dDims {
    batch: usize,
    in_channels: usize,
    in_size: [usize; 2],
    out_channels: usize,
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
}

impl Conv2dDims {
    /// Makes the sizes of a convolution: `input` is (N, C, H, W), `weight` is (F, C, KH, KW);
    /// `stride` and `padding` are (height, width).
    ///
    /// # Errors
    /// [`KernelError::Dims`] if the channels differ, a stride or kernel side is 0, the kernel is
    /// larger than the padded input, or a buffer would not fit in the address space.
    pub fn new(
        input: [usize; 4],
        weight: [usize; 4],
        stride: [usize; 2],
        padding: [usize; 2],
    ) -> Result<Conv2dDims> {
        let fail = |rule, got| Err(KernelError::Dims { op: "conv2d", rule, got });
        let [batch, in_channels, h, w] = input;
        let [out_channels, weight_channels, kh, kw] = weight;
        if in_channels != weight_channels {
            return fail(
                "the weight's channels must be the input's channels",
                format!("input {input:?} and weight {weight:?}"),
            );
        }
        if stride.contains(&0) || kh == 0 || kw == 0 {
            return fail(
                "stride and kernel must not be 0",
                format!("stride {stride:?}, kernel {:?}", [kh, kw]),
            );
        }
        // Every size below, padded scratch planes included, is a product of these: if the
        // product of all fits with room to spare, so does each.
        let extent = |size: usize, pad: usize| pad.checked_mul(2)?.checked_add(size);
        let padded = extent(h, padding[0]).zip(extent(w, padding[1]));
        let fits = padded.is_some_and(|(ph, pw)| {
            [batch.max(1), in_channels.max(out_channels).max(1), pw.max(1), ph.max(1), 64]
                .into_iter()
                .try_fold(1usize, usize::checked_mul)
                .is_some_and(|bytes| bytes < isize::MAX as usize)
                && [out_channels, in_channels, kh, kw, 64]
                    .into_iter()
                    .try_fold(1usize, usize::checked_mul)
                    .is_some_and(|bytes| bytes < isize::MAX as usize)
        });
        let Some((padded_h, padded_w)) = padded.filter(|_| fits) else {
            return fail(
                "the buffers must fit in the address space",
                format!("input {input:?}, weight {weight:?}, padding {padding:?}"),
            );
        };
        if kh > padded_h || kw > padded_w {
            return fail(
                "the kernel must not be larger than the padded input",
                format!("input {input:?}, weight {weight:?}, padding {padding:?}"),
            );
        }
        Ok(Conv2dDims {
            batch,
            in_channels,
            in_size: [h, w],
            out_channels,
            kernel: [kh, kw],
            stride,
            padding,
        })
    }

    /// Returns the same convolution for another number of samples.
    ///
    /// # Errors
    /// [`KernelError::Dims`] if a buffer would not fit in the address space.
    pub fn with_batch(&self, batch: usize) -> Result<Conv2dDims> {
        let [h, w] = self.in_size;
        let [kh, kw] = self.kernel;
        let weight = [self.out_channels, self.in_channels, kh, kw];
        Conv2dDims::new([batch, self.in_channels, h, w], weight, self.stride, self.padding)
    }

    /// Returns the batch size, N.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.batch
    }
    /// Returns the number of input channels, C.
    #[must_use]
    pub fn in_channels(&self) -> usize {
        self.in_channels
    }
    /// Returns the number of filters, F.
    #[must_use]
    pub fn out_channels(&self) -> usize {
        self.out_channels
    }
    /// Returns the size of the input, (H, W).
    #[must_use]
    pub fn in_size(&self) -> [usize; 2] {
        self.in_size
    }
    /// Returns the size of the kernel, (KH, KW).
    #[must_use]
    pub fn kernel(&self) -> [usize; 2] {
        self.kernel
    }
    /// Returns the stride, (height, width).
    #[must_use]
    pub fn stride(&self) -> [usize; 2] {
        self.stride
    }
    /// Returns the padding, (height, width).
    #[must_use]
    pub fn padding(&self) -> [usize; 2] {
        self.padding
    }
    /// Returns the size of the output, (OH, OW).
    #[must_use]
    pub fn out_size(&self) -> [usize; 2] {
        out_size(self.in_size, self.kernel, self.stride, self.padding)
    }
    /// Returns the pixels of an input plane, H·W.
    #[must_use]
    pub fn in_plane(&self) -> usize {
        self.in_size[0] * self.in_size[1]
    }
    /// Returns the pixels of an output plane, OH·OW.
    #[must_use]
    pub fn out_plane(&self) -> usize {
        let [h, w] = self.out_size();
        h * w
    }
    /// Returns the number of taps, KH·KW.
    #[must_use]
    pub fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }
    /// Returns the length of the input, N·C·H·W.
    #[must_use]
    pub fn input_len(&self) -> usize {
        self.batch * self.in_channels * self.in_plane()
    }
    /// Returns the length of the weight, F·C·KH·KW.
    #[must_use]
    pub fn weight_len(&self) -> usize {
        self.out_channels * self.in_channels * self.taps()
    }
    /// Returns the length of the output, N·F·OH·OW.
    #[must_use]
    pub fn output_len(&self) -> usize {
        self.batch * self.out_channels * self.out_plane()
    }
    /// Returns the multiply-accumulates of one sample with every filter and channel active,
    /// F·C·KH·KW·OH·OW.
    #[must_use]
    pub fn macs_per_sample(&self) -> u64 {
        self.weight_len() as u64 * self.out_plane() as u64
    }
}

/// Sizes of an op that treats every (sample, channel) plane alike: x (N, C, H, W) with
/// `plane = H·W`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlaneDims {
    /// The batch size, N.
    pub batch: usize,
    /// The number of channels, C.
    pub channels: usize,
    /// The pixels of a plane, H·W.
    pub plane: usize,
}

impl PlaneDims {
    /// Returns the length of x, N·C·H·W.
    #[must_use]
    pub fn len(&self) -> usize {
        self.batch * self.channels * self.plane
    }

    /// Returns whether there is no element.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Sizes of a 2-D pool.
///
/// The input is (N, C, H, W) and the output (N, C, OH, OW) with
/// `OH = (H + 2·padding - KH) / stride + 1` (rounded down), OW alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolDims {
    batch: usize,
    channels: usize,
    in_size: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
}

impl PoolDims {
    /// Makes the sizes of a pool: `input` is (N, C, H, W); `kernel`, `stride` and `padding` are
    /// (height, width).
    ///
    /// # Errors
    /// [`KernelError::Dims`] if a plane is empty, a stride or kernel side is 0, the padding is more
    /// than half the kernel (then a window could hold padding only), the kernel is larger than the
    /// padded input, or a buffer would not fit in the address space.
    pub fn new(
        input: [usize; 4],
        kernel: [usize; 2],
        stride: [usize; 2],
        padding: [usize; 2],
    ) -> Result<PoolDims> {
        let fail = |rule| {
            let got = format!(
                "input {input:?}, kernel {kernel:?}, stride {stride:?}, padding {padding:?}"
            );
            Err(KernelError::Dims { op: "pool2d", rule, got })
        };
        let [batch, channels, h, w] = input;
        if stride.contains(&0) || kernel.contains(&0) {
            return fail("stride and kernel must not be 0");
        }
        if h == 0 || w == 0 {
            return fail("the planes must not be empty");
        }
        if (0..2).any(|i| padding[i] > kernel[i] / 2) {
            return fail("the padding must be at most half the kernel");
        }
        // Room for the padded input, and for indices beyond its last window.
        let room = [batch, channels, h, w, 16];
        if checked_len("pool2d", &room).is_err() || kernel.iter().any(|&k| k > usize::MAX / 4) {
            return fail("the buffers must fit in the address space");
        }
        if kernel[0] > h + 2 * padding[0] || kernel[1] > w + 2 * padding[1] {
            return fail("the kernel must not be larger than the padded input");
        }
        Ok(PoolDims { batch, channels, in_size: [h, w], kernel, stride, padding })
    }

    /// Returns the batch size, N.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.batch
    }
    /// Returns the number of channels, C.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.channels
    }
    /// Returns the size of the input, (H, W).
    #[must_use]
    pub fn in_size(&self) -> [usize; 2] {
        self.in_size
    }
    /// Returns the size of the kernel, (KH, KW).
    #[must_use]
    pub fn kernel(&self) -> [usize; 2] {
        self.kernel
    }
    /// Returns the stride, (height, width).
    #[must_use]
    pub fn stride(&self) -> [usize; 2] {
        self.stride
    }
    /// Returns the padding, (height, width).
    #[must_use]
    pub fn padding(&self) -> [usize; 2] {
        self.padding
    }
    /// Returns the size of the output, (OH, OW).
    #[must_use]
    pub fn out_size(&self) -> [usize; 2] {
        out_size(self.in_size, self.kernel, self.stride, self.padding)
    }
    /// Returns the length of the input, N·C·H·W.
    #[must_use]
    pub fn input_len(&self) -> usize {
        self.batch * self.channels * self.in_size[0] * self.in_size[1]
    }
    /// Returns the length of the output, N·C·OH·OW.
    #[must_use]
    pub fn output_len(&self) -> usize {
        let [h, w] = self.out_size();
        self.batch * self.channels * h * w
    }
}

/// Sizes of a fully connected layer: x (N, I), weight (O, I), y (N, O).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinearDims {
    /// The batch size, N.
    pub batch: usize,
    /// The number of inputs, I.
    pub in_features: usize,
    /// The number of outputs, O.
    pub out_features: usize,
}

/// Returns how many positions of a window fit in the padded input, for each side.
fn out_size(
    in_size: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
) -> [usize; 2] {
    let side = |i: usize| (in_size[i] + 2 * padding[i] - kernel[i]) / stride[i] + 1;
    [side(0), side(1)]
}

/// Returns the product of `sizes`, which must be the length of an f32 buffer that fits in the
/// address space.
pub(crate) fn checked_len(op: &'static str, sizes: &[usize]) -> Result<usize> {
    // Every partial product must fit, so a 0 does not hide sizes that overflow.
    let product = sizes.iter().map(|&size| size.max(1)).try_fold(4usize, usize::checked_mul);
    if product.is_none_or(|bytes| bytes > isize::MAX as usize) {
        let got = format!("{sizes:?}");
        return Err(KernelError::Dims {
            op,
            rule: "the buffers must fit in the address space",
            got,
        });
    }
    Ok(sizes.iter().product())
}

/// Sizes of a padding: the planes before and after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PadDims {
    planes: usize,
    in_size: [usize; 2],
    out_size: [usize; 2],
    /// (top, left), the place in the output where the input starts.
    offset: [isize; 2],
}

impl PadDims {
    /// Makes the sizes for `planes` planes of `in_size` (H, W): `padding` is (left, right, top,
    /// bottom), as in `torch.nn.functional.pad`; a negative one crops.
    ///
    /// # Errors
    /// [`KernelError::Dims`] if nothing would be left of a side or a buffer would not fit in the
    /// address space.
    pub fn new(planes: usize, in_size: [usize; 2], padding: [isize; 4]) -> Result<PadDims> {
        let fail = |rule| {
            let got = format!("{planes} planes of {in_size:?}, padding {padding:?}");
            KernelError::Dims { op: "pad", rule, got }
        };
        let [left, right, top, bottom] = padding;
        let side = |size: usize, before: isize, after: isize| {
            size.checked_add_signed(before)?.checked_add_signed(after).filter(|&side| side > 0)
        };
        let out_size = side(in_size[0], top, bottom).zip(side(in_size[1], left, right));
        let Some((h, w)) = out_size else {
            return Err(fail("something must be left of every side"));
        };
        for [h, w] in [in_size, [h, w]] {
            checked_len("pad", &[planes, h, w])?;
        }
        Ok(PadDims { planes, in_size, out_size: [h, w], offset: [top, left] })
    }

    /// Returns the number of planes.
    #[must_use]
    pub fn planes(&self) -> usize {
        self.planes
    }

    /// Returns the size of the input, (H, W).
    #[must_use]
    pub fn in_size(&self) -> [usize; 2] {
        self.in_size
    }

    /// Returns (top, left), the place in the output where the input starts.
    #[must_use]
    pub fn offset(&self) -> [isize; 2] {
        self.offset
    }

    /// Returns the size of the output, (H, W).
    #[must_use]
    pub fn out_size(&self) -> [usize; 2] {
        self.out_size
    }

    /// Returns the sizes of the way back, which crops what this adds and fills what this crops.
    #[must_use]
    pub fn inverse(&self) -> PadDims {
        PadDims {
            planes: self.planes,
            in_size: self.out_size,
            out_size: self.in_size,
            offset: self.offset.map(|offset| -offset),
        }
    }

    /// Returns the length of the input.
    #[must_use]
    pub fn input_len(&self) -> usize {
        self.planes * self.in_size[0] * self.in_size[1]
    }

    /// Returns the length of the output.
    #[must_use]
    pub fn output_len(&self) -> usize {
        self.planes * self.out_size[0] * self.out_size[1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_that_do_not_fit_are_refused() {
        for (input, kernel, stride, padding) in [
            ([1, 1, 4, 4], [0, 2], [1, 1], [0, 0]),
            ([1, 1, 4, 4], [2, 2], [1, 0], [0, 0]),
            ([1, 1, 4, 4], [2, 5], [1, 1], [0, 0]),
            ([1, 1, 4, 4], [3, 3], [1, 1], [1, 2]),
            ([1, 1, 0, 4], [2, 2], [1, 1], [1, 1]),
            ([usize::MAX, 2, 4, 4], [2, 2], [1, 1], [0, 0]),
            ([1, 1, 4, 4], [usize::MAX, 2], [1, 1], [usize::MAX / 2, 0]),
        ] {
            let error = PoolDims::new(input, kernel, stride, padding).expect_err("invalid");
            assert!(error.to_string().contains("pool2d"), "{error}");
        }
    }
}
