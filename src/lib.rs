#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

#[cfg(feature = "cli")]
pub mod cli;

pub use gaternet_core as core;
pub use gaternet_core::{
    Backward, Buffer, Ctx, Error, Parameter, Result, Shape, Tensor, checkpoint, data, gate, nn,
    ops, optim,
};
pub use gaternet_kernels as kernels;
pub use gaternet_kernels::Device;
pub use gaternet_models as models;
pub use gaternet_models::{
    BackboneConfig, Calibration, ConvRole, Cost, DType, Family, GatePlacement, GatePlan,
    GatedConfig, GatedNet, GatedOutput, GatedResNet, GaterConfig, InferencePlan, LatencyModel,
    Loss, Model, Network, NetworkBuilder, Op, PlainNet, Plan, PlanOptions,
};

/// What most programs use: `use gaternet::prelude::*;`.
///
/// ```
/// use gaternet::prelude::*;
///
/// # fn main() -> gaternet::Result<()> {
/// let model = GatedResNet::new(GatedConfig::cifar(8, 10), 0)?;
/// let plan = InferencePlan::gated(&model, PlanOptions::default())?;
/// let images = Tensor::randn([2, 3, 32, 32], 1.0, Ctx::train(1).rng())?;
/// assert_eq!(plan.forward(&images)?.dims(), [2, 10]);
/// # Ok(()) }
/// ```
pub mod prelude {
    pub use gaternet_core::data::{Augment, Dataset, Loader, LoaderConfig};
    pub use gaternet_core::nn::Module;
    pub use gaternet_core::optim::{Optimizer, Sgd, SgdConfig};
    pub use gaternet_core::{Ctx, Tensor};
    pub use gaternet_kernels::Device;
    pub use gaternet_models::{
        BackboneConfig, ConvRole, GatePlacement, GatedConfig, GatedNet, GatedResNet, GaterConfig,
        InferencePlan, Model, Network, NetworkBuilder, PlainNet, Plan, PlanOptions,
    };
}

#[cfg(doctest)]
#[doc = include_str!("../docs/extending.md")]
struct Extending;

#[cfg(doctest)]
#[doc = include_str!("../docs/serving.md")]
struct Serving;
