//! An ONNX graph, written node by node.

use std::collections::BTreeMap;
use std::path::Path;

use gaternet_core::{Error, Result};
use prost::Message;

use super::proto::{
    ATTRIBUTE_FLOAT, ATTRIBUTE_INT, ATTRIBUTE_INTS, AttributeProto, Dimension, FLOAT, GraphProto,
    INT64, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto, TensorProto,
    TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};

/// Version of the standard operators, of 2022: ONNX Runtime from 1.12 on reads it.
const OPSET: i64 = 17;
/// Version of the file format, the one that came with these operators.
const IR: i64 = 8;
/// The most bytes that a protobuf message can have.
const MOST_BYTES: usize = i32::MAX as usize;

/// A graph that is being written. Values have names; a node's output has the name of the node.
pub(super) struct Graph {
    graph: GraphProto,
}

/// A size of an input or output.
pub(super) enum Size<'a> {
    Fixed(usize),
    /// A named size, which may differ from run to run.
    Named(&'a str),
}

/// The value of an attribute.
pub(crate) enum Attribute {
    Float(f32),
    Int(i64),
    Ints(Vec<i64>),
}

impl Graph {
    pub(super) fn new(name: &str) -> Graph {
        Graph { graph: GraphProto { name: name.to_owned(), ..GraphProto::default() } }
    }

    /// Adds an input and returns its name.
    pub(super) fn input(&mut self, name: &str, shape: &[Size<'_>]) -> String {
        self.graph.input.push(value_info(name, shape));
        name.to_owned()
    }

    /// Makes a value an output of this name.
    pub(super) fn output(&mut self, value: String, name: &str, shape: &[Size<'_>]) {
        self.node("Identity", name, [value], []);
        self.graph.output.push(value_info(name, shape));
    }

    /// Adds f32 values that are stored in the file.
    pub(super) fn floats(&mut self, name: &str, shape: &[usize], values: &[f32]) -> String {
        let raw = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.initializer(name, shape, FLOAT, raw)
    }

    /// Adds a list of i64 values that is stored in the file.
    pub(super) fn ints(&mut self, name: &str, values: &[i64]) -> String {
        let raw = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.initializer(name, &[values.len()], INT64, raw)
    }

    fn initializer(
        &mut self,
        name: &str,
        shape: &[usize],
        data_type: i32,
        raw_data: Vec<u8>,
    ) -> String {
        let (dims, name) = (int_list(shape), name.to_owned());
        self.graph.initializer.push(TensorProto { dims, data_type, name: name.clone(), raw_data });
        name
    }

    /// Adds a node and returns its output.
    pub(super) fn node(
        &mut self,
        op: &str,
        name: &str,
        inputs: impl Into<Vec<String>>,
        attributes: impl IntoIterator<Item = (&'static str, Attribute)>,
    ) -> String {
        self.node_with_outputs(op, name, inputs, attributes, vec![name.to_owned()]);
        name.to_owned()
    }

    /// Adds a node with several outputs, as [`node`](Self::node) does.
    pub(super) fn node_with_outputs(
        &mut self,
        op: &str,
        name: &str,
        inputs: impl Into<Vec<String>>,
        attributes: impl IntoIterator<Item = (&'static str, Attribute)>,
        output: Vec<String>,
    ) {
        self.graph.node.push(NodeProto {
            input: inputs.into(),
            output,
            name: name.to_owned(),
            op_type: op.to_owned(),
            attribute: attributes.into_iter().map(attribute).collect(),
        });
    }

    /// Adds the reshaping (N, C) -> (N, C, 1, 1), whose result multiplies feature maps.
    pub(super) fn planes(&mut self, name: &str, values: String) -> String {
        let axes = self.ints(&format!("{name}.axes"), &[2, 3]);
        self.node("Unsqueeze", name, [values, axes], [])
    }

    /// Writes the graph as the bytes of the file `path`.
    ///
    /// # Errors
    /// [`Error::Data`] if there are more than such a file can have.
    pub(super) fn encode(
        self,
        path: &Path,
        metadata: &BTreeMap<String, String>,
    ) -> Result<Vec<u8>> {
        let entry = |(key, value): (&String, &String)| StringStringEntryProto {
            key: key.clone(),
            value: value.clone(),
        };
        let model = ModelProto {
            ir_version: IR,
            producer_name: "gaternet".to_owned(),
            producer_version: env!("CARGO_PKG_VERSION").to_owned(),
            graph: Some(self.graph),
            opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: OPSET }],
            metadata_props: metadata.iter().map(entry).collect(),
        };
        let bytes = model.encoded_len();
        if bytes > MOST_BYTES {
            return Err(Error::Data {
                path: path.to_path_buf(),
                rule: "an ONNX file must have less than 2 GiB",
                got: format!("a network of {bytes} bytes"),
            });
        }
        Ok(model.encode_to_vec())
    }
}

fn attribute((name, value): (&'static str, Attribute)) -> AttributeProto {
    let named = AttributeProto { name: name.to_owned(), ..AttributeProto::default() };
    match value {
        Attribute::Float(f) => AttributeProto { f: Some(f), r#type: ATTRIBUTE_FLOAT, ..named },
        Attribute::Int(i) => AttributeProto { i: Some(i), r#type: ATTRIBUTE_INT, ..named },
        Attribute::Ints(ints) => AttributeProto { ints, r#type: ATTRIBUTE_INTS, ..named },
    }
}

/// Describes f32 values of this shape.
fn value_info(name: &str, shape: &[Size<'_>]) -> ValueInfoProto {
    let dim = |size: &Size<'_>| match size {
        Size::Fixed(size) => Dimension { dim_value: Some(*size as i64), dim_param: None },
        Size::Named(name) => Dimension { dim_value: None, dim_param: Some((*name).to_owned()) },
    };
    let shape = TensorShapeProto { dim: shape.iter().map(dim).collect() };
    let tensor_type = Some(TensorTypeProto { elem_type: FLOAT, shape: Some(shape) });
    ValueInfoProto { name: name.to_owned(), r#type: Some(TypeProto { tensor_type }) }
}

pub(crate) fn int_list(values: &[usize]) -> Vec<i64> {
    values.iter().map(|value| *value as i64).collect()
}
