//! The parameters of evaluation on the device: batch norm folded into the convolution before it.

use gaternet_core::nn::{BatchNorm2d, Conv2d, Linear};
use gaternet_kernels::cuda::batch_norm::{self, Affine, Epilogue, Stats};
use gaternet_kernels::cuda::layout::Rows;
use gaternet_kernels::cuda::{Activation, CudaBuffer, CudaDevice, Weight};
use gaternet_kernels::{Conv2dDims, PlaneDims};

use crate::cuda::Result;
use crate::ops::scale_shift;

/// The weight of a convolution, and the batch norm after it.
#[derive(Debug)]
pub(super) struct ConvWeights<T> {
    conv: Conv2d,
    norm: Option<BatchNorm2d>,
    dims: Conv2dDims,
    rows: Rows,
    pub(super) weight: Weight<T>,
    /// Scale and bias (F) of the batch norm after the sums: `scale·sum + bias`.
    pub(super) affine: Option<[CudaBuffer<f32>; 2]>,
}

impl<T: Activation> ConvWeights<T> {
    pub(super) fn new(
        device: &CudaDevice,
        conv: &Conv2d,
        norm: Option<&BatchNorm2d>,
        dims: &Conv2dDims,
        rows: Rows,
    ) -> Result<ConvWeights<T>> {
        let weight = conv.weight().tensor();
        Ok(ConvWeights {
            conv: conv.clone(),
            norm: norm.cloned(),
            dims: *dims,
            rows,
            weight: Weight::new(device, &rows.pack_weight(dims, weight.data()))?,
            affine: norm.map(|norm| upload(device, fold(norm))).transpose()?,
        })
    }

    /// Copies the weights that the model has now.
    pub(super) fn refresh(&mut self) -> Result<()> {
        let weight = self.conv.weight().tensor();
        self.weight.set(&self.rows.pack_weight(&self.dims, weight.data()))?;
        if let (Some(affine), Some(norm)) = (&mut self.affine, &self.norm) {
            set(affine, &fold(norm))?;
        }
        Ok(())
    }
}

/// A batch norm that follows no convolution: scale and shift.
#[derive(Debug)]
pub(super) struct NormWeights {
    host: BatchNorm2d,
    /// Scale and bias (C), for a batch norm with mean 0 and variance 1.
    affine: [CudaBuffer<f32>; 2],
    mean: CudaBuffer<f32>,
    var: CudaBuffer<f32>,
}

impl NormWeights {
    pub(super) fn new(device: &CudaDevice, bn: &BatchNorm2d) -> Result<NormWeights> {
        let channels = bn.weight().tensor().len();
        Ok(NormWeights {
            host: bn.clone(),
            affine: upload(device, fold(bn))?,
            mean: CudaBuffer::zeros(device, channels)?,
            var: CudaBuffer::from_slice(device, &vec![1.0; channels])?,
        })
    }

    pub(super) fn refresh(&mut self) -> Result<()> {
        set(&mut self.affine, &fold(&self.host))
    }

    /// Computes `y = relu(scale·x + bias)`.
    pub(super) fn run<T: Activation>(
        &self,
        dims: PlaneDims,
        relu: bool,
        x: &CudaBuffer<T>,
        y: &mut CudaBuffer<T>,
    ) -> Result<()> {
        let [weight, bias] = &self.affine;
        let affine = Affine { weight, bias, eps: 0.0 };
        let epilogue = Epilogue::default().with_relu(relu);
        let stats = Stats { mean: &self.mean, var: &self.var };
        Ok(batch_norm::forward_eval(dims, affine, epilogue, stats, x, y)?)
    }
}

/// A fully connected layer: weight (O, I), bias (O).
#[derive(Debug)]
pub(super) struct LinearWeights {
    host: Linear,
    pub(super) weight: CudaBuffer<f32>,
    pub(super) bias: CudaBuffer<f32>,
}

impl LinearWeights {
    pub(super) fn new(device: &CudaDevice, linear: &Linear) -> Result<LinearWeights> {
        Ok(LinearWeights {
            host: linear.clone(),
            weight: CudaBuffer::from_slice(device, linear.weight().tensor().data())?,
            bias: CudaBuffer::from_slice(device, linear.bias().tensor().data())?,
        })
    }

    pub(super) fn refresh(&mut self) -> Result<()> {
        self.weight.copy_from_slice(self.host.weight().tensor().data())?;
        Ok(self.bias.copy_from_slice(self.host.bias().tensor().data())?)
    }
}

/// Scale and bias of `bn(x) = scale·x + bias`.
fn fold(bn: &BatchNorm2d) -> [Vec<f32>; 2] {
    let (scale, shift) = scale_shift(bn);
    [scale, shift].map(|values| values.into_iter().map(|value| value as f32).collect())
}

fn upload(device: &CudaDevice, [scale, bias]: [Vec<f32>; 2]) -> Result<[CudaBuffer<f32>; 2]> {
    Ok([CudaBuffer::from_slice(device, &scale)?, CudaBuffer::from_slice(device, &bias)?])
}

fn set(affine: &mut [CudaBuffer<f32>; 2], values: &[Vec<f32>; 2]) -> Result<()> {
    for (buffer, values) in affine.iter_mut().zip(values) {
        buffer.copy_from_slice(values)?;
    }
    Ok(())
}
