//! Image files on disk, a folder for each class.

use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::{Error, Result};

/// Ends of the names of images, in any case.
const EXTENSIONS: [&str; 3] = ["jpg", "jpeg", "png"];

/// Labelled image files of any size, `root/<class>/**/*.{jpg,jpeg,png}`, as `torchvision.datasets.ImageFolder`
/// lists them: classes and files in the order of their names. Only the list is in memory; a
/// [`Loader`](super::Loader) decodes the files as it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFolder {
    root: PathBuf,
    classes: Vec<String>,
    /// Below the root.
    files: Vec<Box<Path>>,
    labels: Vec<usize>,
}

impl ImageFolder {
    /// Lists `root`. Names that begin with a dot are left out.
    ///
    /// # Errors
    /// [`Error::Field`] if there is no folder of a class, or a class has no image; [`Error::Io`] if a folder
    /// cannot be read.
    pub fn open(root: impl Into<PathBuf>) -> Result<ImageFolder> {
        let root = root.into();
        let mut classes = Vec::new();
        for (name, is_folder) in entries(&root)? {
            if is_folder {
                classes.push(name);
            }
        }
        if classes.is_empty() {
            return Err(field(&root, "classes", "a folder for each class", "no folder"));
        }
        let lists = classes.par_iter().map(|class| {
            let mut files = Vec::new();
            list(&root, Path::new(class), &mut files)?;
            if files.is_empty() {
                let expected = "at least one .jpg, .jpeg or .png file";
                return Err(field(&root.join(class), "images", expected, "none"));
            }
            Ok(files)
        });
        let lists: Vec<Result<Vec<_>>> = lists.collect();
        let (mut files, mut labels) = (Vec::new(), Vec::new());
        for (label, list) in lists.into_iter().enumerate() {
            files.extend(list?);
            labels.resize(files.len(), label);
        }
        Ok(ImageFolder { root, classes, files, labels })
    }

    /// Whether `dir` looks like [`train_and_test`](Self::train_and_test) wants it.
    pub fn is_in(dir: impl AsRef<Path>) -> bool {
        dir.as_ref().join("train").is_dir()
    }

    /// The training set `dir/train` and the test set `dir/val`, or where there is none `dir/test`.
    ///
    /// # Errors
    /// Those of [`open`](Self::open), and [`Error::Field`] if the two do not have the same classes.
    pub fn train_and_test(dir: impl AsRef<Path>) -> Result<[ImageFolder; 2]> {
        let dir = dir.as_ref();
        let test = ["val", "test"].map(|name| dir.join(name));
        let Some(test) = test.iter().find(|folder| folder.is_dir()) else {
            return Err(field(dir, "folder", "val/ or test/ beside train/", "neither"));
        };
        let [train, test] = [ImageFolder::open(dir.join("train"))?, ImageFolder::open(test)?];
        if train.classes != test.classes {
            let only = |one: &ImageFolder, other: &ImageFolder| {
                let missing = one.classes.iter().find(|class| !other.classes.contains(class))?;
                Some(one.root.join(missing).display().to_string())
            };
            let got = only(&train, &test).or_else(|| only(&test, &train)).unwrap_or_default();
            let got = format!("{got} in one only");
            return Err(field(dir, "classes", "the same in both sets", &got));
        }
        Ok([train, test])
    }

    /// Number of images, N.
    #[must_use]
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Never true of an opened folder.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The file of image `index`; `None` from N on.
    #[must_use]
    pub fn path(&self, index: usize) -> Option<PathBuf> {
        self.files.get(index).map(|file| self.root.join(file))
    }

    /// The class of every image, (N).
    #[must_use]
    pub fn labels(&self) -> &[usize] {
        &self.labels
    }

    /// The names of the classes.
    #[must_use]
    pub fn classes(&self) -> &[String] {
        &self.classes
    }
}

impl ImageFolder {
    /// The same files; `labels` (N) are below the number of `classes`.
    pub(super) fn relabelled(&self, labels: Vec<usize>, classes: Vec<String>) -> ImageFolder {
        ImageFolder { labels, classes, ..self.clone() }
    }
}

/// Adds the images in `root/folder` and below, by name.
fn list(root: &Path, folder: &Path, files: &mut Vec<Box<Path>>) -> Result<()> {
    for (name, is_folder) in entries(&root.join(folder))? {
        let file = folder.join(&name);
        let extension = file.extension().and_then(|extension| extension.to_str());
        let is_image = |end: &str| EXTENSIONS.iter().any(|known| end.eq_ignore_ascii_case(known));
        if is_folder {
            list(root, &file, files)?;
        } else if extension.is_some_and(is_image) {
            files.push(file.into());
        }
    }
    Ok(())
}

/// What is in a folder, by name, and whether it is a folder itself.
fn entries(folder: &Path) -> Result<Vec<(String, bool)>> {
    let io = |source| Error::Io { action: "list", path: folder.to_path_buf(), source };
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        let name = entry
            .file_name()
            .into_string()
            .map_err(|name| field(folder, "name", "Unicode", &name.to_string_lossy()))?;
        if !name.starts_with('.') {
            let kind = entry.file_type().map_err(io)?;
            let is_folder = kind.is_dir() || kind.is_symlink() && entry.path().is_dir();
            entries.push((name, is_folder));
        }
    }
    entries.sort();
    Ok(entries)
}

fn field(path: &Path, field: &str, expected: &str, got: &str) -> Error {
    Error::Field {
        path: path.to_path_buf(),
        field: field.to_owned(),
        expected: expected.to_owned(),
        got: got.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(path: &Path) {
        fs::create_dir_all(path.parent().expect("in a folder")).expect("a folder");
        fs::write(path, "").expect("a file");
    }

    #[test]
    fn classes_and_files_are_in_the_order_of_their_names() {
        let dir = tempfile::tempdir().expect("a folder");
        for file in [
            "train/dog/2.PNG",
            "train/dog/10.jpg",
            "train/cat/b.Jpeg",
            "train/cat/a/deep.jpg",
            "train/cat/notes.txt",
            "train/cat/.hidden.jpg",
            "train/.cache/x.jpg",
            "train/list.jpg",
            "test/cat/1.jpg",
            "test/dog/1.jpg",
        ] {
            touch(&dir.path().join(file));
        }
        assert!(ImageFolder::is_in(dir.path()) && !ImageFolder::is_in(dir.path().join("train")));
        let [train, test] = ImageFolder::train_and_test(dir.path()).expect("a good folder");
        assert_eq!(train.classes(), ["cat", "dog"]);
        assert_eq!(train.labels(), [0, 0, 1, 1]);
        let paths: Vec<_> = (0..train.len()).map(|i| train.path(i).expect("in range")).collect();
        let names = ["cat/a/deep.jpg", "cat/b.Jpeg", "dog/10.jpg", "dog/2.PNG"];
        assert_eq!(paths, names.map(|name| dir.path().join("train").join(name)));
        assert_eq!((train.path(4), test.len()), (None, 2));

        touch(&dir.path().join("val/cat/7.jpg"));
        touch(&dir.path().join("val/dog/8.jpg"));
        let [_, val] = ImageFolder::train_and_test(dir.path()).expect("a good folder");
        let first = val.path(0).expect("one");
        assert_eq!(first, dir.path().join("val/cat/7.jpg"), "val goes before test");
    }

    #[test]
    fn a_folder_that_is_none_says_what_is_missing() {
        let dir = tempfile::tempdir().expect("a folder");
        let refused = |parts: &[&str]| {
            let message = ImageFolder::train_and_test(dir.path()).expect_err("bad").to_string();
            for part in parts {
                assert!(message.contains(part), "no {part:?} in {message:?}");
            }
        };
        refused(&["val/ or test/", "neither"]);
        touch(&dir.path().join("val/cat/1.jpg"));
        refused(&["cannot list", "train"]);
        touch(&dir.path().join("train/1.jpg"));
        refused(&["train: classes", "a folder for each class", "no folder"]);
        touch(&dir.path().join("train/cat/notes.txt"));
        refused(&["cat: images", ".jpg, .jpeg or .png", "none"]);
        touch(&dir.path().join("train/cat/1.jpg"));
        touch(&dir.path().join("val/dog/1.jpg"));
        refused(&["the same in both sets", "dog in one only"]);
    }
}
