//! [`Model`]: a plain or a gated network, whichever a file holds.

use std::collections::BTreeMap;
use std::path::Path;

use gaternet_core::checkpoint::Checkpoint;
use gaternet_core::gate::Gates;
use gaternet_core::nn::{Module, State};
use gaternet_core::{Ctx, Result, Tensor};

use super::checkpoint::{restore, unknown_kind};
use super::weights::{GATED, Head, PLAIN};
use crate::cost::Cost;
use crate::gating::gated_net::GatedNet;
use crate::networks::plain_net::PlainNet;

/// A model of any kind this crate can train, as a checkpoint names it.
#[derive(Debug, Clone)]
pub enum Model {
    /// A plain network, `model = plain` in the metadata.
    Plain(Box<PlainNet>),
    /// A gated network, `model = gated` in the metadata.
    Gated(Box<GatedNet>),
}

impl Model {
    /// Loads the model in a file written by `save`, whichever kind it is.
    ///
    /// # Errors
    /// If the file cannot be read or is no checkpoint, names no known model, or holds other tensors
    /// than that model has (missing, unexpected and misshapen ones listed together) or a NaN.
    pub fn load(path: impl AsRef<Path>) -> Result<Model> {
        let file = Checkpoint::open(path)?;
        match file.outline().metadata.get("model").map(String::as_str) {
            Some(PLAIN) => Ok(Model::Plain(Box::new(restore(file, PlainNet::like)?))),
            Some(GATED) => Ok(Model::Gated(Box::new(restore(file, GatedNet::like)?))),
            other => Err(unknown_kind(file.outline(), "plain or gated", other)),
        }
    }

    /// Loads the weights of a file written by `save`, whose model must be of the same kind and have
    /// the same tensors; with [`Head::Fresh`] all but the layer that computes the logits, so that
    /// the number of classes may differ.
    ///
    /// # Errors
    /// The errors of [`PlainNet::load_weights_with`] and [`GatedNet::load_weights_with`]; the
    /// weights are unchanged then.
    pub fn load_weights_with(&self, path: impl AsRef<Path>, head: Head) -> Result<()> {
        match self {
            Model::Plain(model) => model.load_weights_with(path, head),
            Model::Gated(model) => model.load_weights_with(path, head),
        }
    }

    /// Logits (N, classes) of `images` (N, C, H, W), and the gates of a gated model.
    ///
    /// # Errors
    /// If the images do not fit the network.
    pub fn forward(&self, images: &Tensor, ctx: &mut Ctx) -> Result<(Tensor, Option<Gates>)> {
        match self {
            Model::Plain(model) => Ok((model.forward(images, ctx)?, None)),
            Model::Gated(model) => {
                let output = model.forward(images, ctx)?;
                Ok((output.logits, Some(output.gates)))
            }
        }
    }

    /// MACs for one image of `size` (H, W) with the gates of a batch, as [`forward`](Self::forward)
    /// returns them.
    ///
    /// # Errors
    /// If images of this size do not fit, or the gates are not of this model.
    pub fn cost(&self, size: [usize; 2], gates: Option<&Gates>) -> Result<Cost> {
        match (self, gates) {
            (Model::Plain(model), _) => model.cost(size),
            (Model::Gated(model), Some(gates)) => model.cost(size, gates),
            (Model::Gated(model), None) => {
                let gater = model.gater().macs(size)? as f64;
                Ok(Cost { gater, ..model.backbone().cost(size)? })
            }
        }
    }

    /// The fewest images of `size` (H, W) that a training batch may have; see
    /// [`Network::min_train_batch`](crate::Network::min_train_batch).
    ///
    /// # Errors
    /// If images of this size do not fit.
    pub fn min_train_batch(&self, size: [usize; 2]) -> Result<usize> {
        match self {
            Model::Plain(model) => model.network().min_train_batch(size),
            Model::Gated(model) => {
                let gater = model.gater().network().min_train_batch(size)?;
                Ok(gater.max(model.backbone().network().min_train_batch(size)?))
            }
        }
    }

    /// Channels of the images, C of (N, C, H, W).
    #[must_use]
    pub fn in_channels(&self) -> usize {
        match self {
            Model::Plain(model) => model.network().channels(),
            Model::Gated(model) => model.backbone().network().channels(),
        }
    }

    /// Number of classes, the width of the output layer.
    #[must_use]
    pub fn classes(&self) -> usize {
        match self {
            Model::Plain(model) => model.config().classes,
            Model::Gated(model) => model.config().backbone.classes,
        }
    }

    /// Writes weights, configuration and `metadata` (safetensors, atomically).
    ///
    /// # Errors
    /// [`gaternet_core::Error::Io`] if the file cannot be written,
    /// [`gaternet_core::Error::NonFinite`] if a weight is NaN.
    pub fn save(&self, path: impl AsRef<Path>, metadata: &BTreeMap<String, String>) -> Result<()> {
        match self {
            Model::Plain(model) => model.save(path, metadata),
            Model::Gated(model) => model.save(path, metadata),
        }
    }
}

impl Module for Model {
    fn collect(&self, prefix: &str, out: &mut Vec<(String, State)>) {
        match self {
            Model::Plain(model) => model.collect(prefix, out),
            Model::Gated(model) => model.collect(prefix, out),
        }
    }
}
