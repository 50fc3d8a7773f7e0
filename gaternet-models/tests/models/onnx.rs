//! ONNX Runtime computes from an exported file what the model computes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::common::{BATCH, cases, images, model};
use gaternet_core::gate::{Estimator, MinActive};
use gaternet_core::nn::Module;
use gaternet_core::{Ctx, Tensor};
use gaternet_kernels::test_support::python;
use gaternet_models::{
    BackboneConfig, GateOverride, GatePlacement, GatedConfig, GatedNet, GaterConfig, Model,
    PlainNet,
};

/// Runs each model on the images and writes every output beside it.
const RUN: &str = r#"
import sys
import numpy
import onnxruntime

images, *models = sys.argv[1:]
images = numpy.fromfile(images, dtype="<f4").reshape(-1, 3, 32, 32)
for model in models:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    for name, values in zip(names, session.run(names, {"images": images})):
        values.astype("<f4").tofile(f"{model}.{name}")
"#;

fn write(path: &Path, values: &[f32]) {
    let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    fs::write(path, bytes).expect("a writable folder");
}

fn read(path: &str) -> Vec<f32> {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let (values, rest) = bytes.as_chunks::<4>();
    assert!(rest.is_empty(), "{path} holds no whole number of f32");
    values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

fn models() -> Vec<(String, Model)> {
    let gated = cases().map(|case| (format!("{case:?}"), Model::Gated(Box::new(model(case)))));
    let plain = model(GatePlacement::Inner).backbone().clone();
    let backbone = BackboneConfig::resnet(8, 10);
    let gater = GaterConfig { batch_norm: true, depth: 8, ..GaterConfig::default() };
    let estimator = Estimator::TopK { density: 0.4 };
    let placement = GatePlacement::All;
    let top_k = GatedConfig { gater, estimator, placement, ..GatedConfig::new(backbone) };
    let top_k = GatedNet::new(top_k, 1).expect("valid");
    let shared = |filters_per_gate, estimator, min_active| {
        let backbone = BackboneConfig::resnet(8, 10);
        let gater = GaterConfig { depth: 8, ..GaterConfig::default() };
        let names = GateOverride { convs: "stage2.*.conv1".to_owned(), gated: false };
        let gate_overrides = vec![names];
        let config = GatedConfig {
            filters_per_gate,
            min_active,
            estimator,
            gate_overrides,
            gater,
            placement,
            ..GatedConfig::new(backbone)
        };
        let what = format!("{filters_per_gate} filters a gate, {estimator:?}, {min_active:?}");
        (what, Model::Gated(GatedNet::new(config, 1).expect("valid").into()))
    };
    let others = [
        shared(1, Estimator::SemHash, MinActive::Gates(9)),
        shared(7, Estimator::SemHash, MinActive::Fraction(0.3)),
        shared(8, Estimator::StraightThrough, MinActive::default()),
        shared(16, estimator, MinActive::default()),
        ("plain".to_owned(), Model::Plain(plain.into())),
        ("top k, batch norm in the gater".to_owned(), Model::Gated(top_k.into())),
    ];
    gated.chain(others).collect()
}

#[test]
fn onnx_runtime_has_the_same_gates_and_logits() {
    let Some(python) = python("onnx", "numpy, onnxruntime") else { return };
    let (images, folder) = (images(), tempfile::tempdir().expect("a temporary folder"));
    let input = folder.path().join("images");
    write(&input, images.data());
    let mut run = Command::new(python);
    run.args(["-c", RUN]).arg(&input);
    let (models, mut files) = (models(), Vec::new());
    for (number, (what, model)) in models.iter().enumerate() {
        let file = folder.path().join(format!("{number}.onnx")).display().to_string();
        model.save_onnx(&file, &BTreeMap::new()).unwrap_or_else(|e| panic!("{what}: {e}"));
        run.arg(&file);
        files.push(file);
    }
    let output = run.output().expect("it just ran");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for ((what, model), file) in models.iter().zip(files) {
        let (logits, gates) = model.forward(&images, &mut Ctx::eval()).expect("they fit");
        if let Some(gates) = gates {
            let want = gates.values().data();
            assert!(want.contains(&0.0) && want.contains(&1.0), "{what}: all gates are alike");
            assert_eq!(read(&format!("{file}.gates")), want, "{what}: gates");
        }
        let (got, want) = (read(&format!("{file}.logits")), logits.data());
        assert_eq!(got.len(), BATCH * model.classes(), "{what}");
        let scale = want.iter().fold(0.0, |max: f32, x| max.max(x.abs()));
        for (i, (got, want)) in got.iter().zip(want).enumerate() {
            let error = (got - want).abs() / scale;
            assert!(error < 1e-4, "{what}, logit {i}: {got}, ours is {want}");
        }
    }
}

#[test]
fn a_file_is_written_whole_or_not_at_all() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("model.onnx");
    let net = PlainNet::new(BackboneConfig::resnet(8, 10), 0).expect("valid");
    net.save_onnx(&file, &BTreeMap::new()).expect("a writable folder");
    let before = fs::read(&file).expect("just written");
    net.save_onnx(&file, &BTreeMap::new()).expect("a writable folder");
    assert_eq!(fs::read(&file).expect("just written"), before, "the same model, other bytes");
    let parameters = net.parameters();
    let (name, parameter) = &parameters[1];
    parameter.set(&Tensor::full(parameter.tensor().shape(), f32::NAN).expect("small")).expect("as");
    let error = net.save_onnx(&file, &BTreeMap::new()).expect_err("a NaN").to_string();
    assert!(error.contains(name.as_str()) && error.contains("NaN"), "{error}");
    assert_eq!(fs::read(&file).expect("still there"), before);
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1, "a file is left");
    let nowhere = folder.path().join("nowhere").join("model.onnx");
    let error = PlainNet::new(BackboneConfig::resnet(8, 10), 0).expect("valid");
    let error = error.save_onnx(&nowhere, &BTreeMap::new()).expect_err("no folder").to_string();
    assert!(error.contains("nowhere"), "{error}");
}
