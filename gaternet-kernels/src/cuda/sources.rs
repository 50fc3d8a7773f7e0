//! The list of all CUDA sources, each of which its op names.

use std::path::{Path, PathBuf};

use super::compile::no_compiler;
use super::error::{CudaError, Result};
use super::nvrtc::Nvrtc;
use super::source::Source;
use super::store;

/// Returns all CUDA sources.
pub fn sources() -> impl Iterator<Item = &'static Source> {
    [
        &super::augment::SOURCE,
        &super::avg_pool2d::SOURCE,
        &super::batch_norm::SOURCE,
        &super::batch_shaping::SOURCE,
        &super::clock::SOURCE,
        &super::concat::SOURCE,
        &super::convert::SOURCE,
        &super::cross_entropy::SOURCE,
        &super::dropout::SOURCE,
        &super::ema::SOURCE,
        &super::gate::SOURCE,
        &super::gate_largest::SOURCE,
        &super::gate_loss::SOURCE,
        &super::gate_target::SOURCE,
        &super::global_avg_pool::SOURCE,
        &super::gumbel_sigmoid::SOURCE,
        &super::linear::SOURCE,
        &super::active_filters::SOURCE,
        &super::max_pool2d::SOURCE,
        &super::pad::SOURCE,
        &super::repeat_interleave::SOURCE,
        &super::sem_hash::SOURCE,
        &super::sgd::SOURCE,
        &super::shake_shake::SOURCE,
        &super::sigmoid::SOURCE,
        &super::straight_through::SOURCE,
    ]
    .into_iter()
    .chain(super::conv2d::SOURCES)
}

/// Compiles every source for every architecture that it is for into `folder`, to be used where
/// there is no NVRTC ([`CudaOptions::cubins`](super::CudaOptions::cubins)), with the `nvrtc` of
/// [`CudaOptions::nvrtc`](super::CudaOptions::nvrtc). It needs no GPU. An architecture such as
/// `compute_80` gives PTX, which a driver compiles for any later device.
///
/// # Errors
/// [`CudaError::NoCompiler`] without NVRTC, [`CudaError::Compile`] if NVRTC refuses a source,
/// [`CudaError::Io`] if a file cannot be written.
pub fn build_cubins(
    folder: &Path,
    architectures: &[&str],
    nvrtc: Option<&Path>,
) -> Result<Vec<PathBuf>> {
    let nvrtc = Nvrtc::open(nvrtc);
    let mut written = Vec::new();
    for source in sources() {
        for architecture in architectures.iter().filter(|name| source.is_for(name)) {
            let nvrtc =
                nvrtc.as_ref().map_err(|reason| no_compiler(source, architecture, None, reason))?;
            let path = folder.join(source.image_name(architecture, None));
            store::write(&path, &nvrtc.compile(source, architecture)?)
                .map_err(|error| CudaError::Io { path: path.clone(), error })?;
            written.push(path);
        }
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_header_of_a_source_is_embedded_and_none_is_missing() {
        for source in sources() {
            let mut included: Vec<&str> = Vec::new();
            let texts = source.headers.iter().map(|header| header.1).chain([source.text]);
            for line in texts.flat_map(str::lines) {
                if let Some(name) = line.strip_prefix("#include \"").and_then(|l| l.strip_suffix('"'))
                && !name.ends_with(".h") // the emulator's
                && !included.contains(&name)
                {
                    included.push(name);
                }
            }
            let mut embedded: Vec<&str> = source.headers.iter().map(|header| header.0).collect();
            included.sort_unstable();
            embedded.sort_unstable();
            assert_eq!(embedded, included, "{}", source.file);
        }
    }

    #[test]
    fn every_source_is_named_like_the_file_that_launches_it() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cuda");
        for file in sources().map(Source::file) {
            let op = if file.starts_with("conv2d") { "conv2d/mod.rs" } else { file };
            let op = folder.join(op.replace(".cu", ".rs"));
            assert!(op.is_file(), "{file} has no {}", op.display());
        }
    }
}
