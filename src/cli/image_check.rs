//! Image files looked at before a run.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use gaternet_core::data::{BadImage, Dataset, ImageFolder, ImageSource};
use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::note::note;

/// Bad files that an error names; of the others it gives the number.
const NAMED: usize = 10;

/// An image file that was left out.
#[derive(Debug, Clone)]
pub struct Skipped {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// Looks at every image file of these sets. With `skip_bad` those that cannot be read are left out,
/// said on stderr and returned; without it they are one error that names them. Sets in memory stay
/// as they are.
///
/// # Errors
/// If files cannot be read, without `skip_bad`; with it, if no others are left.
pub fn checked<const SETS: usize>(
    mut sets: [ImageSource; SETS],
    skip_bad: bool,
) -> Result<([ImageSource; SETS], Vec<Skipped>)> {
    let mut bad = Vec::new();
    for set in &mut sets {
        let ImageSource::Files(folder) = set else { continue };
        let found = check(folder);
        if skip_bad && !found.is_empty() {
            let indices: Vec<_> = found.iter().map(|image| image.index).collect();
            *set = ImageFolder::clone(folder).without(&indices)?.into();
        }
        bad.extend(found.into_iter().map(|BadImage { path, reason, .. }| Skipped { path, reason }));
    }
    if !bad.is_empty() {
        let (count, list) = (bad.len(), list(&bad));
        let files = if count == 1 { "image file" } else { "image files" };
        ensure!(skip_bad, "{count} {files} cannot be read, which --skip-bad leaves out:{list}");
        note(format_args!("{count} {files} left out that cannot be read:{list}"));
    }
    Ok((sets, bad))
}

fn check(folder: &ImageFolder) -> Vec<BadImage> {
    // Drawn on a terminal only.
    let bar = ProgressBar::new(folder.len() as u64);
    if let Ok(style) = ProgressStyle::with_template("{msg} [{bar:30}] {pos}/{len} {eta}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(format!("checking {}", folder.root().display()));
    let bad = folder.check(ImageFolder::user_cache().as_deref(), |_| bar.inc(1));
    bar.finish_and_clear();
    bad
}

/// A line for each of the first files, and how many more there are.
fn list(files: &[Skipped]) -> String {
    let line = |Skipped { path, reason }: &Skipped| format!("\n  {}: {reason}", path.display());
    let mut list: String = files.iter().take(NAMED).map(line).collect();
    if files.len() > NAMED {
        list += &format!("\n  and {} more", files.len() - NAMED);
    }
    list
}
