//! Compiles the CUDA sources into a folder that `GATERNET_CUBINS` can name: `scripts/build-cubins.sh` runs this.
//!
//!     build_cubins FOLDER [ARCHITECTURE...]       sm_80 sm_90 if none is given
//!
//! A source written for Hopper is compiled for sm_90a if sm_90 is among them.

use std::env;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use gaternet_kernels::cuda::compile::{Architecture, CompileError, Compiler, Places, Source};

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("build_cubins: {error}");
            ExitCode::from(2)
        }
    }
}

fn build() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args_os().skip(1);
    let folder = arguments.next().map(PathBuf::from).ok_or("expected a folder")?;
    let mut devices = Vec::new();
    for name in arguments {
        devices.push(name.to_string_lossy().parse::<Architecture>()?);
    }
    if devices.is_empty() {
        devices = vec![Architecture::SM_80, Architecture::SM_90];
    }

    let compiler = Compiler::new(Places::from_environment());
    for source in Source::ALL {
        for device in &devices {
            match compiler.prebuild(&source, *device, &folder) {
                Ok(path) => println!("{}", path.display()),
                Err(CompileError::Unsupported { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}
