//! Every file of a set looked at before a run, and remembered.

use std::collections::HashSet;
use std::fs::{self, Metadata};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::UNIX_EPOCH;

use rayon::prelude::*;

use super::Dataset;
use super::decode::Rgb;
use super::image_folder::ImageFolder;
use crate::{Error, checkpoint};

/// An image that a [`Loader`](super::Loader) would fail on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadImage {
    /// Its number in the folder that was checked.
    pub index: usize,
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it, without its name.
    pub reason: String,
}

impl ImageFolder {
    /// Looks at every file without decoding its pixels, on all cores, and returns those that cannot
    /// be read, in order: cut off, of a kind or size that decoding refuses, damaged in their
    /// structure. Damage within compressed data that leaves the structure whole is found by
    /// decoding only.
    ///
    /// Files that were good are remembered in the folder `cache` by path, size and time of change,
    /// for this version of the library: they are not read again. A cache that is missing or
    /// damaged, or cannot be written, only costs time. `progress` is called after each file with
    /// the number of files that are done.
    pub fn check(&self, cache: Option<&Path>, progress: impl Fn(usize) + Sync) -> Vec<BadImage> {
        let cache = cache.map(|folder| folder.join(cache_name(self.root())));
        let known = cache.as_deref().and_then(read_cache).unwrap_or_default();
        let done = AtomicUsize::new(0);
        let look = |index: usize| {
            let path = self.path(index)?;
            let found = look(&path, &known);
            progress(done.fetch_add(1, Ordering::Relaxed) + 1);
            Some(found.map_err(|reason| BadImage { index, path, reason }))
        };
        let found: Vec<Option<Result<u64, BadImage>>> =
            (0..self.len()).into_par_iter().map(look).collect();
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for found in found.into_iter().flatten() {
            match found {
                Ok(key) => good.push(key),
                Err(image) => bad.push(image),
            }
        }
        if let Some(cache) = cache
            && good.iter().any(|key| !known.contains(key))
        {
            write_cache(&cache, &good);
        }
        bad
    }

    /// Where [`check`](Self::check) may remember files: `gaternet/images` in `GATERNET_CACHE`'s
    /// place or the user's cache folder; `None` if the environment names none.
    #[must_use]
    pub fn user_cache() -> Option<PathBuf> {
        let folder = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        // A relative path is to be ignored (XDG Base Directory Specification 0.8).
        let xdg = || folder("XDG_CACHE_HOME").filter(|path| path.is_absolute());
        let user = || xdg().or_else(|| Some(folder("HOME")?.join(".cache")));
        let cache = folder("GATERNET_CACHE").or_else(|| Some(user()?.join("gaternet")));
        Some(cache?.join("images"))
    }
}

/// The key of a good file, or what is wrong with it.
fn look(path: &Path, known: &HashSet<u64>) -> Result<u64, String> {
    let key = fs::metadata(path).ok().and_then(|metadata| key(path, &metadata));
    if let Some(key) = key
        && known.contains(&key)
    {
        return Ok(key);
    }
    match Rgb::check(path) {
        // Without a key it is looked at every time.
        Ok(()) => Ok(key.unwrap_or_default()),
        Err(Error::Field { got, .. }) => Err(got),
        Err(Error::Io { action, source, .. }) => Err(format!("cannot {action} it: {source}")),
        Err(error) => Err(error.to_string()),
    }
}

fn hash(value: impl Hash) -> u64 {
    // Its keys are fixed. Were another release of Rust to hash otherwise, files would be looked at
    // again.
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

fn key(path: &Path, metadata: &Metadata) -> Option<u64> {
    let changed = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    let key = hash((fs::canonicalize(path).ok()?, metadata.len(), changed.as_nanos()));
    Some(key.max(1))
}

fn cache_name(root: &Path) -> String {
    let root = fs::canonicalize(root).unwrap_or_else(|_| root.to_path_buf());
    format!("{:016x}.good", hash(root))
}

/// What a cache begins with: another version may refuse other files.
const MAGIC: &str = concat!("gaternet images ", env!("CARGO_PKG_VERSION"), "\n");

/// The keys in a cache; `None` if there is none or it is not whole.
fn read_cache(path: &Path) -> Option<HashSet<u64>> {
    let bytes = fs::read(path).ok()?;
    let (keys, []) = bytes.strip_prefix(MAGIC.as_bytes())?.as_chunks::<8>() else { return None };
    let (digest, keys) = keys.split_last()?;
    let keys: Vec<u64> = keys.iter().map(|key| u64::from_le_bytes(*key)).collect();
    (hash(&keys) == u64::from_le_bytes(*digest)).then(|| keys.into_iter().collect())
}

fn write_cache(path: &Path, keys: &[u64]) {
    let keys: Vec<u64> = keys.iter().copied().filter(|key| *key != 0).collect();
    let digest = hash(&keys);
    let bytes: Vec<u8> = keys.iter().chain([&digest]).flat_map(|key| key.to_le_bytes()).collect();
    if let Some(folder) = path.parent()
        && fs::create_dir_all(folder).is_ok()
    {
        // It only saves time, so a full or read-only disk is no error.
        let write = |mut file: &fs::File| {
            file.write_all(MAGIC.as_bytes()).and_then(|()| file.write_all(&bytes))
        };
        checkpoint::replace_file(path, write).ok();
    }
}

#[cfg(test)]
mod tests {
    use std::fs::FileTimes;
    use std::time::{Duration, SystemTime};

    use super::*;

    const GOOD: &[u8] = b"P5 2 2 255\n1234";

    fn write(path: &Path, bytes: &[u8]) {
        fs::create_dir_all(path.parent().expect("in a folder")).expect("a folder");
        fs::write(path, bytes).expect("a file");
    }

    #[test]
    fn all_bad_files_are_found_at_once_and_in_order() {
        let dir = tempfile::tempdir().expect("a folder");
        for i in 0..40 {
            let bytes = if i % 7 == 3 { &GOOD[..12] } else { GOOD };
            write(&dir.path().join(format!("class {}/{i:02}.pgm", i % 2)), bytes);
        }
        let folder = ImageFolder::open(dir.path()).expect("a good folder");
        let most = AtomicUsize::new(0);
        let bad = folder.check(None, |done| {
            most.fetch_max(done, Ordering::Relaxed);
        });
        let names: Vec<_> =
            bad.iter().map(|image| image.path.file_name().expect("a name")).collect();
        assert_eq!(names, ["10.pgm", "24.pgm", "38.pgm", "03.pgm", "17.pgm", "31.pgm"]);
        assert!(bad.iter().all(|image| folder.path(image.index).as_ref() == Some(&image.path)));
        assert_eq!(bad[0].reason, "a file cut off after 12 bytes");
        assert_eq!(most.into_inner(), 40);
        let indices: Vec<_> = bad.iter().map(|image| image.index).collect();
        let rest = folder.without(&indices).expect("both classes");
        assert_eq!(rest.check(None, |_| ()), []);
    }

    #[test]
    fn good_files_are_remembered_until_they_change() {
        let dir = tempfile::tempdir().expect("a folder");
        let cache = dir.path().join("cache/deep");
        let path = dir.path().join("set/class/1.pgm");
        let at = |seconds| {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            let file = fs::File::options().write(true).open(&path).expect("a file");
            file.set_times(FileTimes::new().set_modified(time)).expect("a file system with times");
        };
        write(&path, GOOD);
        at(1000);
        let folder = ImageFolder::open(dir.path().join("set")).expect("a good folder");
        let bad = || folder.check(Some(&cache), |_| ()).len();
        assert_eq!(bad(), 0);
        // As long and as old: it is not read.
        let broken = vec![0; GOOD.len()];
        write(&path, &broken);
        at(1000);
        assert_eq!(bad(), 0);
        at(1001);
        assert_eq!(bad(), 1);
        write(&path, GOOD);
        assert_eq!(bad(), 0);

        // A cache with a flipped bit is as none.
        write(&path, &broken);
        at(1000);
        write(&path, GOOD);
        at(1000);
        assert_eq!(bad(), 0);
        write(&path, &broken);
        at(1000);
        let file =
            fs::read_dir(&cache).expect("written").next().expect("one").expect("readable").path();
        let mut bytes = fs::read(&file).expect("readable");
        *bytes.last_mut().expect("a digest") ^= 1;
        fs::write(&file, &bytes).expect("writable");
        assert_eq!(bad(), 1);
        // So is one of another version.
        *bytes.last_mut().expect("a digest") ^= 1;
        let version = bytes.iter().position(|byte| *byte == b'.').expect("a version");
        bytes[version - 1] += 1;
        fs::write(&file, &bytes).expect("writable");
        assert_eq!(bad(), 1);
        bytes[version - 1] -= 1;
        fs::write(&file, &bytes).expect("writable");
        assert_eq!(bad(), 0);
    }

    #[test]
    fn a_cache_that_cannot_be_written_is_no_error() {
        let dir = tempfile::tempdir().expect("a folder");
        write(&dir.path().join("set/class/1.pgm"), GOOD);
        write(&dir.path().join("file"), b"");
        let folder = ImageFolder::open(dir.path().join("set")).expect("a good folder");
        assert_eq!(folder.check(Some(&dir.path().join("file/cache")), |_| ()), []);
    }
}
