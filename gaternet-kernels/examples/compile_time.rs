//! Measures how long the CUDA kernels take to be compiled, and to come from the cache of an earlier
//! run:
//!
//!     GATERNET_NVRTC=FILE compile_time MAJOR.MINOR
//!
//! The compute capability decides what they are compiled for. Needs NVRTC, no GPU.

use std::env;
use std::error::Error;
use std::process::ExitCode;
use std::time::Instant;

use gaternet_kernels::cuda::{Compiler, CudaOptions, Origin, sources};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compile_time: {error}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let expected = "expected a compute capability such as 9.0";
    let capability = env::args().nth(1).ok_or(expected)?;
    let (major, minor) = capability.split_once('.').ok_or(expected)?;
    let capability = (major.parse()?, minor.parse()?);
    let cache = env::temp_dir().join(format!("gaternet-compile-time-{}", std::process::id()));
    let mut options = CudaOptions::from_env(0);
    (options.cache, options.cubins) = (Some(cache.clone()), None);
    let result = [false, true].into_iter().try_for_each(|again| pass(capability, &options, again));
    // It may be that nothing was written.
    let _ = std::fs::remove_dir_all(cache);
    result
}

/// All kernels that the capability can have, as a new process would get them.
fn pass(
    capability: (i32, i32),
    options: &CudaOptions,
    from_cache: bool,
) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let compiler = Compiler::new(capability, options);
    let architecture = compiler.architecture();
    let (mut files, mut bytes) = (0, 0);
    for source in sources().filter(|source| source.is_for(&architecture)) {
        let image = compiler.image(source)?;
        if matches!(image.origin, Origin::Cache(_)) != from_cache {
            return Err(format!("{} came from {}", source.file(), image.origin).into());
        }
        (files, bytes) = (files + 1, bytes + image.bytes.len());
    }
    let (from, seconds) = (if from_cache { "cache" } else { "NVRTC" }, start.elapsed());
    println!(
        "{from}: {files} files for {architecture}, {bytes} bytes, {:.3} s",
        seconds.as_secs_f64()
    );
    Ok(())
}
