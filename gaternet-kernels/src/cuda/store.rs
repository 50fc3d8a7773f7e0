//! A file of compiled kernels: the image and, after it, its SHA-256, so that a damaged file is
//! found out. Readers of ELF do not look at what follows, so NVIDIA's tools take a cubin as it is.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

const CHECKSUM: usize = 32;

/// Reads the image in the file `path`.
///
/// # Errors
/// `InvalidData` if the file is not as [`write()`] left it; another error if it cannot be read.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = fs::read(path)?;
    let length = bytes.len().saturating_sub(CHECKSUM);
    let checksum = bytes.split_off(length);
    if Sha256::digest(&bytes)[..] != checksum[..] {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is damaged"));
    }
    Ok(bytes)
}

/// Writes `image` to the file `path` and makes its folder. A thread or process that reads or writes
/// the same file meanwhile sees a whole file or none.
///
/// # Errors
/// Errors of the file system. Then `path` is as it was.
pub(super) fn write(path: &Path, image: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(".image-").suffix(".tmp");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder)?;
    file.write_all(image)?;
    file.write_all(&Sha256::digest(image))?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::path::PathBuf;
    use std::process::{Command, Stdio};
    use std::thread;

    use super::*;

    #[test]
    fn a_file_comes_back_only_as_it_was_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("new/folder/x.cubin");
        for image in [&b"\x7fELF image"[..], b"", b"shorter"] {
            write(&path, image).expect("a file");
            assert_eq!(read(&path).expect("whole"), image);
        }
        let whole = fs::read(&path).expect("a file");
        let mut changed = whole.clone();
        changed[3] ^= 1;
        let longer = [&whole[..], b"x"].concat();
        let cut = &whole[..whole.len() - 1];
        for bytes in [&changed[..], &longer, &whole[1..], cut, &whole[..10], b""] {
            fs::write(&path, bytes).expect("a file");
            let error = read(&path).expect_err("damaged");
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{} bytes", bytes.len());
        }
    }

    #[test]
    fn a_failed_write_is_an_error_and_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        fs::write(&file, "not a folder").expect("a file");
        write(&file.join("x.cubin"), b"image").expect_err("not a folder");
        let taken = folder.path().join("taken/x.cubin");
        fs::create_dir_all(&taken).expect("a folder");
        write(&taken, b"image").expect_err("a folder has the name");
        let left = fs::read_dir(folder.path().join("taken")).expect("a folder").count();
        assert_eq!(left, 1, "a temporary file is left");
    }

    #[test]
    fn threads_and_processes_replace_a_file_without_damage() {
        const NAME: &str =
            "cuda::store::tests::threads_and_processes_replace_a_file_without_damage";
        const FOLDER: &str = "GATERNET_TEST_STORE";
        let replace = |path: &Path, byte: u8| {
            for length in 0..100 {
                write(path, &vec![byte; 1000 * length]).expect("a file");
                let image = read(path).expect("never damaged");
                assert!(image.iter().all(|other| *other == image[0]), "two files are mixed");
            }
        };
        if let Some(folder) = env::var_os(FOLDER) {
            return replace(&PathBuf::from(folder).join("x.cubin"), 2);
        }

        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.cubin");
        let start = || {
            Command::new(env::current_exe().expect("this program"))
                .args(["--exact", NAME])
                .env(FOLDER, folder.path())
                .stdout(Stdio::piped())
                .spawn()
                .expect("a process")
        };
        let processes = [start(), start()];
        thread::scope(|scope| {
            for byte in 0..2 {
                let path = &path;
                scope.spawn(move || replace(path, byte));
            }
        });
        for process in processes {
            let output = process.wait_with_output().expect("a process");
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && text.contains("1 passed"), "{text}");
        }
        let left = fs::read_dir(folder.path()).expect("a folder").count();
        assert_eq!(left, 1, "temporary files are left");
    }
}
