//! Image files on disk, a folder for each class.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::dataset::{no_image, relabelling};
use super::decode::{Encoded, Rgb};
use super::{Dataset, Image};
use crate::{Error, Result};

/// Ends of the names of images, in any case: those of torchvision.
const EXTENSIONS: [&str; 9] = ["jpg", "jpeg", "png", "ppm", "bmp", "pgm", "tif", "tiff", "webp"];

/// Labelled image files of any size, `root/<class>/**/*` with the ends jpg, jpeg, png, ppm, bmp,
/// pgm, tif, tiff and webp, in the order of `torchvision.datasets.ImageFolder`: classes by name, of
/// a class the files of a folder by name, then those of the folders in it, whose whole paths are
/// sorted. Only the list is in memory; a [`Loader`](super::Loader) decodes the files as it goes, by
/// what is in them and not by their names, to RGB bytes as [`Image::open`] does.
///
/// Where images are not resized, all have to be 32x32, or of the size that
/// [`with_size`](Self::with_size) says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFolder {
    root: PathBuf,
    classes: Vec<String>,
    /// Below the root.
    files: Vec<Box<Path>>,
    labels: Vec<usize>,
    /// How many files were left out, by the end of their names.
    left_out: BTreeMap<String, usize>,
    /// H, W.
    size: [usize; 2],
}

/// [H, W] of images that are not resized: CIFAR's.
const SIZE: [usize; 2] = [32; 2];

impl ImageFolder {
    /// Lists `root`. Names that begin with a dot are left out, and so is what has another end; both
    /// are counted in [`left_out`](Self::left_out).
    ///
    /// # Errors
    /// [`Error::Field`] if there is no folder of a class, or a class has no image; [`Error::Io`] if
    /// a folder cannot be read.
    pub fn open(root: impl Into<PathBuf>) -> Result<ImageFolder> {
        let root = root.into();
        let Entries { folders: classes, files, hidden } = entries(&root)?;
        if classes.is_empty() {
            return Err(field(&root, "classes", "a folder for each class", "no folder"));
        }
        let mut left_out = BTreeMap::new();
        for name in &files {
            count(&mut left_out, end(name));
        }
        count_many(&mut left_out, HIDDEN, hidden);
        let lists = classes.par_iter().map(|class| list(&root, class));
        let lists: Vec<Result<List>> = lists.collect();
        let (mut files, mut labels) = (Vec::new(), Vec::new());
        for (label, list) in lists.into_iter().enumerate() {
            let List { files: list, left_out: others } = list?;
            if list.is_empty() {
                let expected =
                    format!("at least one file that ends with .{}", EXTENSIONS.join(", ."));
                return Err(field(&root.join(&classes[label]), "images", &expected, "none"));
            }
            files.extend(list);
            labels.resize(files.len(), label);
            others.into_iter().for_each(|(end, files)| count_many(&mut left_out, &end, files));
        }
        Ok(ImageFolder { root, classes, files, labels, left_out, size: SIZE })
    }

    /// Whether `dir` holds `train/`, `val/` or `test/`.
    pub fn is_in(dir: impl AsRef<Path>) -> bool {
        ["train", "val", "test"].iter().any(|name| dir.as_ref().join(name).is_dir())
    }

    /// The test set `dir/val`, or where there is none `dir/test`.
    ///
    /// # Errors
    /// Those of [`open`](Self::open), and [`Error::Field`] if there is neither.
    pub fn test(dir: impl AsRef<Path>) -> Result<ImageFolder> {
        let dir = dir.as_ref();
        let folders = ["val", "test"].map(|name| dir.join(name));
        match folders.iter().find(|folder| folder.is_dir()) {
            Some(folder) => ImageFolder::open(folder),
            None => Err(field(dir, "folder", "val/ or test/", "neither")),
        }
    }

    /// The training set `dir/train` and the test set `dir/val`, or where there is none `dir/test`.
    ///
    /// # Errors
    /// Those of [`open`](Self::open), and [`Error::Field`] if the two do not have the same classes.
    pub fn train_and_test(dir: impl AsRef<Path>) -> Result<[ImageFolder; 2]> {
        let dir = dir.as_ref();
        if !dir.join("train").is_dir() {
            let got = "none";
            return Err(field(dir, "folder", "train/ beside val/ or test/", got));
        }
        let [test, train] = [ImageFolder::test(dir)?, ImageFolder::open(dir.join("train"))?];
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

    /// The same files; where they are not resized, all have to be [H, W] pixels large.
    #[must_use]
    pub fn with_size(self, size: [usize; 2]) -> ImageFolder {
        ImageFolder { size, ..self }
    }

    /// The folder that was opened.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// How many files were not taken for images, by the end of their names in lower case: `.txt`,
    /// `no ending`, or `hidden` for names that begin with a dot.
    #[must_use]
    pub fn left_out(&self) -> &BTreeMap<String, usize> {
        &self.left_out
    }

    /// The same without the images at `indices`; the others keep their order and all classes their
    /// numbers.
    ///
    /// # Errors
    /// [`Error::Field`] naming a class that would lose all its images.
    pub fn without(mut self, indices: &[usize]) -> Result<ImageFolder> {
        let mut keep = vec![true; self.files.len()];
        for &index in indices {
            if let Some(keep) = keep.get_mut(index) {
                *keep = false;
            }
        }
        let mut kept = keep.iter();
        self.files.retain(|_| kept.next() == Some(&true));
        let mut kept = keep.iter();
        self.labels.retain(|_| kept.next() == Some(&true));
        let mut left = vec![false; self.classes.len()];
        self.labels.iter().for_each(|&label| left[label] = true);
        match left.iter().position(|&left| !left) {
            Some(class) => {
                let path = self.root.join(&self.classes[class]);
                Err(field(&path, "images", "at least one that can be read", "none"))
            }
            None => Ok(self),
        }
    }

    /// The class of every image, (N).
    #[must_use]
    pub fn labels(&self) -> &[usize] {
        &self.labels
    }

    /// The same files with the classes in the order of `names`; each keeps its class, whose label
    /// is then another number.
    ///
    /// # Errors
    /// [`Error::Config`] unless `names` has every class once, and nothing else.
    pub fn with_classes(&self, names: &[String]) -> Result<ImageFolder> {
        let places = relabelling(&self.classes, names)?;
        let labels = self.labels.iter().map(|&label| places[label]).collect();
        Ok(ImageFolder { labels, classes: names.to_vec(), ..self.clone() })
    }

    fn file(&self, index: usize) -> Result<PathBuf> {
        self.path(index).ok_or_else(|| no_image(index, self.len()))
    }
}

impl Dataset for ImageFolder {
    fn len(&self) -> usize {
        self.files.len()
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn channels(&self) -> usize {
        super::decode::CHANNELS
    }

    fn size(&self) -> Option<[usize; 2]> {
        Some(self.size)
    }

    fn label(&self, index: usize) -> Result<usize> {
        self.labels.get(index).copied().ok_or_else(|| no_image(index, self.len()))
    }

    fn image(&self, index: usize) -> Result<Image<'_>> {
        Rgb::decode(&self.file(index)?).map(Image::from)
    }

    /// Of a JPEG only the rows down to the end of the part are decoded, and damage to the data
    /// below is not found.
    fn image_part(
        &self,
        index: usize,
        part: &mut dyn FnMut([usize; 2]) -> [usize; 4],
    ) -> Result<Image<'_>> {
        let path = self.file(index)?;
        let file = Encoded::open(&path)?;
        let [width, height] = file.size();
        let view @ [left, top, across, down] = part([height, width]);
        let inside = |start: usize, len: usize, side| {
            len > 0 && start.checked_add(len).is_some_and(|end| end <= side)
        };
        if !inside(left, across, width) || !inside(top, down, height) {
            // The same error as of images in memory.
            return Image::from(file.decode([0, 0, width, height])?).crop(view);
        }
        file.decode(view).map(Image::from)
    }

    fn name(&self) -> &str {
        "image-folder"
    }

    fn path(&self, index: usize) -> Option<PathBuf> {
        self.files.get(index).map(|file| self.root.join(file))
    }
}

/// What [`ImageFolder::left_out`] calls them.
const HIDDEN: &str = "hidden";

/// The images of a class.
#[derive(Default)]
struct List {
    /// Below the root.
    files: Vec<Box<Path>>,
    left_out: BTreeMap<String, usize>,
}

/// The images in `root/class` and below. torchvision walks the folders and sorts what it got by the
/// path of the folder, as text.
fn list(root: &Path, class: &str) -> Result<List> {
    let mut folders = BTreeMap::new();
    let mut open = vec![class.to_owned()];
    while let Some(folder) = open.pop() {
        let found = entries(&root.join(&folder))?;
        open.extend(found.folders.iter().map(|name| format!("{folder}/{name}")));
        folders.insert(folder, (found.files, found.hidden));
    }
    let mut list = List::default();
    for (folder, (files, hidden)) in folders {
        for name in files {
            let extension = Path::new(&name).extension().and_then(|extension| extension.to_str());
            let known = |end: &str| EXTENSIONS.iter().any(|known| end.eq_ignore_ascii_case(known));
            match extension.is_some_and(known) {
                true => list.files.push(Path::new(&folder).join(name).into()),
                false => count(&mut list.left_out, end(&name)),
            }
        }
        count_many(&mut list.left_out, HIDDEN, hidden);
    }
    Ok(list)
}

/// What [`ImageFolder::left_out`] calls a file of this name.
fn end(name: &str) -> String {
    match Path::new(name).extension() {
        Some(extension) => format!(".{}", extension.to_string_lossy().to_lowercase()),
        None => "no ending".to_owned(),
    }
}

fn count(counts: &mut BTreeMap<String, usize>, end: String) {
    *counts.entry(end).or_default() += 1;
}

fn count_many(counts: &mut BTreeMap<String, usize>, end: &str, files: usize) {
    if files > 0 {
        *counts.entry(end.to_owned()).or_default() += files;
    }
}

/// What is in a folder, by name.
#[derive(Default)]
struct Entries {
    folders: Vec<String>,
    files: Vec<String>,
    /// Files whose names begin with a dot.
    hidden: usize,
}

fn entries(folder: &Path) -> Result<Entries> {
    let io = |source| Error::Io { action: "list", path: folder.to_path_buf(), source };
    let mut found = Entries::default();
    for entry in fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        let name = entry
            .file_name()
            .into_string()
            .map_err(|name| field(folder, "name", "Unicode", &name.to_string_lossy()))?;
        let kind = entry.file_type().map_err(io)?;
        let is_folder = kind.is_dir() || kind.is_symlink() && entry.path().is_dir();
        match (name.starts_with('.'), is_folder) {
            (true, true) => {}
            (true, false) => found.hidden += 1,
            (false, true) => found.folders.push(name),
            (false, false) => found.files.push(name),
        }
    }
    found.folders.sort();
    found.files.sort();
    Ok(found)
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
    fn classes_and_files_are_in_the_order_of_torchvision() {
        let dir = tempfile::tempdir().expect("a folder");
        for file in [
            "train/dog/2.PNG",
            "train/dog/10.jpg",
            "train/cat/b.Jpeg",
            "train/cat/a/deep.jpg",
            "train/cat/a/x/y.tif",
            "train/cat/a-b/x.webp",
            "train/cat/notes.txt",
            "train/cat/a/more.TXT",
            "train/cat/readme",
            "train/cat/k.gif",
            "train/cat/.hidden.jpg",
            "train/.cache/x.jpg",
            "train/list.jpg",
            "test/cat/1.jpg",
            "test/dog/1.ppm",
        ] {
            touch(&dir.path().join(file));
        }
        assert!(ImageFolder::is_in(dir.path()) && !ImageFolder::is_in(dir.path().join("train")));
        let [train, test] = ImageFolder::train_and_test(dir.path()).expect("a good folder");
        assert_eq!(train.classes(), ["cat", "dog"]);
        assert_eq!(train.labels(), [0, 0, 0, 0, 1, 1]);
        let paths: Vec<_> = (0..train.len()).map(|i| train.path(i).expect("in range")).collect();
        // torchvision 0.29: ImageFolder("train").samples
        let names = [
            "cat/b.Jpeg",
            "cat/a/deep.jpg",
            "cat/a-b/x.webp",
            "cat/a/x/y.tif",
            "dog/10.jpg",
            "dog/2.PNG",
        ];
        assert_eq!(paths, names.map(|name| dir.path().join("train").join(name)));
        assert_eq!((train.path(6), test.len()), (None, 2));
        let left_out = [(".gif", 1), (".jpg", 1), (".txt", 2), ("hidden", 1), ("no ending", 1)];
        assert!(train.left_out().iter().map(|(end, files)| (end.as_str(), *files)).eq(left_out));
        assert!(test.left_out().is_empty());

        touch(&dir.path().join("val/cat/7.jpg"));
        touch(&dir.path().join("val/dog/8.jpg"));
        let [_, val] = ImageFolder::train_and_test(dir.path()).expect("a good folder");
        let first = val.path(0).expect("one");
        assert_eq!(first, dir.path().join("val/cat/7.jpg"), "val goes before test");
        fs::remove_dir_all(dir.path().join("train")).expect("a folder");
        assert_eq!(ImageFolder::test(dir.path()).expect("val alone"), val);
        assert!(ImageFolder::is_in(dir.path()));
    }

    #[test]
    fn images_can_be_left_out_but_no_class() {
        let dir = tempfile::tempdir().expect("a folder");
        for file in ["cat/1.jpg", "cat/2.jpg", "dog/3.jpg", "dog/4.jpg"] {
            touch(&dir.path().join(file));
        }
        let folder = ImageFolder::open(dir.path()).expect("a good folder");
        let rest = folder.clone().without(&[2, 0]).expect("one of each is left");
        assert_eq!((rest.labels(), rest.classes()), (&[0, 1][..], folder.classes()));
        assert_eq!([rest.path(0), rest.path(1)], [folder.path(1), folder.path(3)]);
        let message = folder.without(&[2, 3]).expect_err("no dog").to_string();
        assert!(
            message.contains("dog: images: expected at least one that can be read"),
            "{message}"
        );
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
        refused(&["train/ beside val/ or test/", "none"]);
        touch(&dir.path().join("val/cat/1.jpg"));
        refused(&["train/ beside val/ or test/", "none"]);
        touch(&dir.path().join("train/1.jpg"));
        refused(&["train: classes", "a folder for each class", "no folder"]);
        touch(&dir.path().join("train/cat/notes.txt"));
        refused(&[
            "cat: images",
            ".jpg, .jpeg, .png, .ppm, .bmp, .pgm, .tif, .tiff, .webp",
            "none",
        ]);
        touch(&dir.path().join("train/cat/1.jpg"));
        touch(&dir.path().join("val/dog/1.jpg"));
        refused(&["the same in both sets", "dog in one only"]);
    }
}
