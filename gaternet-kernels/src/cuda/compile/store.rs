//! A file with a cubin: the cubin and, after it, its SHA-256, so that a damaged file is found out. Readers of ELF do
//! not look at what follows, so NVIDIA's tools take the file as it is.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

const CHECKSUM: usize = 32;

/// The cubin in the file `path`.
///
/// # Errors
/// `InvalidData` if the file is not as [`write()`] left it; any other if it cannot be read.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = fs::read(path)?;
    let length = bytes.len().saturating_sub(CHECKSUM);
    let checksum = bytes.split_off(length);
    if Sha256::digest(&bytes)[..] != checksum[..] {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is damaged"));
    }
    Ok(bytes)
}

/// Writes `cubin` to the file `path` and makes its folder. Whoever reads meanwhile, or writes the same, in this
/// process or another, sees a whole file or none.
///
/// # Errors
/// Those of the file system. Then `path` is as it was.
pub(super) fn write(path: &Path, cubin: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(".cubin-").suffix(".tmp");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder)?;
    file.write_all(cubin)?;
    file.write_all(&Sha256::digest(cubin))?;
    file.persist(path)?;
    Ok(())
}
