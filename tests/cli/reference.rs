//! `check_reference` against the values of the authors' implementation, where these are.

use std::path::{Path, PathBuf};

use crate::programs::{example, failure, stdout};
use gaternet::core::Tensor;
use gaternet::core::checkpoint::{self, Checkpoint, TensorValue};
use gaternet::kernels::Isa;
use gaternet_kernels::test_support::skipped;

/// The file of reference values: `GATERNET_REFERENCE`, or the one beside a checkout.
fn reference() -> Option<PathBuf> {
    let beside = "../shared/reference/resnet20_gated.safetensors";
    let path = std::env::var("GATERNET_REFERENCE").unwrap_or_else(|_| beside.to_owned());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if !path.exists() {
        let missing = format!("there is no {} (set GATERNET_REFERENCE)", path.display());
        skipped("reference", &missing);
        return None;
    }
    Some(path)
}

#[test]
fn every_instruction_set_agrees_with_the_authors() {
    let Some(file) = reference() else { return };
    // What is compared is f32, of which AVX512-BF16 has no kernels of its own.
    let sets = Isa::available().into_iter().filter(|isa| isa.to_string() != "avx512bf16");
    for isa in sets {
        let mut check = example("check_reference");
        let table = stdout(check.arg(&file).env("GATERNET_ISA", isa.to_string()));
        assert!(table.contains("all 12 groups are within their bounds"), "{isa}:\n{table}");
    }
}

#[test]
fn a_value_that_is_off_is_found() {
    let Some(file) = reference() else { return };
    let good = Checkpoint::load(&file).expect("a reference file");
    let dir = tempfile::tempdir().expect("a folder");
    for name in [
        "eval.gates",
        "train.loss",
        "grad.backbone.stage2.block1.bn1.bias",
        "grad.gater.resnet.conv.weight",
        "step.backbone.bn.running_var",
    ] {
        let mut tensors: Vec<_> = good.tensors.clone().into_iter().collect();
        for (_, value) in tensors.iter_mut().filter(|(tensor, _)| tensor == name) {
            let TensorValue::F32(tensor) = value else { panic!("{name} is f32") };
            let wrong = tensor.data().iter().map(|x| x * 1.01).collect();
            *tensor = Tensor::new(wrong, tensor.shape()).expect("the same shape");
        }
        let bad = dir.path().join("bad.safetensors");
        checkpoint::save(&bad, &tensors, &good.metadata).expect("a writable folder");
        let output = example("check_reference").arg(&bad).output().expect("the program starts");
        let table = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{name} times 1.01 was not found:\n{table}");
        let failed = table.lines().filter(|line| line.ends_with("FAILED")).count();
        assert_eq!(failed, 1, "{name} times 1.01 failed other groups too:\n{table}");
    }
}

#[test]
fn a_file_that_is_no_reference_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("none.safetensors");
    let message = failure(example("check_reference").arg(&file), 1);
    assert!(message.contains("none.safetensors"), "{message}");
    let tensors = [("x".to_owned(), TensorValue::counter(1))];
    checkpoint::save(&file, &tensors, &Default::default()).expect("a writable folder");
    let message = failure(example("check_reference").arg(&file), 1);
    assert!(message.contains("no metadata `depth`"), "{message}");
}
