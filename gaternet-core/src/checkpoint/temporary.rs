//! Temporary files that become the file they were written for, and those that never did.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;

use tempfile::NamedTempFile;

use crate::{Error, Result};

const PREFIX: &str = ".checkpoint-";
const SUFFIX: &str = ".tmp";

/// Writes the file `path`, all of it or nothing: `write` fills a temporary file in the same folder,
/// which then takes the place of `path`; on disk before and after that.
///
/// # Errors
/// [`Error::Io`] if that fails or `write` does. Then `path` is as it was before and the temporary
/// file is gone.
pub fn replace_file(
    path: impl AsRef<Path>,
    write: impl FnOnce(&File) -> io::Result<()>,
) -> Result<()> {
    let path = path.as_ref();
    let fail = |action| move |source| Error::Io { action, path: path.to_path_buf(), source };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    // Dropping the temporary file, on every error, removes it.
    let file = locked_file(folder).map_err(fail("write"))?;
    let written = write(file.as_file()).and_then(|()| file.as_file().sync_all());
    written.map_err(fail("write"))?;
    file.persist(path).map_err(|error| error.error).map_err(fail("replace"))?;
    sync_folder(folder).map_err(fail("synchronise the folder of"))
}

/// Removes the temporary files in `folder` that a process left when it was killed while it wrote a
/// file: those of [`save`](super::save()), [`replace_file`] and all that is written with them. How
/// many there were; 0 if there is no such folder. One that is being written is locked by its
/// process and stays, and so does one that this process may not open.
///
/// # Errors
/// [`Error::Io`] if the folder cannot be read or a file cannot be removed.
pub fn remove_stale_temporary_files(folder: impl AsRef<Path>) -> Result<usize> {
    let folder = folder.as_ref();
    let fail = |action, path: &Path, source| {
        let path = path.to_path_buf();
        Err(Error::Io { action, path, source })
    };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
        Err(error) => return fail("read", folder, error),
    };
    let mut removed = 0;
    for entry in entries {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => return fail("read", folder, error),
        };
        // A pipe or a link of such a name is not from here.
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if !is_file || !is_temporary(&entry.file_name()) {
            continue;
        }
        // For writing: where locks go over a network, only such a file can be locked for oneself.
        let Ok(file) = File::options().write(true).open(entry.path()) else { continue };
        if file.try_lock().is_err() {
            continue;
        }
        match fs::remove_file(entry.path()) {
            Ok(()) => removed += 1,
            // Another process was faster.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return fail("remove", &entry.path(), error),
        }
    }
    Ok(removed)
}

fn is_temporary(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX))
}

/// A temporary file that is locked as long as it is open.
fn locked_file(folder: &Path) -> io::Result<NamedTempFile> {
    loop {
        let file = temporary_file(folder)?;
        // A file system without locks has none for whoever looks for stale files either.
        let locked = file.as_file().lock().is_ok();
        // Between its creation and the lock, the file looks stale.
        if !locked || file.path().try_exists()? {
            return Ok(file);
        }
    }
}

/// A file of a name that nothing else uses, with the permissions of an ordinary new file.
fn temporary_file(folder: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(PREFIX).suffix(SUFFIX);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder)
}

/// The new name is on disk only when the folder is. Only Unix can open a folder to say so.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::thread;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("a folder");
        let name = |entry: io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
        let mut names: Vec<_> =
            entries.map(|entry| name(entry).to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn files_of_dead_processes_go_and_all_others_stay() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = dir.path();
        for stale in [".checkpoint-a1B2c3.tmp", ".checkpoint-x.tmp"] {
            fs::write(folder.join(stale), "half").expect("a file");
        }
        let kept = [".checkpoint-folder.tmp", ".checkpoint-x", "checkpoint-x.tmp", "model.tmp"];
        fs::create_dir(folder.join(kept[0])).expect("a folder");
        kept[1..].iter().for_each(|name| fs::write(folder.join(name), "kept").expect("a file"));
        replace_file(folder.join("model"), |mut file| {
            file.write_all(b"whole")?;
            let removed = remove_stale_temporary_files(folder).expect("a folder");
            assert_eq!(removed, 2, "{:?}", names(folder));
            assert_eq!(names(folder).len(), kept.len() + 1, "the one being written stays");
            Ok(())
        })
        .expect("written while others were removed");
        let mut all = [&kept[..], &["model"]].concat();
        all.sort();
        assert_eq!(names(folder), all);
        assert_eq!(fs::read(folder.join("model")).expect("a file"), b"whole");
        assert_eq!(remove_stale_temporary_files(folder).expect("a folder"), 0);
        assert_eq!(remove_stale_temporary_files(folder.join("none")).expect("no folder"), 0);
        let error = remove_stale_temporary_files(folder.join("model")).expect_err("a file");
        assert!(matches!(error, Error::Io { action: "read", .. }), "{error}");
    }

    #[test]
    fn no_file_that_is_being_written_is_ever_removed() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = dir.path();
        thread::scope(|scope| {
            let writers = [0, 1].map(|writer| {
                scope.spawn(move || {
                    for _ in 0..100 {
                        let path = folder.join(format!("file{writer}"));
                        replace_file(path, |mut file| file.write_all(b"whole")).expect("written");
                    }
                })
            });
            while writers.iter().any(|writer| !writer.is_finished()) {
                remove_stale_temporary_files(folder).expect("a folder");
            }
        });
        assert_eq!(names(folder), ["file0", "file1"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_of_such_a_name_is_not_followed() {
        let dir = tempfile::tempdir().expect("a folder");
        let target = dir.path().join("precious");
        fs::write(&target, "kept").expect("a file");
        let link = dir.path().join(".checkpoint-link.tmp");
        std::os::unix::fs::symlink(&target, &link).expect("a link");
        assert_eq!(remove_stale_temporary_files(dir.path()).expect("a folder"), 0);
        assert_eq!(names(dir.path()), [".checkpoint-link.tmp", "precious"]);
    }
}
