//! All CUDA sources: the one list of what the ops compile, each of which names its own.

use std::path::{Path, PathBuf};

use super::compile::no_compiler;
use super::error::{CudaError, Result};
use super::nvrtc::Nvrtc;
use super::source::Source;
use super::store;
use super::{
    augment, batch_norm, batch_shaping, clock, concat, conv2d, convert, cross_entropy, dropout,
    ema, gate, gate_apply, gate_group, gate_largest, gate_loss, gate_target, gumbel_sigmoid,
    linear, mix, pad, pool, pool2d, sem_hash, sgd, sigmoid, straight_through,
};

/// Every source.
pub fn sources() -> impl Iterator<Item = &'static Source> {
    [
        &augment::SOURCE,
        &batch_norm::SOURCE,
        &batch_shaping::SOURCE,
        &clock::SOURCE,
        &concat::SOURCE,
        &convert::SOURCE,
        &cross_entropy::SOURCE,
        &dropout::SOURCE,
        &ema::SOURCE,
        &gate::SOURCE,
        &gate_apply::SOURCE,
        &gate_group::SOURCE,
        &gate_largest::SOURCE,
        &gate_loss::SOURCE,
        &gate_target::SOURCE,
        &gumbel_sigmoid::SOURCE,
        &linear::SOURCE,
        &mix::SOURCE,
        &pad::SOURCE,
        &pool::SOURCE,
        &pool2d::SOURCE,
        &sem_hash::SOURCE,
        &sgd::SOURCE,
        &sigmoid::SOURCE,
        &straight_through::SOURCE,
    ]
    .into_iter()
    .chain(conv2d::SOURCES)
}

/// Compiles every source for every architecture that it is for into `folder`, to be used where NVRTC is not
/// ([`CudaOptions::cubins`]), with the `nvrtc` of [`CudaOptions::nvrtc`]. Needs no GPU. An architecture such as
/// `compute_80` gives PTX, which a driver compiles for any later device.
///
/// # Errors
/// [`CudaError::NoCompiler`], [`CudaError::Compile`] or [`CudaError::Io`].
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
}
