//! Models as ONNX files, to be served where this library is not.
//!
//! The input is `images` (N, 3, H, W), the output `logits` (N, classes), of any number of images of any size
//! that fits. Batch norm is folded into the convolutions. Of a gated network the file holds the gater as well,
//! its gates (N, c) are another output, `gates`, and each masks the output of its filter by a `Mul`: the same
//! logits, but no work is skipped.

mod graph;
mod network;
mod proto;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use gaternet_core::checkpoint::replace_file;
use gaternet_core::gate::hard_gate;
use gaternet_core::nn::{Module, State};
use gaternet_core::{Error, Result};
use graph::{Attribute, Graph, Size, int_list};
use network::Masks;

use crate::backbone::IMAGE_CHANNELS;
use crate::gate_plan::GatePlan;
use crate::gated_net::GatedNet;
use crate::model::Model;
use crate::plain_net::PlainNet;

const IMAGES: [Size<'static>; 4] = [
    Size::Named("batch"),
    Size::Fixed(IMAGE_CHANNELS),
    Size::Named("height"),
    Size::Named("width"),
];

impl Model {
    /// Writes the model as an ONNX file (opset 17), its evaluation pass with batch norm folded: `images`
    /// (N, 3, H, W) to `logits` (N, classes) and, of a gated model, `gates` (N, c).
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be written, [`Error::NonFinite`] if a weight is NaN, [`Error::Data`] if
    /// the model is larger than such a file can be.
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
    /// [`Model::save_onnx`] of a plain network.
    ///
    /// # Errors
    /// Those of [`Model::save_onnx`].
    pub fn save_onnx(
        &self,
        path: impl AsRef<Path>,
        metadata: &BTreeMap<String, String>,
    ) -> Result<()> {
        let mut graph = Graph::new(&self.config().to_string());
        let images = graph.input("images", &IMAGES);
        let logits = network::add(&mut graph, "", self.network(), images, None);
        add_logits(&mut graph, logits, self);
        save(graph, path.as_ref(), self, metadata)
    }
}

impl GatedNet {
    /// [`Model::save_onnx`] of a gated network.
    ///
    /// # Errors
    /// Those of [`Model::save_onnx`].
    pub fn save_onnx(
        &self,
        path: impl AsRef<Path>,
        metadata: &BTreeMap<String, String>,
    ) -> Result<()> {
        let mut graph = Graph::new(&format!("gated {}", self.backbone().config()));
        let images = graph.input("images", &IMAGES);
        let gater = self.gater().network();
        let preact = network::add(&mut graph, "gater", gater, images.clone(), None);
        let masks = add_gates(&mut graph, preact, self.plan());
        let backbone = self.backbone().network();
        let logits = network::add(&mut graph, "backbone", backbone, images, Some(&masks));
        add_logits(&mut graph, logits, self.backbone());
        save(graph, path.as_ref(), self, metadata)
    }
}

fn add_logits(graph: &mut Graph, logits: String, model: &PlainNet) {
    let shape = [Size::Named("batch"), Size::Fixed(model.network().features())];
    graph.output(logits, "logits", &shape);
}

/// The hard gates of pre-activations (N, c): an output, and slot by slot.
fn add_gates<'a>(graph: &mut Graph, preact: String, plan: &'a GatePlan) -> Masks<'a> {
    let least = graph.floats("gate.least", &[], &[least_open()]);
    let open = graph.node("GreaterOrEqual", "gate.open", [preact, least], []);
    let float = ("to", Attribute::Int(proto::FLOAT.into()));
    let gates = graph.node("Cast", "gate.value", [open], [float]);
    graph.output(gates.clone(), "gates", &[Size::Named("batch"), Size::Fixed(plan.gates())]);
    let names: Vec<_> = plan.slots().iter().map(|slot| format!("gate.{}", slot.conv)).collect();
    let widths = graph.ints("gate.widths", &int_list(&plan.widths()));
    let axis = ("axis", Attribute::Int(1));
    graph.node_with_outputs("Split", "gate.slots", [gates, widths], [axis], names.clone());
    let planes = |name: String| network::add_planes(graph, &format!("{name}.planes"), name);
    Masks { plan, slots: names.into_iter().map(planes).collect() }
}

/// The least pre-activation that [`hard_gate`] opens, slightly below 0.
fn least_open() -> f32 {
    let (mut closed, mut open) = (-1.0_f32, 0.0);
    loop {
        let middle = f32::midpoint(closed, open);
        if middle == closed || middle == open {
            return open;
        }
        *(if hard_gate(middle) == 1.0 { &mut open } else { &mut closed }) = middle;
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_open_where_those_of_evaluation_do() {
        let least = least_open();
        assert!(least < 0.0 && least > -1e-4, "{least}");
        let floats = [least.next_down(), least, least.next_up(), -1.0, -1e-4, -1e-5, 0.0, 1.0];
        for preact in floats {
            assert_eq!(hard_gate(preact) == 1.0, preact >= least, "{preact:e}, least {least:e}");
        }
    }
}
