use std::fs;
use std::path::Path;

use half::{bf16, f16};

use super::*;
use crate::{Buffer, Counter, Parameter};

/// A state with one entry of each kind, all equal to `value`.
fn state(value: f32) -> Vec<(String, State)> {
    let tensor = |shape: &[usize]| Tensor::full(shape, value).expect("small");
    vec![
        ("fc.weight".into(), State::Parameter(Parameter::new(tensor(&[2, 3])))),
        ("bn.running_mean".into(), State::Buffer(Buffer::new(tensor(&[4])))),
        ("bn.num_batches_tracked".into(), {
            let counter = Counter::default();
            counter.set(value as i64);
            State::Counter(counter)
        }),
    ]
}

fn values(state: &[(String, State)]) -> Vec<(String, TensorValue)> {
    state.iter().map(|(name, state)| (name.clone(), state.into())).collect()
}

/// Every number of a state.
fn numbers(state: &[(String, State)]) -> Vec<f32> {
    let numbers = values(state).into_iter().flat_map(|(_, value)| match value {
        TensorValue::F32(tensor) => tensor.data().to_vec(),
        TensorValue::I64 { values, .. } => values.iter().map(|&x| x as f32).collect(),
    });
    numbers.collect()
}

fn file_names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("folder").map(|entry| entry.expect("entry").file_name());
    entries.map(|name| name.to_string_lossy().into_owned()).collect()
}

/// A file of one tensor `x`.
fn file(dtype: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let end = data.len();
    let header =
        format!(r#"{{"x":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[0,{end}]}}}}"#);
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

/// What `load` says about a file of these bytes.
fn load_bytes(bytes: &[u8]) -> Result<Checkpoint> {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("any.safetensors");
    fs::write(&path, bytes).expect("write");
    Checkpoint::load(path)
}

fn assert_error(bytes: &[u8], parts: &[&str]) {
    let message = load_bytes(bytes).expect_err("a bad file").to_string();
    for part in [&["any.safetensors"], parts].concat() {
        assert!(message.contains(part), "no {part:?} in {message:?}");
    }
}

#[test]
fn a_state_comes_back_bit_for_bit_with_its_metadata() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("model.safetensors");
    let metadata = BTreeMap::from([("epoch".into(), "3".into()), ("q\"uote\n".into(), "ü".into())]);
    save(&path, &values(&state(0.1)), &metadata).expect("save");
    let checkpoint = Checkpoint::load(&path).expect("load");
    assert_eq!(checkpoint.metadata, metadata);

    let target = state(7.0);
    checkpoint.load_into(&target).expect("same names and shapes");
    assert_eq!(numbers(&target), numbers(&state(0.1)));
    // What is trained on afterwards is not the checkpoint.
    let State::Parameter(parameter) = &target[0].1 else { panic!("the weight is first") };
    parameter.update(|weight| weight.fill(5.0));
    let TensorValue::F32(stored) = &checkpoint.tensors["fc.weight"] else { panic!("f32") };
    assert_eq!(stored.data(), [0.1; 6]);
    assert_eq!(file_names(dir.path()), ["model.safetensors"]);
}

#[test]
fn the_same_contents_make_the_same_bytes_that_the_format_accepts() {
    let dir = tempfile::tempdir().expect("temp dir");
    let metadata: BTreeMap<_, _> = (0..20).map(|i| (i.to_string(), i.to_string())).collect();
    let mut tensors = values(&state(2.0));
    let mut bytes = Vec::new();
    for name in ["a", "b"] {
        let path = dir.path().join(name);
        save(&path, &tensors, &metadata).expect("save");
        bytes.push(fs::read(path).expect("read"));
        tensors.reverse();
    }
    assert!(bytes[0] == bytes[1], "the order of the list must not matter");
    let parsed = safetensors::SafeTensors::deserialize(&bytes[0]).expect("valid format");
    assert_eq!(parsed.tensor("fc.weight").expect("weight").shape(), [2, 3]);
    assert_eq!(
        parsed.tensor("bn.num_batches_tracked").expect("counter").data(),
        2i64.to_le_bytes()
    );
}

#[test]
fn misfits_are_listed_together_and_change_nothing() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("model.safetensors");
    let tensors = [
        ("fc.weight".into(), TensorValue::F32(Tensor::zeros([3, 2]).expect("small"))),
        ("bn.num_batches_tracked".into(), TensorValue::F32(Tensor::scalar(1.0))),
        ("fc.bias".into(), TensorValue::counter(1)),
    ];
    save(&path, &tensors, &BTreeMap::new()).expect("save");
    let target = state(7.0);
    let error = Checkpoint::load(&path).expect("load").load_into(&target).expect_err("misfits");
    let message = error.to_string();
    let Error::Checkpoint { missing, unexpected, misshapen, .. } = error else {
        panic!("{message}");
    };
    assert_eq!(missing, ["bn.running_mean"]);
    assert_eq!(unexpected, ["fc.bias"]);
    let misfit = |name: &str, expected: &str, got: &str| Misshapen {
        name: name.into(),
        expected: expected.into(),
        got: got.into(),
    };
    let weight = misfit("fc.weight", "f32 (2, 3)", "f32 (3, 2)");
    assert_eq!(misshapen, [weight, misfit("bn.num_batches_tracked", "i64 ()", "f32 ()")]);
    for part in ["model.safetensors", "bn.running_mean", "fc.bias", "f32 (3, 2)", "f32 (2, 3)"] {
        assert!(message.contains(part), "no {part:?} in {message:?}");
    }
    assert_eq!(numbers(&target), numbers(&state(7.0)));
}

#[test]
fn a_part_is_what_follows_a_prefix() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("both.safetensors");
    let prefixed = |prefix: &str, value| {
        values(&state(value))
            .into_iter()
            .map(move |(name, value)| (format!("{prefix}{name}"), value))
            .collect::<Vec<_>>()
    };
    let tensors = [prefixed("backbone.", 1.0), prefixed("gater.", 2.0)].concat();
    save(&path, &tensors, &BTreeMap::new()).expect("save");
    let target = state(7.0);
    Checkpoint::load(&path).expect("load").part("gater.").load_into(&target).expect("the gater");
    assert_eq!(numbers(&target), numbers(&state(2.0)));
}

#[test]
fn narrow_and_wide_floats_and_integers_convert() {
    let floats = [1.5f32, -0.25];
    let bytes = |convert: &dyn Fn(f32) -> Vec<u8>| floats.map(convert).concat();
    let cases = [
        ("F16", bytes(&|x| f16::from_f32(x).to_le_bytes().into())),
        ("BF16", bytes(&|x| bf16::from_f32(x).to_le_bytes().into())),
        ("F32", bytes(&|x| x.to_le_bytes().into())),
        ("F64", bytes(&|x| f64::from(x).to_le_bytes().into())),
    ];
    for (dtype, data) in cases {
        let checkpoint = load_bytes(&file(dtype, "[2]", &data)).expect(dtype);
        let TensorValue::F32(tensor) = &checkpoint.tensors["x"] else { panic!("{dtype}") };
        assert_eq!(tensor.data(), floats, "{dtype}");
    }
    for (dtype, data) in [("U8", vec![255]), ("I32", vec![255, 0, 0, 0])] {
        let checkpoint = load_bytes(&file(dtype, "[1]", &data)).expect(dtype);
        let TensorValue::I64 { values, .. } = &checkpoint.tensors["x"] else { panic!("{dtype}") };
        assert_eq!(values, &[255], "{dtype}");
    }
    assert_error(&file("C64", "[1]", &[0; 8]), &["type of tensor `x`", "C64"]);
    assert_error(&file("U64", "[1]", &[0; 8]), &["type of tensor `x`", "U64"]);
}

#[test]
fn non_finite_tensors_are_refused_by_name() {
    let too_large = 1e300f64.to_le_bytes();
    let nan = f32::NAN.to_le_bytes();
    let infinity = f16::INFINITY.to_le_bytes();
    for (dtype, data) in [("F64", &too_large[..]), ("F32", &nan), ("F16", &infinity)] {
        assert_error(&file(dtype, "[1]", data), &["`x`", "NaN or an infinity"]);
    }
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("model.safetensors");
    save(&path, &values(&state(1.0)), &BTreeMap::new()).expect("save");
    let before = fs::read(&path).expect("read");
    let error = save(&path, &values(&state(f32::NAN)), &BTreeMap::new()).expect_err("diverged");
    assert!(error.to_string().contains("fc.weight"), "{error}");
    assert_eq!(fs::read(&path).expect("read"), before);
}

#[test]
fn files_that_are_no_checkpoint_say_why() {
    let good = file("F32", "[2]", &[0; 8]);
    for length in 0..good.len() {
        assert!(load_bytes(&good[..length]).is_err(), "cut to {length} of {} bytes", good.len());
    }
    assert_error(&good[..4], &["length", "at least 8 bytes", "got 4"]);
    assert_error(&good[..20], &["header length", "at most 12 bytes, in a file of 20"]);
    assert_error(&good[..good.len() - 1], &["tensors", "8 bytes by the header", "got 7"]);
    assert_error(&[good, vec![0]].concat(), &["8 bytes by the header", "got 9"]);
    assert_error(b"\x89PNG\r\n\x1a\n and so on", &["header length", "at most 10 bytes"]);
    assert_error(&[&[5, 0, 0, 0, 0, 0, 0, 0], &b"{]\xff]["[..]].concat(), &["header", "JSON"]);
    assert_error(
        &[u64::MAX.to_le_bytes(), [0; 8]].concat(),
        &["header length", "18446744073709551615"],
    );
    assert_error(&file("F32", "[3]", &[0; 8]), &["header", "invalid shape"]);
    assert_error(&file("F32", "[4611686018427387904, 4]", &[0; 8]), &["header", "overflow"]);
}

#[test]
fn a_failed_save_leaves_the_folder_as_it_was() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("model.safetensors");
    save(&path, &values(&state(1.0)), &BTreeMap::new()).expect("save");
    let before = fs::read(&path).expect("read");

    let twice = [values(&state(2.0)), values(&state(3.0))].concat();
    let error = save(&path, &twice, &BTreeMap::new()).expect_err("two of each name");
    assert!(error.to_string().contains("bn.num_batches_tracked"), "{error}");
    assert_eq!(fs::read(&path).expect("read"), before);

    // A folder in the way: everything works up to the renaming.
    let taken = dir.path().join("taken");
    fs::create_dir(&taken).expect("create folder");
    let error = save(&taken, &values(&state(2.0)), &BTreeMap::new()).expect_err("a folder");
    assert!(matches!(error, Error::Io { action: "replace", .. }), "{error}");
    let mut names = file_names(dir.path());
    names.sort();
    assert_eq!(names, ["model.safetensors", "taken"], "the temporary file must be gone");

    let nowhere = dir.path().join("none").join("model.safetensors");
    let error = save(&nowhere, &values(&state(2.0)), &BTreeMap::new()).expect_err("no folder");
    assert!(matches!(error, Error::Io { action: "write", .. }), "{error}");
    let error = save("/", &values(&state(2.0)), &BTreeMap::new()).expect_err("no file name");
    assert!(matches!(error, Error::Io { .. }), "{error}");
}

#[cfg(unix)]
#[test]
fn an_existing_file_is_replaced_at_once_and_not_written_over() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("model.safetensors");
    save(&path, &values(&state(1.0)), &BTreeMap::new()).expect("save");
    let old = dir.path().join("old");
    fs::hard_link(&path, &old).expect("link");
    // An ordinary file: not private to its owner as temporary files usually are.
    let plain = dir.path().join("plain");
    fs::write(&plain, "").expect("write");
    let mode = |path: &Path| fs::metadata(path).expect("metadata").permissions();
    assert_eq!(mode(&path), mode(&plain));
    let before = fs::read(&old).expect("read");
    save(&path, &values(&state(2.0)), &BTreeMap::new()).expect("save again");
    assert_eq!(fs::read(&old).expect("read"), before, "the old bytes were overwritten");
    assert_ne!(fs::read(&path).expect("read"), before);
}
