//! CIFAR-10 and CIFAR-100 in their official binary layout.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::InMemory;
use crate::{Error, Result};

/// [C, H, W] of an image.
const SHAPE: [usize; 3] = [3, 32, 32];
/// Bytes of an image: three planes, each row by row.
const IMAGE_LEN: usize = 3 * 32 * 32;

/// The training and the test set of CIFAR-10 or CIFAR-100, RGB images of 32x32 pixels with the
/// [name](super::Dataset::name) `cifar10` or `cifar100`.
#[derive(Debug, Clone)]
pub struct Cifar {
    /// 50,000 images in the official files.
    pub train: InMemory,
    /// 10,000 images in the official files.
    pub test: InMemory,
}

/// What the files of one of the two sets look like.
struct Layout {
    name: &'static str,
    folder: &'static str,
    names: &'static str,
    classes: usize,
    /// Bytes before the pixels of a record. The last one is the label: the fine one in CIFAR-100.
    label_bytes: usize,
    train: &'static [&'static str],
    train_records: usize,
    test: &'static str,
    test_records: usize,
}

static LAYOUTS: [Layout; 2] = [
    Layout {
        name: "cifar10",
        folder: "cifar-10-batches-bin",
        names: "batches.meta.txt",
        classes: 10,
        label_bytes: 1,
        train: &[
            "data_batch_1.bin",
            "data_batch_2.bin",
            "data_batch_3.bin",
            "data_batch_4.bin",
            "data_batch_5.bin",
        ],
        train_records: 10_000,
        test: "test_batch.bin",
        test_records: 10_000,
    },
    Layout {
        name: "cifar100",
        folder: "cifar-100-binary",
        names: "fine_label_names.txt",
        classes: 100,
        label_bytes: 2,
        train: &["train.bin"],
        train_records: 50_000,
        test: "test.bin",
        test_records: 10_000,
    },
];

impl Cifar {
    /// [H, W] of an image, in pixels.
    pub const SIZE: [usize; 2] = [SHAPE[1], SHAPE[2]];

    /// Reads the set in `dir`, which holds `cifar-10-batches-bin/` or `cifar-100-binary/` or is
    /// that folder itself.
    ///
    /// A file may hold fewer records than the official one, but only whole ones and at least one.
    /// Classes are named by `batches.meta.txt` or `fine_label_names.txt`; by their numbers if that
    /// file is missing.
    ///
    /// # Errors
    /// [`Error::Field`] naming what was looked for if `dir` holds neither or both sets; naming the
    /// file and the field if a file is truncated, too long or empty, a label is not a class, or
    /// the names are not one per class. [`Error::Io`] if a file cannot be read.
    pub fn load(dir: impl AsRef<Path>) -> Result<Cifar> {
        let (layout, dir) = find(dir.as_ref())?;
        let classes = layout.class_names(&dir)?;
        let train = layout.read(&dir, layout.train, layout.train_records, &classes)?;
        let test = layout.read(&dir, &[layout.test], layout.test_records, &classes)?;
        Ok(Cifar { train, test })
    }
}

/// The one layout found in `dir`, and its folder.
fn find(dir: &Path) -> Result<(&'static Layout, PathBuf)> {
    let found: Vec<_> = LAYOUTS
        .iter()
        .flat_map(|layout| [(layout, dir.join(layout.folder)), (layout, dir.to_path_buf())])
        .filter(|(layout, folder)| {
            layout.train.iter().chain([&layout.test]).any(|file| folder.join(file).is_file())
        })
        .collect();
    let [a, b] = &LAYOUTS;
    match <[_; 1]>::try_from(found) {
        Ok([one]) => Ok(one),
        Err(found) => Err(Error::Field {
            path: dir.to_path_buf(),
            field: "folder".into(),
            expected: format!(
                "one of {}/ (with {}, ..., {}) or {}/ (with {}, {}) in it, or to be one of them",
                a.folder, a.train[0], a.test, b.folder, b.train[0], b.test
            ),
            got: if found.is_empty() {
                if dir.is_dir() { "neither" } else { "no such folder" }.into()
            } else {
                let folders = found.iter().map(|(_, folder)| folder.display().to_string());
                folders.collect::<Vec<_>>().join(" and ")
            },
        }),
    }
}

impl Layout {
    fn class_names(&self, dir: &Path) -> Result<Vec<String>> {
        let path = dir.join(self.names);
        if !path.exists() {
            return Ok((0..self.classes).map(|class| class.to_string()).collect());
        }
        let text = fs::read_to_string(&path).map_err(read_error(&path))?;
        let names: Vec<_> =
            text.lines().map(str::trim).filter(|name| !name.is_empty()).map(String::from).collect();
        if names.len() != self.classes {
            return Err(Error::Field {
                path,
                field: "class names".into(),
                expected: format!("{} lines", self.classes),
                got: names.len().to_string(),
            });
        }
        Ok(names)
    }

    fn read(
        &self,
        dir: &Path,
        files: &[&str],
        max_records: usize,
        classes: &[String],
    ) -> Result<InMemory> {
        let record = self.label_bytes + IMAGE_LEN;
        let (mut images, mut labels) = (Vec::new(), Vec::new());
        for path in files.iter().map(|file| dir.join(file)) {
            let bytes = read_records(&path, record, max_records)?;
            images.reserve(bytes.len());
            for (i, record) in bytes.chunks_exact(record).enumerate() {
                let label = usize::from(record[self.label_bytes - 1]);
                if label >= self.classes {
                    return Err(Error::Field {
                        path,
                        field: format!("label of record {i}"),
                        expected: format!("0 to {}", self.classes - 1),
                        got: label.to_string(),
                    });
                }
                labels.push(label);
                images.extend_from_slice(&record[self.label_bytes..]);
            }
        }
        Ok(InMemory::new(images, SHAPE, labels, classes.to_vec())?.with_name(self.name))
    }
}

/// The bytes of a file of 1 to `max_records` whole records.
fn read_records(path: &Path, record: usize, max_records: usize) -> Result<Vec<u8>> {
    let max = record * max_records;
    let mut bytes = Vec::new();
    // One byte beyond the largest good file is enough to tell, however long this one is.
    File::open(path)
        .and_then(|file| file.take(max as u64 + 1).read_to_end(&mut bytes))
        .map_err(read_error(path))?;
    if bytes.is_empty() || bytes.len() > max || bytes.len() % record != 0 {
        return Err(Error::Field {
            path: path.to_path_buf(),
            field: "length".into(),
            expected: format!("1 to {max_records} whole records of {record} bytes"),
            got: match bytes.len() {
                len if len > max => format!("more than {max} bytes"),
                len => {
                    format!("{len} bytes ({} records and {} bytes)", len / record, len % record)
                }
            },
        });
    }
    Ok(bytes)
}

fn read_error(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_path_buf();
    |source| Error::Io { action: "read", path, source }
}

#[cfg(test)]
mod tests {
    use super::super::Dataset;
    use super::*;

    fn bytes(data: &InMemory, index: usize) -> Vec<u8> {
        data.image(index).expect("in range").bytes().expect("bytes").to_vec()
    }

    /// Records whose pixels all equal the index of the record.
    fn records(labels: &[&[u8]]) -> Vec<u8> {
        labels
            .iter()
            .enumerate()
            .flat_map(|(i, label)| [label.to_vec(), vec![i as u8; IMAGE_LEN]].concat())
            .collect()
    }

    fn write(dir: &Path, file: &str, bytes: &[u8]) {
        fs::create_dir_all(dir).expect("create folder");
        fs::write(dir.join(file), bytes).expect("write file");
    }

    fn cifar10(dir: &Path) {
        for (i, file) in LAYOUTS[0].train.iter().enumerate() {
            write(dir, file, &records(&[&[i as u8], &[9]]));
        }
        write(dir, "test_batch.bin", &records(&[&[7]]));
    }

    #[test]
    fn reads_cifar10_from_the_folder_or_the_one_above() {
        let dir = tempfile::tempdir().expect("temp dir");
        let inner = dir.path().join("cifar-10-batches-bin");
        cifar10(&inner);
        let unnamed = Cifar::load(dir.path()).expect("parent folder");
        assert_eq!(unnamed.train.classes()[9], "9");

        let names: Vec<_> = (0..10).map(|i| format!("class {i}")).collect();
        write(&inner, "batches.meta.txt", (names.join("\r\n") + "\n\n").as_bytes());
        let cifar = Cifar::load(&inner).expect("the folder itself");
        assert_eq!(cifar.train.labels(), [0, 9, 1, 9, 2, 9, 3, 9, 4, 9]);
        assert_eq!(bytes(&cifar.train, 3), [1; IMAGE_LEN]);
        assert_eq!([cifar.train.name(), cifar.test.name()], ["cifar10"; 2]);
        assert_eq!(cifar.test.labels(), [7]);
        assert_eq!(cifar.test.classes(), names);
    }

    #[test]
    fn cifar100_uses_the_fine_label() {
        let dir = tempfile::tempdir().expect("temp dir");
        let inner = dir.path().join("cifar-100-binary");
        write(&inner, "train.bin", &records(&[&[19, 99], &[255, 0]]));
        write(&inner, "test.bin", &records(&[&[1, 42]]));
        let cifar = Cifar::load(dir.path()).expect("load");
        assert_eq!(cifar.train.labels(), [99, 0]);
        assert_eq!(bytes(&cifar.train, 1), [1; IMAGE_LEN]);
        assert_eq!([cifar.train.name(), cifar.test.name()], ["cifar100"; 2]);
        assert_eq!(cifar.test.labels(), [42]);
    }

    #[test]
    fn bad_files_are_named_with_field_and_values() {
        let dir = tempfile::tempdir().expect("temp dir");
        let inner = dir.path().join("cifar-10-batches-bin");
        let good = records(&[&[1], &[2]]);
        let too_long = vec![0; 3073 * 10_000 + 1];
        let bad_label = records(&[&[1], &[10]]);
        let cases: [(&str, &[u8], &[&str]); 5] = [
            (
                "data_batch_3.bin",
                &good[..good.len() - 1],
                &["6145 bytes (1 records and 3072 bytes)"],
            ),
            ("data_batch_5.bin", &[], &["0 bytes", "1 to 10000 whole records of 3073 bytes"]),
            ("test_batch.bin", &too_long, &["more than 30730000 bytes"]),
            ("batches.meta.txt", b"cat\ndog\n", &["class names", "10 lines", "got 2"]),
            ("data_batch_1.bin", &bad_label, &["label of record 1", "0 to 9", "got 10"]),
        ];
        for (file, bytes, parts) in cases {
            cifar10(&inner);
            write(&inner, file, bytes);
            let message = Cifar::load(dir.path()).expect_err(file).to_string();
            for part in [&[file], parts].concat() {
                assert!(message.contains(part), "no {part:?} in {message:?}");
            }
            fs::remove_file(inner.join(file)).expect("remove");
        }
        let message = Cifar::load(dir.path()).expect_err("missing file").to_string();
        assert!(message.contains("data_batch_1.bin"), "{message}");
    }

    #[test]
    fn a_folder_with_neither_or_both_sets_is_an_error() {
        let dir = tempfile::tempdir().expect("temp dir");
        let message = Cifar::load(dir.path()).expect_err("neither").to_string();
        for part in ["cifar-10-batches-bin", "cifar-100-binary", "neither"] {
            assert!(message.contains(part), "no {part:?} in {message:?}");
        }
        let message = Cifar::load(dir.path().join("none")).expect_err("no folder").to_string();
        assert!(message.contains("no such folder"), "{message}");

        cifar10(&dir.path().join("cifar-10-batches-bin"));
        write(&dir.path().join("cifar-100-binary"), "train.bin", &records(&[&[0, 0]]));
        let message = Cifar::load(dir.path()).expect_err("both").to_string();
        assert!(message.contains("cifar-10-batches-bin and "), "{message}");
    }
}
