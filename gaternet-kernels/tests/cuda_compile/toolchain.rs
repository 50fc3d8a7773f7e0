//! The folder that `scripts/cuda-toolchain.sh` makes.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use gaternet_kernels::test_support::skipped;

/// NVIDIA's compilers.
pub(crate) struct Toolchain {
    folder: PathBuf,
}

impl Toolchain {
    /// That of `GATERNET_CUDA_TOOLCHAIN`, or of `target/cuda-toolchain`; if it is not there, prints
    /// SKIPPED.
    ///
    /// # Panics
    /// If the variable names a folder without one.
    pub(crate) fn find() -> Option<Toolchain> {
        let variable = env::var_os("GATERNET_CUDA_TOOLCHAIN").map(PathBuf::from);
        let folder = variable.clone().unwrap_or_else(|| {
            let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("target/tmp");
            target.join("cuda-toolchain")
        });
        if folder.join("bin/nvcc").exists() {
            return Some(Toolchain { folder });
        }
        let reason = format!(
            "no CUDA compilers in {} (scripts/cuda-toolchain.sh installs them; GATERNET_CUDA_TOOLCHAIN names another folder)",
            folder.display()
        );
        assert!(variable.is_none(), "{reason}");
        skipped("toolchain", &reason);
        None
    }

    pub(crate) fn nvrtc(&self) -> PathBuf {
        self.folder.join("lib/libnvrtc.so.13")
    }

    /// What cuobjdump says of the registers and the memory of the kernels in the cubin `file`.
    pub(crate) fn resource_usage(&self, file: &Path) -> String {
        self.run("cuobjdump", &["--dump-resource-usage".as_ref(), file.as_os_str()])
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// The same of the cubin that nvcc makes of the CUDA source `file`; `Err` if it is refused, or
    /// warned of, as where registers are spilled.
    pub(crate) fn nvcc_resource_usage(
        &self,
        file: &Path,
        architecture: &str,
    ) -> Result<String, String> {
        let kernels = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels-cu");
        let cubin = tempfile::NamedTempFile::new().expect("a file");
        let architecture = format!("-arch={architecture}");
        let spills = "-Xptxas=--warn-on-spills";
        let options = ["-std=c++17", "-cubin", spills, &architecture, "-I"].map(OsStr::new);
        let output = ["-o".as_ref(), cubin.path().as_os_str()];
        self.run(
            "nvcc",
            &[&options[..], &[kernels.as_os_str()], &output, &[file.as_os_str()]].concat(),
        )?;
        Ok(self.resource_usage(cubin.path()))
    }

    /// The standard output of a program of the toolchain. A warning is a fault of ours in a kernel.
    fn run(&self, program: &str, arguments: &[&OsStr]) -> Result<String, String> {
        let bin = self.folder.join("bin");
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
        if !output.status.success() || !errors.trim().is_empty() {
            return Err(format!("{program} {arguments:?}: {}\n{errors}", output.status));
        }
        Ok(String::from_utf8(output.stdout).expect("text"))
    }
}
