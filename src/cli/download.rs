//! Downloading a data set: a checked archive becomes a whole folder, or nothing is left behind.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use flate2::read::GzDecoder;
use indicatif::{ProgressBar, ProgressStyle};
use md5::{Digest, Md5};
use tempfile::TempDir;

use crate::cli::note::note;

/// How the folders of downloads begin that are not complete.
const SCRATCH: &str = ".download-";

/// In such a folder, locked by the process that fills it: the system unlocks it when that process
/// ends, however it does.
const LOCK: &str = "lock";

/// A `.tar.gz` with one folder in it.
pub struct Archive<'a> {
    /// Where it is.
    pub url: &'a str,
    /// Of the archive, in hexadecimal.
    pub md5: &'a str,
    /// The folder in it.
    pub folder: &'a str,
}

impl Archive<'_> {
    /// Makes `dir/folder` unless it is there or is `dir` itself. What downloads of dead processes
    /// left in `dir` is removed.
    ///
    /// # Errors
    /// As [`install`](Self::install), and if the archive cannot be had.
    pub fn fetch(&self, dir: &Path) -> Result<()> {
        remove_leftovers(dir);
        if dir.join(self.folder).exists() || dir.ends_with(self.folder) && dir.exists() {
            return Ok(());
        }
        note(format_args!("downloading {}", self.url));
        let (length, body) = self.open().with_context(|| self.by_hand(dir))?;
        self.install(dir, length, body)
    }

    /// Makes `dir/folder` of the archive that `body` reads, of `length` bytes if that is known.
    ///
    /// # Errors
    /// If it is not the archive of this checksum, or the folder cannot be written; nothing is left
    /// of it then.
    pub fn install(&self, dir: &Path, length: Option<u64>, body: impl Read) -> Result<()> {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let (scratch, _lock) =
            scratch(dir).with_context(|| format!("cannot write in {}", dir.display()))?;
        let archive =
            receive(self.md5, length, body, scratch.path()).with_context(|| self.by_hand(dir))?;
        tar::Archive::new(GzDecoder::new(archive))
            .unpack(scratch.path())
            .with_context(|| format!("cannot unpack {}", self.url))?;
        let target = dir.join(self.folder);
        fs::rename(scratch.path().join(self.folder), &target)
            .with_context(|| format!("cannot create {}", target.display()))
    }

    fn by_hand(&self, dir: &Path) -> String {
        let (url, dir) = (self.url, dir.display());
        format!("cannot download {url} (by hand: unpack it in {dir} and pass --data {dir})")
    }

    fn open(&self) -> Result<(Option<u64>, impl Read + use<>)> {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_resolve(Some(Duration::from_secs(10)))
            .timeout_connect(Some(Duration::from_secs(10)))
            .timeout_recv_response(Some(Duration::from_secs(30)))
            .timeout_global(Some(Duration::from_secs(3600)))
            .build()
            .into();
        let body = agent.get(self.url).call()?.into_body();
        Ok((body.content_length(), body.into_reader()))
    }
}

/// A folder in `dir` that is removed, with everything in it, when it goes out of scope, and its
/// lock.
fn scratch(dir: &Path) -> Result<(TempDir, File)> {
    for _ in 0..10 {
        let scratch = tempfile::Builder::new().prefix(SCRATCH).tempdir_in(dir)?;
        let path = scratch.path().join(LOCK);
        let Ok(lock) = lock_file(&path) else { continue };
        // Whoever looked for leftovers before the lock was held may have removed the folder.
        if lock.try_lock().is_ok() && path.exists() {
            return Ok((scratch, lock));
        }
    }
    bail!("other processes remove what is made there");
}

fn lock_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(false).write(true).open(path)
}

/// Removes the folders of downloads whose process has ended. One that cannot be removed is in
/// nobody's way.
fn remove_leftovers(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    let named = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with(SCRATCH);
    for entry in entries.flatten().filter(|entry| named(&entry.file_name())) {
        let path = entry.path();
        if lock_file(&path.join(LOCK)).is_ok_and(|lock| lock.try_lock().is_ok()) {
            let _ = fs::remove_dir_all(path);
        }
    }
}

/// The archive in a file in `dir`, its checksum verified.
fn receive(md5: &str, length: Option<u64>, body: impl Read, dir: &Path) -> Result<File> {
    let bar = length.map_or_else(ProgressBar::no_length, ProgressBar::new);
    bar.set_style(ProgressStyle::with_template("{bytes} of {total_bytes} [{bar:30}] eta {eta}")?);
    let mut body = BufReader::with_capacity(1 << 16, bar.wrap_read(body));
    let mut file = tempfile::tempfile_in(dir)?;
    let mut hash = Md5::new();
    loop {
        let chunk = body.fill_buf()?;
        if chunk.is_empty() {
            break;
        }
        hash.update(chunk);
        file.write_all(chunk)?;
        let read = chunk.len();
        body.consume(read);
    }
    bar.finish_and_clear();
    let got: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    ensure!(got == md5, "its MD5 checksum is {got}, expected {md5}");
    file.rewind()?;
    Ok(file)
}
