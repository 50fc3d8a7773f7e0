//! Downloading a data set: a checked archive becomes a whole folder, or nothing is left behind.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use flate2::read::GzDecoder;
use indicatif::ProgressBar;
use md5::{Digest, Md5};

/// A `.tar.gz` with one folder in it.
pub(crate) struct Archive<'a> {
    pub(crate) url: &'a str,
    /// Of the archive, in hexadecimal.
    pub(crate) md5: &'a str,
    /// The folder in it.
    pub(crate) folder: &'a str,
}

impl Archive<'_> {
    /// Makes `dir/folder` unless it is there.
    pub(crate) fn fetch(&self, dir: &Path) -> Result<()> {
        let target = dir.join(self.folder);
        if target.exists() {
            return Ok(());
        }
        let by_hand = || {
            let (url, dir) = (self.url, dir.display());
            format!("cannot download {url}; to do it by hand, unpack it in {dir} and pass --data {dir}")
        };
        let (length, body) = self.open().with_context(by_hand)?;
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        // Removed with everything in it when it goes out of scope.
        let scratch = tempfile::Builder::new().prefix(".download-").tempdir_in(dir)?;
        let archive = self.receive(length, body, scratch.path()).with_context(by_hand)?;
        tar::Archive::new(GzDecoder::new(archive))
            .unpack(scratch.path())
            .with_context(|| format!("cannot unpack {}", self.url))?;
        fs::rename(scratch.path().join(self.folder), &target)
            .with_context(|| format!("cannot create {}", target.display()))
    }

    fn open(&self) -> Result<(Option<u64>, impl Read)> {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_connect(Some(Duration::from_secs(10)))
            .timeout_recv_response(Some(Duration::from_secs(30)))
            .build()
            .into();
        let body = agent.get(self.url).call()?.into_body();
        Ok((body.content_length(), body.into_reader()))
    }

    /// The archive in a file in `dir`, its checksum verified.
    fn receive(&self, length: Option<u64>, body: impl Read, dir: &Path) -> Result<File> {
        let bar = length.map_or_else(ProgressBar::no_length, ProgressBar::new);
        let mut body = bar.wrap_read(body);
        let mut file = tempfile::tempfile_in(dir)?;
        let mut md5 = Md5::new();
        let mut chunk = vec![0; 1 << 16];
        loop {
            let read = match body.read(&mut chunk) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            md5.update(&chunk[..read]);
            file.write_all(&chunk[..read])?;
        }
        bar.finish_and_clear();
        let got: String = md5.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        ensure!(got == self.md5, "its MD5 checksum is {got}, expected {}", self.md5);
        file.rewind()?;
        Ok(file)
    }
}
