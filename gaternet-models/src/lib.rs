//! Backbones, the gater that looks at the input first, and [`GatedResNet`], which runs only the filters that
//! the gater opens.
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

mod backbone;
mod budget;
mod calibration;
mod config;
mod conv_spec;
mod cost;
#[cfg(feature = "cuda")]
pub mod cuda;
mod gate_override;
mod gate_plan;
mod gate_rule;
mod gated_config;
mod gated_cost;
mod gated_net;
mod gater;
mod kept;
mod latency;
mod model;
mod network;
#[cfg(feature = "onnx")]
mod onnx;
mod parts;
mod plain_net;
mod plan;
mod static_part;
mod weights;

pub use calibration::Calibration;
pub use config::{BackboneConfig, BottleneckChannels, Family};
pub use conv_spec::{ConvRole, ConvSpec};
pub use cost::Cost;
pub use gate_override::GateOverride;
pub use gate_plan::{ConvSlots, GatePlacement, GatePlan, GateSlot};
pub use gated_config::{GatedConfig, GaterConfig};
pub use gated_net::{GatedNet, GatedOutput, GatedResNet, Loss};
pub use gater::Gater;
pub use gaternet_kernels::DType;
pub use latency::LatencyModel;
pub use model::Model;
pub use network::{ConvBuilder, Network, NetworkBuilder, Value};
pub use parts::{Part, WarmUp};
pub use plain_net::PlainNet;
pub use plan::{InferencePlan, PlanOptions};
pub use weights::Head;
