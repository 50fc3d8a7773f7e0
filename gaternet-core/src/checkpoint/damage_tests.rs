//! Files that are not as they were written.

use std::fs;
use std::path::Path;

use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::*;

/// Two tensors of one shape, a matrix and a counter, and metadata like a model's.
fn write(path: &Path) {
    let floats = |from: usize, shape: &[usize]| {
        let values = (0..shape.iter().product::<usize>()).map(|i| (i + from) as f32 * 0.37 - 1.0);
        TensorValue::F32(Tensor::new(values.collect(), shape).expect("small"))
    };
    let tensors = [
        ("bn.running_mean".to_owned(), floats(3, &[4])),
        ("bn.running_var".to_owned(), floats(40, &[4])),
        ("fc.weight".to_owned(), floats(7, &[3, 2])),
        ("bn.num_batches_tracked".to_owned(), TensorValue::counter(31)),
    ];
    let metadata = [("model", "plain"), ("config", "{\"depth\": 20}"), ("empty", "")];
    let metadata = metadata.map(|(name, text)| (name.to_owned(), text.to_owned()));
    save(path, &tensors, &BTreeMap::from(metadata)).expect("a writable folder");
}

/// Everything that a checkpoint says, with the bits of its numbers.
fn contents(checkpoint: &Checkpoint) -> Vec<(String, String)> {
    let metadata = checkpoint.metadata.iter().map(|(name, text)| (name.clone(), text.clone()));
    let tensor = |(name, value): (&String, &TensorValue)| {
        let bits = match value {
            TensorValue::F32(tensor) => tensor.data().iter().map(|x| x.to_bits().into()).collect(),
            TensorValue::I64 { values, .. } => values.clone(),
        };
        (name.clone(), format!("{} {bits:?}", TensorKind::from(value)))
    };
    metadata.chain(checkpoint.tensors.iter().map(tensor)).collect()
}

struct Sample {
    _dir: tempfile::TempDir,
    path: PathBuf,
    bytes: Vec<u8>,
    contents: Vec<(String, String)>,
}

impl Sample {
    fn new() -> Sample {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("model.safetensors");
        write(&path);
        let contents = contents(&Checkpoint::load(&path).expect("just saved"));
        Sample { bytes: fs::read(&path).expect("just saved"), path, contents, _dir: dir }
    }

    fn load(&self, bytes: &[u8]) -> Result<Checkpoint> {
        fs::write(&self.path, bytes).expect("a writable folder");
        Checkpoint::load(&self.path)
    }

    /// `Err` with what was accepted, unless the bytes are refused or say the same.
    fn refuses(&self, bytes: &[u8]) -> bool {
        match self.load(bytes) {
            Ok(checkpoint) => contents(&checkpoint) == self.contents,
            Err(_) => true,
        }
    }

    /// The bytes with the first `from` replaced.
    fn replaced(&self, from: &str, to: &str) -> Vec<u8> {
        let at = self.bytes.windows(from.len()).position(|window| window == from.as_bytes());
        let at = at.unwrap_or_else(|| panic!("no {from:?} in the file"));
        [&self.bytes[..at], to.as_bytes(), &self.bytes[at + from.len()..]].concat()
    }

    fn assert_damaged(&self, bytes: &[u8], part: &str) {
        let error = self.load(bytes).expect_err(part);
        assert!(matches!(error, Error::Damaged { .. }), "{part}: {error}");
        assert!(error.to_string().contains(part), "no {part} in {error}");
    }
}

#[test]
fn flipped_bits_are_found_wherever_they_are() {
    let sample = Sample::new();
    for bit in (0..8 * sample.bytes.len()).step_by(5) {
        let mut bytes = sample.bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(sample.refuses(&bytes), "bit {bit} of {}", 8 * bytes.len());
    }
}

#[test]
fn other_damage_is_found() {
    let sample = Sample::new();
    let mut rng = ChaCha8Rng::seed_from_u64(18);
    for round in 0..1000 {
        let mut bytes = sample.bytes.clone();
        for _ in 0..rng.random_range(1..4) {
            let at = rng.random_range(0..bytes.len());
            let len = rng.random_range(1..=(bytes.len() - at).min(40));
            match rng.random_range(0..6) {
                0 => bytes.truncate(at),
                1 => drop(bytes.drain(at..at + len)),
                2 => bytes[at..at + len].fill(rng.random()),
                3 => bytes[at..at + len].shuffle(&mut rng),
                4 => drop(bytes.splice(at..at, (0..len).map(|_| rng.random::<u8>()))),
                // A piece of the file in another place.
                _ => {
                    let piece = bytes[at..at + len].to_vec();
                    let to = rng.random_range(0..=bytes.len() - len);
                    bytes[to..to + len].copy_from_slice(&piece);
                }
            }
            if bytes.is_empty() {
                break;
            }
        }
        assert!(sample.refuses(&bytes), "round {round}: {:?}", String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn what_is_damaged_is_named() {
    let sample = Sample::new();
    let mut bytes = sample.bytes.clone();
    *bytes.last_mut().expect("not empty") ^= 1;
    sample.assert_damaged(&bytes, "tensor `fc.weight` is not as it was written");
    for (from, to, part) in [
        ("\"bn.running_mean\":{", "\"bn.running_meam\":{", "tensor `bn.running_meam`"),
        ("\"shape\":[3,2]", "\"shape\":[2,3]", "tensor `fc.weight`"),
        ("20}\"", "26}\"", "metadata `config`"),
        ("\"plain\"", "\"gated\"", "metadata `model`"),
        ("\"empty\":\"\"", "\"emptx\":\"\"", "metadata `emptx`"),
        ("\"empty\":\"\",", "           ", "metadata `empty`, which is not there,"),
        ("\"gaternet_digest\"", "\"gaternet_digesu\"", "metadata `gaternet_digesu`"),
        ("\"gaternet_digest\":\"{", "\"gaternet_digest\":\"[", "metadata `gaternet_digest`"),
    ] {
        sample.assert_damaged(&sample.replaced(from, to), part);
    }
}

#[test]
fn tensors_of_one_shape_that_are_exchanged_are_found() {
    let mut sample = Sample::new();
    let [mean, var, third] = ["mean", "var", "x"].map(|name| format!("\"bn.running_{name}\":{{"));
    for (from, to) in [(&mean, &third), (&var, &mean), (&third, &var)] {
        sample.bytes = sample.replaced(from, to);
    }
    sample.assert_damaged(&sample.bytes, "tensor `bn.running_");
}

#[test]
fn a_file_without_digests_loads_and_is_written_with_them() {
    let sample = Sample::new();
    let file = safetensors::SafeTensors::deserialize(&sample.bytes).expect("valid");
    let bytes = safetensors::serialize(file.tensors(), None).expect("valid");
    let checkpoint = sample.load(&bytes).expect("a file of another program");
    assert!(checkpoint.metadata.is_empty());
    assert_eq!(checkpoint.tensors.len(), 4);
    let tensors: Vec<_> = checkpoint.tensors.into_iter().collect();
    let stored: BTreeMap<_, _> =
        sample.contents.iter().filter(|(name, _)| !name.contains('.')).cloned().collect();
    save(&sample.path, &tensors, &stored).expect("a writable folder");
    assert!(fs::read(&sample.path).expect("just saved") == sample.bytes);
}

#[test]
fn digests_are_not_metadata_of_a_caller() {
    let sample = Sample::new();
    assert!(sample.contents.iter().all(|(name, _)| name != "gaternet_digest"));
    let file = safetensors::SafeTensors::read_metadata(&sample.bytes).expect("valid").1;
    let all = file.metadata().clone().expect("there are some");
    let digests = all["gaternet_digest"].clone();
    let value = [("x".to_owned(), TensorValue::counter(1))];
    // An old one is replaced, one of another name would not load.
    let stale = BTreeMap::from([("gaternet_digest".to_owned(), digests.clone())]);
    save(&sample.path, &value, &stale).expect("a writable folder");
    assert!(Checkpoint::load(&sample.path).expect("just saved").metadata.is_empty());
    let other = BTreeMap::from([("other".to_owned(), digests)]);
    let error = save(&sample.path, &value, &other).expect_err("not loadable").to_string();
    assert!(error.contains("metadata = other"), "{error}");
}
