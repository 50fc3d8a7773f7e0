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
    file_of(&header, data)
}

fn file_of(header: &str, data: &[u8]) -> Vec<u8> {
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
    assert_error(&good[..4], &["not a safetensors file"]);
    assert_error(&good[..20], &["header length", "at most 12 bytes, in a file of 20"]);
    assert_error(&good[..good.len() - 1], &["tensors", "8 bytes by the header", "got 7"]);
    assert_error(&[good, vec![0]].concat(), &["8 bytes by the header", "got 9"]);
    assert_error(&[&[5, 0, 0, 0, 0, 0, 0, 0], &b"{]\xff]["[..]].concat(), &["header", "JSON"]);
    assert_error(
        &[u64::MAX.to_le_bytes(), *b"{\"x\":{}}"].concat(),
        &["header length", "18446744073709551615"],
    );
    assert_error(
        &file("F32", "[3]", &[0; 8]),
        &["tensor `x` has 8 bytes, expected 12 for F32 [3]"],
    );
    for shape in ["[4611686018427387904, 4]", "[0, 18446744073709551615, 2]"] {
        assert_error(&file("F32", shape, &[0; 8]), &["tensor `x`", "has no size"]);
    }
    let at = |name: &str, from: usize, to: usize| {
        format!(r#""{name}":{{"dtype":"U8","shape":[{}],"data_offsets":[{from},{to}]}}"#, to - from)
    };
    // Between, beneath and before each other.
    for (second, wrong) in [((5, 9), "5..9, expected from 4"), ((3, 7), "3..7, expected from 4")] {
        let both = format!("{{{},{}}}", at("a", 0, 4), at("b", second.0, second.1));
        assert_error(&file_of(&both, &vec![0; second.1]), &["tensor `b`", wrong]);
    }
    let late = format!("{{{}}}", at("a", 1, 2));
    assert_error(&file_of(&late, &[0; 2]), &["tensor `a`", "1..2, expected from 0"]);
}

#[test]
fn a_name_that_is_there_twice_is_refused() {
    let info = r#"{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#;
    for (header, name) in [
        (format!(r#"{{"x":{info},"x":{info}}}"#), "`x` is there twice"),
        (format!(r#"{{"x":{info},"\u0078":{info}}}"#), "`x` is there twice"),
        (
            format!(r#"{{"__metadata__":{{"model":"a","model":"b"}},"x":{info}}}"#),
            "`model` is there twice",
        ),
        (
            format!(r#"{{"__metadata__":{{}},"x":{info},"__metadata__":{{}}}}"#),
            "`__metadata__` is there twice",
        ),
        (
            r#"{"x":{"dtype":"F32","shape":[1],"shape":[1],"data_offsets":[0,4]}}"#.to_owned(),
            "duplicate field `shape`",
        ),
    ] {
        assert_error(&file_of(&header, &[0; 4]), &["header", name]);
    }
}

#[test]
fn a_file_of_another_format_is_named() {
    let long = |start: &[u8]| [start, &[7; 100]].concat();
    let cases: [(Vec<u8>, &str); 13] = [
        (Vec::new(), "it is empty"),
        (long(b"PK\x03\x04"), "tools/convert_checkpoint.py"),
        (long(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P"), "a Python pickle"),
        (long(b"\x08\x08\x12\x07pytorch"), "an ONNX model"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n".to_vec(), "git lfs pull"),
        (b"\n<!DOCTYPE html><html></html>".to_vec(), "a web page"),
        (b"accuracy 0.9".to_vec(), "it is text"),
        ("Gr\u{fc}n, \u{fc}".as_bytes()[..9].to_vec(), "it is text"),
        (b"{\"model\": 1, \"config\": 2}".to_vec(), "it is text"),
        (long(b"\x89PNG\r\n\x1a\n"), "an image"),
        (long(b"\x1f\x8b\x08"), "unpack it"),
        (vec![0; 100], "it begins with zeros"),
        (vec![0xee; 100], "the length of a header"),
    ];
    for (bytes, what) in cases {
        let error = load_bytes(&bytes).expect_err(what);
        assert!(matches!(error, Error::NotSafetensors { .. }), "{what}: {error}");
        assert_error(&bytes, &["is not a safetensors file: ", what]);
    }
}

#[test]
fn a_folder_stands_for_the_model_in_it() {
    let dir = tempfile::tempdir().expect("temp dir");
    let error = Checkpoint::load(dir.path()).expect_err("no model in it");
    let Error::Io { path, .. } = &error else { panic!("{error}") };
    assert_eq!(path, &dir.path().join("model.safetensors"));
    save(path, &values(&state(2.0)), &BTreeMap::new()).expect("save");
    let target = state(7.0);
    Checkpoint::load(dir.path()).expect("a model in it").load_into(&target).expect("it fits");
    assert_eq!(numbers(&target), numbers(&state(2.0)));
}

#[test]
fn odd_but_valid_files_are_read() {
    // A scalar, an empty tensor and bytes, so that what follows them is not aligned; in any order,
    // padded.
    let header = concat!(
        r#" {"c":{"data_offsets":[3,7],"shape":[1,1],"dtype":"F32","later":[{"field":0}]},"#,
        r#""":{"dtype":"F16","shape":[2,0,3],"data_offsets":[3,3]},"a":{"dtype":"U8","shape":[],"#,
        r#""data_offsets":[0,1]},"b":{"dtype":"I8","shape":[2],"data_offsets":[1,3]}}"#,
        "\n\t \r\n   "
    );
    // The format wants the object first.
    assert_error(&file_of(header, &[0; 7]), &["not a safetensors file"]);
    let data = [&[5, 255, 254][..], &1.5f32.to_le_bytes()].concat();
    let checkpoint = load_bytes(&file_of(header.trim_start(), &data)).expect("valid");
    let integers = |name: &str| match &checkpoint.tensors[name] {
        TensorValue::I64 { shape, values } => (shape.dims().to_vec(), values.clone()),
        TensorValue::F32(_) => panic!("{name}"),
    };
    assert_eq!(integers("a"), (vec![], vec![5]));
    assert_eq!(integers("b"), (vec![2], vec![-1, -2]));
    let floats = |name: &str| match &checkpoint.tensors[name] {
        TensorValue::F32(tensor) => (tensor.dims().to_vec(), tensor.data().to_vec()),
        TensorValue::I64 { .. } => panic!("{name}"),
    };
    assert_eq!(floats(""), (vec![2, 0, 3], vec![]));
    assert_eq!(floats("c"), (vec![1, 1], vec![1.5]));
    assert!(checkpoint.metadata.is_empty());
    assert!(load_bytes(&file_of("{}", &[])).expect("valid").tensors.is_empty());
}

#[cfg(unix)]
#[test]
fn an_endless_file_ends_with_its_header() {
    let error = Checkpoint::load("/dev/zero").expect_err("no header");
    assert!(matches!(error, Error::NotSafetensors { .. }), "{error}");
    // A terabyte of which nothing is written.
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("sparse");
    fs::write(&path, file("F32", "[2]", &[0; 8])).expect("write");
    fs::File::options().write(true).open(&path).expect("open").set_len(1 << 40).expect("sparse");
    let error = Checkpoint::load(&path).expect_err("too long").to_string();
    assert!(error.contains("8 bytes by the header"), "{error}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_pipe_is_read_to_its_end_and_no_longer() {
    let through_a_pipe = |bytes: &[u8]| {
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        use std::io::Write;
        use std::os::fd::AsRawFd;
        writer.write_all(bytes).expect("it is small");
        drop(writer);
        Checkpoint::load(format!("/dev/fd/{}", reader.as_raw_fd()))
    };
    let good = file("F32", "[2]", &[0; 8]);
    let TensorValue::F32(x) = &through_a_pipe(&good).expect("valid").tensors["x"] else {
        panic!("f32")
    };
    assert_eq!(x.data(), [0.0; 2]);
    for length in 0..good.len() {
        assert!(through_a_pipe(&good[..length]).is_err(), "cut to {length} of {}", good.len());
    }
    let error = through_a_pipe(&[&good[..], &[0]].concat()).expect_err("too long").to_string();
    assert!(error.contains("expected the bytes that the header tells of, got more"), "{error}");
    // The tensor would be 72 PB.
    let huge =
        r#"{"x":{"dtype":"U8","shape":[72057594037927936],"data_offsets":[0,72057594037927936]}}"#;
    let error = through_a_pipe(&file_of(huge, &[0; 8])).expect_err("cut");
    assert!(matches!(error, Error::Io { action: "read", .. }), "{error}");
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
