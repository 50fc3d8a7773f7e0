//! The parameters of evaluation on the device: batch norm folded into the convolution before it.

use gaternet_core::nn::{BatchNorm2d, Linear};
use gaternet_kernels::cuda::batch_norm::{self, Affine, Epilogue, Stats};
use gaternet_kernels::cuda::layout::Rows;
use gaternet_kernels::cuda::{Activation, CudaBuffer, CudaDevice, Weight};
use gaternet_kernels::{Conv2dDims, PlaneDims};

use crate::cuda::Result;
use crate::network::ConvLayer;

/// A convolution.
#[derive(Debug)]
pub(super) struct ConvWeights<T> {
    layer: ConvLayer,
    dims: Conv2dDims,
    rows: Rows,
    pub(super) weight: Weight<T>,
    /// (F) each; what follows the sums of a batch norm: `scale·sum + bias`.
    pub(super) affine: Option<[CudaBuffer<f32>; 2]>,
}

impl<T: Activation> ConvWeights<T> {
    pub(super) fn new(
        device: &CudaDevice,
        layer: &ConvLayer,
        dims: &Conv2dDims,
        rows: Rows,
    ) -> Result<ConvWeights<T>> {
        let weight = layer.conv.weight().tensor();
        Ok(ConvWeights {
            layer: layer.clone(),
            dims: *dims,
            rows,
            weight: Weight::new(device, &rows.pack_weight(dims, weight.data()))?,
            affine: layer.bn.as_ref().map(|(_, bn)| upload(device, fold(bn))).transpose()?,
        })
    }

    /// What the model has now.
    pub(super) fn refresh(&mut self) -> Result<()> {
        let weight = self.layer.conv.weight().tensor();
        self.weight.set(&self.rows.pack_weight(&self.dims, weight.data()))?;
        if let (Some(affine), Some((_, bn))) = (&mut self.affine, &self.layer.bn) {
            set(affine, &fold(bn))?;
        }
        Ok(())
    }
}

/// Batch norm that follows no convolution: scale and shift.
#[derive(Debug)]
pub(super) struct NormWeights {
    host: BatchNorm2d,
    /// (C) each, with mean 0 and variance 1.
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

    /// `y = relu(scale·x + bias)`.
    pub(super) fn run<T: Activation>(
        &self,
        dims: PlaneDims,
        relu: bool,
        x: &CudaBuffer<T>,
        y: &mut CudaBuffer<T>,
    ) -> Result<()> {
        let [weight, bias] = &self.affine;
        let affine = Affine { weight, bias, eps: 0.0 };
        let epilogue = Epilogue { relu, ..Epilogue::default() };
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

/// `bn(x) = scale·x + bias`.
fn fold(bn: &BatchNorm2d) -> [Vec<f32>; 2] {
    let (weight, bias) = (bn.weight().tensor(), bn.bias().tensor());
    let (mean, var) = (bn.running_mean().tensor(), bn.running_var().tensor());
    let scale = |(&weight, &var): (&f32, &f32)| {
        (f64::from(weight) / (f64::from(var) + f64::from(bn.eps())).sqrt()) as f32
    };
    let scales: Vec<f32> = weight.data().iter().zip(var.data()).map(scale).collect();
    let shift = |((&bias, &mean), &scale): ((&f32, &f32), &f32)| bias - mean * scale;
    let shifts = bias.data().iter().zip(mean.data()).zip(&scales).map(shift).collect();
    [scales, shifts]
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
