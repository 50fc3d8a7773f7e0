//! The folder that `scripts/cuda-toolchain.sh` makes.

use std::env;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use gaternet_kernels::cuda::compile::{Architecture, Source};

/// NVIDIA's compilers.
pub(crate) struct Toolchain {
    root: PathBuf,
}

impl Toolchain {
    /// That of `GATERNET_CUDA_TOOLCHAIN`, or of `target/cuda-toolchain`; if it is not there, prints SKIPPED.
    ///
    /// # Panics
    /// If the variable names a folder without one.
    pub(crate) fn find() -> Option<Toolchain> {
        let variable = env::var_os("GATERNET_CUDA_TOOLCHAIN").map(PathBuf::from);
        let folder = variable.clone().unwrap_or_else(|| {
            let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("target/tmp");
            target.join("cuda-toolchain")
        });
        let root = folder.join("nvidia/cu13");
        if root.join("bin/nvcc").exists() {
            return Some(Toolchain { root });
        }
        let reason = format!(
            "no CUDA compilers in {} (scripts/cuda-toolchain.sh installs them; GATERNET_CUDA_TOOLCHAIN names another folder)",
            folder.display()
        );
        assert!(variable.is_none(), "{reason}");
        // Not println!, which is shown of failed tests only.
        writeln!(io::stdout(), "SKIPPED: {reason}").expect("stdout");
        None
    }

    pub(crate) fn nvrtc(&self) -> PathBuf {
        self.root.join("lib/libnvrtc.so.13")
    }

    /// The cubin that nvcc makes of `source`.
    pub(crate) fn nvcc(&self, source: &Source, architecture: Architecture) -> Vec<u8> {
        let folder = tempfile::tempdir().expect("temp dir");
        let output = folder.path().join("out.cubin");
        self.run(
            "nvcc",
            &[
                "-std=c++17".as_ref(),
                "-cubin".as_ref(),
                format!("-arch={architecture}").as_ref(),
                "-o".as_ref(),
                &output,
                &Path::new(env!("CARGO_MANIFEST_DIR"))
                    .join(format!("kernels-cu/{}.cu", source.name())),
            ],
        );
        fs::read(output).expect("nvcc's cubin")
    }

    /// What cuobjdump says of the registers and the memory of the kernels in `cubin`.
    pub(crate) fn resource_usage(&self, cubin: &[u8]) -> String {
        let file = tempfile::NamedTempFile::new().expect("temp file");
        fs::write(&file, cubin).expect("write");
        self.run("cuobjdump", &["--dump-resource-usage".as_ref(), file.path()])
    }

    /// The standard output of a program of the toolchain.
    fn run(&self, program: &str, arguments: &[&Path]) -> String {
        let bin = self.root.join("bin");
        // cuobjdump looks for nvdisasm there.
        let mut path = bin.clone().into_os_string();
        path.push(":");
        path.push(env::var_os("PATH").unwrap_or_default());
        let output = Command::new(bin.join(program))
            .args(arguments)
            .env("PATH", path)
            .output()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {arguments:?}: {}\n{errors}", output.status);
        // A warning is a fault of ours in a kernel.
        assert!(errors.trim().is_empty(), "{program} {arguments:?}: {errors}");
        String::from_utf8(output.stdout).expect("text")
    }
}
