//! Compiles the CUDA kernels into a folder, for machines without NVRTC: `build_cubins DIR ARCHITECTURE...`, such as
//! `sm_80 sm_90a compute_80`. scripts/build-cubins.sh calls it.

use std::path::Path;
use std::process::ExitCode;

use gaternet_kernels::cuda::build_cubins;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, architectures @ ..] = arguments.as_slice() else {
        eprintln!("usage: build_cubins DIR ARCHITECTURE...");
        return ExitCode::from(2);
    };
    let architectures: Vec<&str> = architectures.iter().map(String::as_str).collect();
    match build_cubins(Path::new(folder), &architectures) {
        Ok(paths) => {
            for path in paths {
                println!("{}", path.display());
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}
