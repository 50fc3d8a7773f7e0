//! Compiles the CUDA kernels into a folder that `GATERNET_CUBINS` can name:
//! `scripts/build-cubins.sh` runs this.
//!
//!     build_cubins FOLDER [ARCHITECTURE...]

use std::env;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use gaternet_kernels::cuda::{CudaOptions, build_cubins};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("build_cubins: {error}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let folder = arguments.next().map(PathBuf::from).ok_or("expected a folder")?;
    let named: Vec<String> = arguments.collect();
    let mut architectures: Vec<&str> = named.iter().map(String::as_str).collect();
    if architectures.is_empty() {
        architectures = vec!["sm_80", "sm_90", "sm_90a", "compute_80"];
    }
    let nvrtc = CudaOptions::from_env(0).nvrtc;
    for path in build_cubins(&folder, &architectures, nvrtc.as_deref())? {
        println!("{}", path.display());
    }
    Ok(())
}
