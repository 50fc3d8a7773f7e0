//! One process at a time in the folder of a run.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process;

use super::error::{Error, Result};

/// Where the process that has the folder leaves its number.
const NAME: &str = "run.lock";

/// An exclusive hold on a folder. The system releases it when the process ends, however that
/// happens; what is left of the file then is taken over by the next run.
pub(super) struct RunLock {
    file: File,
    path: PathBuf,
    /// Whether the file system has no locks, so that nothing keeps a second run out.
    pub(super) open: bool,
}

impl RunLock {
    /// `Err` if another process has `dir`, which must exist.
    pub(super) fn take(dir: &Path) -> Result<RunLock> {
        let path = dir.join(NAME);
        let failed = || Error::io("lock", &path);
        loop {
            let mut options = OpenOptions::new();
            let file = options.read(true).write(true).create(true).truncate(false).open(&path);
            let mut file = file.map_err(failed())?;
            match file.try_lock() {
                Ok(()) if is_at(&file, &path) => {
                    // For the message of the others only.
                    let written = file.set_len(0).and_then(|()| write!(file, "{}", process::id()));
                    written.map_err(failed())?;
                    return Ok(RunLock { file, path, open: false });
                }
                // Its last owner took it away after it was opened here.
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let mut owner = String::new();
                    file.rewind().and_then(|()| file.read_to_string(&mut owner)).ok();
                    let owner = match owner.is_empty() {
                        true => "another process".to_owned(),
                        false => format!("process {owner}"),
                    };
                    return Err(Error::InUse { dir: dir.to_path_buf(), owner });
                }
                Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {
                    return Ok(RunLock { file, path, open: true });
                }
                Err(TryLockError::Error(error)) => return Err(failed()(error)),
            }
        }
    }
}

impl Drop for RunLock {
    fn drop(&mut self) {
        // Before it is released: afterwards the file might be another's.
        fs::remove_file(&self.path).ok();
        self.file.unlock().ok();
    }
}

/// Whether `file` is what `path` names.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let [file, path] = [file.metadata(), fs::metadata(path)]
        .map(|found| found.map(|found| (found.dev(), found.ino())).ok());
    file.is_some() && file == path
}

/// A file that is open cannot be taken away here.
#[cfg(not(unix))]
fn is_at(_file: &File, _path: &Path) -> bool {
    true
}
