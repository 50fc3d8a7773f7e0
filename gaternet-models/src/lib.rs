//! Backbones, the gater that looks at the input first, and [`GatedResNet`], which runs only the
//! filters whose gates the gater opens.
//!
//! ```
//! use gaternet_core::{Ctx, Tensor, optim::{Optimizer, Sgd, SgdConfig}, nn::Module};
//! use gaternet_models::{GatedResNet, GatedConfig};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let model = GatedResNet::new(GatedConfig::cifar(20, 10), 0)?;
//! let mut sgd = Sgd::new(model.parameters(), SgdConfig::default())?;
//! let (images, labels) = (Tensor::randn([2, 3, 32, 32], 1.0, Ctx::train(1).rng())?, [3, 7]);
//!
//! let output = model.forward(&images, &mut Ctx::train(2))?; // noisy gates, batch statistics
//! let loss = model.loss(&output, &labels)?; // cross-entropy + 0.1 · mean gate
//! sgd.step(&loss.total.backward()?)?;
//!
//! let output = model.forward(&images, &mut Ctx::eval())?; // closed filters are not computed
//! println!("{} of {} gates open", output.gates.density(), model.plan().gates());
//! # let dir = tempfile::tempdir()?; let path = dir.path().join("model.safetensors");
//! model.save(&path, &Default::default())?;
//! let again = GatedResNet::load(&path)?;
//! # assert_eq!(again.forward(&images, &mut Ctx::eval())?.logits.data(), output.logits.data());
//! # Ok(()) }
//! ```
#![forbid(unsafe_code)]

mod cost;
#[cfg(feature = "cuda")]
pub mod cuda;
mod files;
mod gating;
mod network;
mod networks;
#[cfg(feature = "onnx")]
mod onnx;
mod ops;
mod plan;
mod program;
pub mod train;

pub use cost::latency::LatencyModel;
pub use cost::{ConvMacs, ConvTime, Cost, LatencyCosts, MacCosts, Time, TimeTable};
pub use files::model::Model;
pub use files::weights::Head;
pub use gaternet_kernels::DType;
pub use gating::calibration::Calibration;
pub use gating::gate_loss::{GateLoss, GateLossInput};
pub use gating::gate_override::GateOverride;
pub use gating::gate_plan::{ConvGates, GatePlacement, GatePlan, GatedLayer};
pub use gating::gate_term::GateTerm;
pub use gating::gated_config::{GatedConfig, GaterConfig};
pub use gating::gated_net::{GatedNet, GatedOutput, GatedResNet, Loss};
pub use gating::gater::Gater;
pub use gating::parts::{Part, WarmUp};
pub use gating::pruning::Pruning;
pub use network::{ConvBuilder, ConvRole, ConvSpec, Network, NetworkBuilder, OpBuilder, Value};
pub use networks::config::{BackboneConfig, BottleneckChannels, Family};
pub use networks::names::ModelName;
pub use networks::plain_net::PlainNet;
#[cfg(feature = "onnx")]
pub use onnx::OnnxStep;
pub use ops::{Filters, Op, Reads};
pub use plan::{InferencePlan, Inputs, Plan, PlanContext, PlanOptions, Planned, SampleKernel};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
