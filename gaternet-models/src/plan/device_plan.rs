//! One plan, on the processor or on a GPU.

use std::fmt;

use gaternet_core::{Error, Result, Tensor};
#[cfg(feature = "cuda")]
use gaternet_kernels::DType;
use gaternet_kernels::Device;
#[cfg(feature = "cuda")]
use gaternet_kernels::cuda::augment::{Augment, Images};
#[cfg(feature = "cuda")]
use gaternet_kernels::cuda::bf16;

use super::OP;
#[cfg(feature = "cuda")]
use super::gpu::Gpu;
use super::inference_plan::InferencePlan;
use super::options::PlanOptions;
use super::pass::Pass;
use crate::files::model::Model;

/// A model's evaluation pass on a [`Device`]: on the processor an [`InferencePlan`]; on a GPU
/// kernels that run one call after the other.
///
/// ```
/// # use gaternet_core::{Ctx, Tensor};
/// # use gaternet_kernels::Device;
/// # use gaternet_models::{GatedConfig, GatedNet, Model, Plan, PlanOptions};
/// let model = Model::Gated(GatedNet::new(GatedConfig::cifar(8, 10), 0)?.into());
/// let plan = Plan::new(&model, PlanOptions::default(), &Device::best())?;
/// let images = Tensor::randn([2, 3, 32, 32], 1.0, Ctx::train(1).rng())?;
/// assert_eq!(plan.forward(&images)?.dims(), [2, 10]);
/// # Ok::<(), gaternet_core::Error>(())
/// ```
pub struct Plan(Box<dyn Pass>);

impl Plan {
    /// Plans for images of the size that the options say. On a GPU inactive filters are always left
    /// out, whatever [`PlanOptions::skip`] says, and more images than [`PlanOptions::batch`] take
    /// several passes.
    ///
    /// # Errors
    /// The errors of [`InferencePlan::new`]; [`Error::Device`] if a layer has no kernel on the GPU
    /// or the GPU fails.
    pub fn new(model: &Model, options: PlanOptions, device: &Device) -> Result<Plan> {
        #[cfg(feature = "cuda")]
        if let Device::Cuda(device) = device {
            return Ok(match options.dtype {
                DType::F32 => Plan(Box::new(Gpu::<f32>::new(device, model, options)?)),
                DType::Bf16 => Plan(Box::new(Gpu::<bf16>::new(device, model, options)?)),
            });
        }
        debug_assert!(matches!(device, Device::Cpu), "no other device can be opened");
        Ok(Plan(Box::new(InferencePlan::new(model, options)?)))
    }

    /// Number of gates, c; 0 without a gater.
    #[must_use]
    pub fn gate_count(&self) -> usize {
        self.0.gate_count()
    }

    /// Number of classes, the width of the output layer.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.0.classes()
    }

    /// Logits (N, classes) of `images` (N, C, H, W).
    ///
    /// # Errors
    /// [`Error::Shape`] if a length is not that of N images or a pixel is not finite; errors of the
    /// GPU.
    pub fn run(&self, images: &[f32], logits: &mut [f32]) -> Result<()> {
        self.0.run(images, logits)
    }

    /// Runs as [`run`](Self::run) and also writes the gates (N, c), 0 or 1, that the gater decided
    /// on.
    ///
    /// # Errors
    /// The errors of [`run`](Self::run).
    pub fn run_with_decisions(
        &self,
        images: &[f32],
        logits: &mut [f32],
        gates: &mut [f32],
    ) -> Result<()> {
        self.0.run_with_decisions(images, logits, gates)
    }

    /// Logits (N, classes) of a tensor of images (N, C, H, W) of the plan's size, in no graph.
    ///
    /// # Errors
    /// The errors of [`run`](Self::run), also if the images are of another size.
    pub fn forward(&self, images: &Tensor) -> Result<Tensor> {
        forward(&*self.0, images)
    }

    /// Runs as [`run_with_decisions`](Self::run_with_decisions) on the images with these `numbers`
    /// (N) in a data set on the GPU, normalised by its augmentation.
    ///
    /// # Errors
    /// The errors of [`CudaPlan::run_on`](crate::cuda::CudaPlan::run_on); [`Error::Config`] if the
    /// plan is on the processor.
    #[cfg(feature = "cuda")]
    pub fn run_on(
        &self,
        images: (&Images, &Augment),
        numbers: &[usize],
        logits: &mut [f32],
        gates: &mut [f32],
    ) -> Result<()> {
        self.0.run_on(images, numbers, logits, gates)
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Pass for InferencePlan {
    fn image(&self) -> [usize; 3] {
        InferencePlan::image(self)
    }

    fn classes(&self) -> usize {
        InferencePlan::classes(self)
    }

    fn gate_count(&self) -> usize {
        InferencePlan::gate_count(self)
    }

    fn run(&self, images: &[f32], logits: &mut [f32]) -> Result<()> {
        InferencePlan::run(self, images, logits)
    }

    fn run_with_decisions(
        &self,
        images: &[f32],
        logits: &mut [f32],
        gates: &mut [f32],
    ) -> Result<()> {
        InferencePlan::run_with_decisions(self, images, logits, gates)
    }
}

impl InferencePlan {
    /// Logits (N, classes) of a tensor of images (N, C, H, W) of the plan's size, in no graph, as
    /// by [`run`](Self::run).
    ///
    /// # Errors
    /// The errors of [`run`](Self::run), also if the images are of another size.
    pub fn forward(&self, images: &Tensor) -> Result<Tensor> {
        forward(self, images)
    }
}

fn forward(plan: &dyn Pass, images: &Tensor) -> Result<Tensor> {
    let [c, h, w] = plan.image();
    match *images.dims() {
        [batch, ref sample @ ..] if *sample == [c, h, w] => {
            let mut logits = vec![0.0; batch * plan.classes()];
            plan.run(images.data(), &mut logits)?;
            Tensor::new(logits, [batch, plan.classes()])
        }
        _ => {
            let got = format!("{}: the plan is for (N, {c}, {h}, {w})", images.shape());
            Err(Error::Shape { op: OP, rule: "the images must be of the plan's size", got })
        }
    }
}
