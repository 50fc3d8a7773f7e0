//! Options for opening a device.

use std::path::PathBuf;

/// The number of the device to open, and where compiled kernels are.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct CudaOptions {
    /// The device's number, from 0.
    pub ordinal: usize,
    /// Folder in which compiled kernels are kept from run to run; `None` compiles them in every
    /// run.
    pub cache: Option<PathBuf>,
    /// Folder of kernels that were compiled elsewhere ([`build_cubins`](super::build_cubins)).
    pub cubins: Option<PathBuf>,
    /// The file of NVRTC, which compiles kernels that are not in the folders; `None` looks where
    /// the loader and CUDA toolkits have it.
    pub nvrtc: Option<PathBuf>,
    /// The instructions that multiply matrices.
    pub products: Products,
}

/// The instructions that multiply matrices. A choice other than [`Auto`](Self::Auto) is for
/// comparisons.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Products {
    /// The instructions that are faster for the device and the sizes.
    #[default]
    Auto,
    /// The instruction `mma.sync`, which every device has.
    MmaSync,
    /// The instruction `wgmma`, wherever it is possible.
    Wgmma,
}

impl CudaOptions {
    /// Options for device `ordinal` from the environment: compiled kernels are kept in
    /// `GATERNET_CACHE`, else in `gaternet` in the user's cache folder, and those of
    /// `GATERNET_CUBINS`, else of the folder `cubins` beside the program, are used; NVRTC is
    /// `GATERNET_NVRTC`.
    #[must_use]
    pub fn from_env(ordinal: usize) -> CudaOptions {
        let folder = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        // A relative path is to be ignored (XDG Base Directory Specification 0.8).
        let xdg = || folder("XDG_CACHE_HOME").filter(|path| path.is_absolute());
        let user = || xdg().or_else(|| Some(folder("HOME")?.join(".cache")));
        let beside = || {
            let beside = std::env::current_exe().ok()?.parent()?.join("cubins");
            beside.is_dir().then_some(beside)
        };
        CudaOptions {
            ordinal,
            cache: folder("GATERNET_CACHE").or_else(|| Some(user()?.join("gaternet"))),
            cubins: folder("GATERNET_CUBINS").or_else(beside),
            nvrtc: folder("GATERNET_NVRTC"),
            products: Products::Auto,
        }
    }
}
