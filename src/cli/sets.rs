//! Training and test sets: CIFAR, the built-in images, or image files in folders.

use std::cmp::Reverse;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use gaternet_core::data::{Cifar, Dataset, ImageFolder, ImageSource, synthetic};

use crate::cli::note::note;

/// Images of the built-in training or test set, at most: 3 GB.
const MAX_IMAGES: usize = 1_000_000;

/// Endings of files that are named; of the others the number is said.
const NAMED_ENDS: usize = 10;

/// A training and a test set, which several runs may share.
#[derive(Clone)]
pub struct Sets {
    /// For training, for tests.
    pub images: [ImageSource; 2],
}

impl Sets {
    /// The name of both, as in `cifar10`.
    pub fn name(&self) -> &str {
        self.images[0].name()
    }

    /// The built-in sets, drawn from `seed`.
    ///
    /// # Errors
    /// If one has more than a million images.
    pub fn built_in(seed: u64, train: usize, test: usize) -> Result<Sets> {
        for (set, images) in [("train-images", train), ("test-images", test)] {
            ensure!(images <= MAX_IMAGES, "{set} = {images}: must be at most {MAX_IMAGES}");
        }
        let (train, test) = synthetic(seed, train, test);
        Ok(Sets { images: [train.into(), test.into()] })
    }

    /// Whatever `dir` holds.
    ///
    /// # Errors
    /// If that is neither, both, or cannot be read.
    pub fn open(dir: &Path) -> Result<Sets> {
        if !ImageFolder::is_in(dir) {
            let Cifar { train, test } = Cifar::load(dir).with_context(|| {
                let dir = dir.display();
                format!("no data set in {dir}: neither CIFAR, nor train/ and val/ of image files")
            })?;
            return Ok(Sets { images: [train.into(), test.into()] });
        }
        for cifar in ["cifar-10-batches-bin", "cifar-100-binary"].map(|name| dir.join(name)) {
            if cifar.exists() {
                let (dir, cifar) = (dir.display(), cifar.display());
                bail!("{dir} holds both {cifar} and train/: pass --data {cifar}, or move train/");
            }
        }
        let folders = ImageFolder::train_and_test(dir)?;
        folders.iter().for_each(say_left_out);
        Ok(Sets { images: folders.map(ImageSource::from) })
    }
}

/// Says on stderr which files were not taken for images.
pub fn say_left_out(folder: &ImageFolder) {
    let ends = folder.left_out();
    if ends.is_empty() {
        return;
    }
    let files: usize = ends.values().sum();
    let mut ends: Vec<_> = ends.iter().collect();
    ends.sort_by_key(|&(end, files)| (Reverse(files), end));
    let shown = ends.iter().take(NAMED_ENDS).map(|(end, files)| format!("{files} {end}"));
    let mut shown = shown.collect::<Vec<_>>().join(", ");
    if ends.len() > NAMED_ENDS {
        shown += &format!(" and {} other endings", ends.len() - NAMED_ENDS);
    }
    let noun = if files == 1 { "file" } else { "files" };
    note(format_args!("{}: {files} {noun} left out: {shown}", folder.root().display()));
}
