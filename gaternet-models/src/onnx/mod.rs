//! Models as ONNX files, to be served by other programs.
//!
//! The input is `images` (N, C, H, W), the output `logits` (N, classes), of any number of images of
//! any size that fits. Batch norm is folded into the convolutions. Of a gated network the file
//! holds the gater as well, its gates (N, c) are another output, `gates`, and each masks the output
//! of its filter by a `Mul`: the same logits, but no work is skipped.

mod gates;
mod graph;
mod network;
mod proto;
mod step;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use gaternet_core::checkpoint::replace_file;
use gaternet_core::nn::{Module, State};
use gaternet_core::{Error, Result};
pub(crate) use graph::{Attribute, int_list};
use graph::{Graph, Size};
pub use step::OnnxStep;

use crate::files::model::Model;
use crate::gating::gated_net::GatedNet;
use crate::network::Network;
use crate::networks::plain_net::PlainNet;
use crate::program::{Mode, Program};

fn images_of(network: &Network) -> [Size<'static>; 4] {
    let channels = Size::Fixed(network.channels());
    [Size::Named("batch"), channels, Size::Named("height"), Size::Named("width")]
}

impl Model {
    /// Writes the model as an ONNX file (opset 17), its evaluation pass with batch norm folded:
    /// `images` (N, C, H, W) to `logits` (N, classes) and, of a gated model, `gates` (N, c).
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be written, [`Error::NonFinite`] if a weight is NaN,
    /// [`Error::Data`] if the model is larger than such a file can be.
    pub fn save_onnx(
        &self,
        path: impl AsRef<Path>,
        metadata: &BTreeMap<String, String>,
    ) -> Result<()> {
        match self {
            Model::Plain(model) => model.save_onnx(path, metadata),
            Model::Gated(model) => model.save_onnx(path, metadata),
        }
    }
}

impl PlainNet {
    /// Writes a plain network as [`Model::save_onnx`] does.
    ///
    /// # Errors
    /// The errors of [`Model::save_onnx`].
    pub fn save_onnx(
        &self,
        path: impl AsRef<Path>,
        metadata: &BTreeMap<String, String>,
    ) -> Result<()> {
        let mut graph = Graph::new(&self.config().to_string());
        let images = graph.input("images", &images_of(self.network()));
        let program = Program::new(self.network(), None, Mode::Infer);
        let logits = network::add(&mut graph, "", &program, images, &[])?;
        add_logits(&mut graph, logits, self);
        save(graph, path.as_ref(), self, metadata)
    }
}

impl GatedNet {
    /// Writes a gated network as [`Model::save_onnx`] does.
    ///
    /// # Errors
    /// The errors of [`Model::save_onnx`].
    pub fn save_onnx(
        &self,
        path: impl AsRef<Path>,
        metadata: &BTreeMap<String, String>,
    ) -> Result<()> {
        let mut graph = Graph::new(&format!("gated {}", self.backbone().config()));
        let images = graph.input("images", &images_of(self.backbone().network()));
        let gater = Program::new(self.gater().network(), None, Mode::Infer);
        let gate_logits = network::add(&mut graph, "gater", &gater, images.clone(), &[])?;
        let (gates, masks) = gates::add(&mut graph, gate_logits, self.plan(), &self.rule());
        let shape = [Size::Named("batch"), Size::Fixed(self.plan().gates())];
        graph.output(gates, "gates", &shape);
        let backbone = self.program(Mode::Infer);
        let logits = network::add(&mut graph, "backbone", backbone, images, &masks)?;
        add_logits(&mut graph, logits, self.backbone());
        save(graph, path.as_ref(), self, metadata)
    }
}

fn add_logits(graph: &mut Graph, logits: String, model: &PlainNet) {
    let shape = [Size::Named("batch"), Size::Fixed(model.network().features())];
    graph.output(logits, "logits", &shape);
}

fn save(
    graph: Graph,
    path: &Path,
    model: &impl Module,
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    for (name, state) in model.state() {
        let values = match state {
            State::Parameter(parameter) => parameter.tensor(),
            State::Buffer(buffer) => buffer.tensor(),
            State::Counter(_) => continue,
        };
        if !values.data().iter().all(|x| x.is_finite()) {
            return Err(Error::NonFinite { path: path.to_path_buf(), name });
        }
    }
    let bytes = graph.encode(path, metadata)?;
    replace_file(path, |mut file| file.write_all(&bytes))
}
