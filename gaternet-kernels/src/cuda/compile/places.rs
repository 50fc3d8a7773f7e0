//! Where machine code and its compiler are looked for.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

/// Where a [`Compiler`](super::Compiler) looks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// Folder of prebuilt cubins; none are used without.
    pub cubins: Option<PathBuf>,
    /// Folder that compiled cubins are kept in; they are not kept without.
    pub cache: Option<PathBuf>,
    /// The file of NVRTC; without, it is looked for where the loader and CUDA toolkits have it.
    pub nvrtc: Option<PathBuf>,
}

impl Places {
    /// What the environment says: see the [module](super).
    #[must_use]
    pub fn from_environment() -> Places {
        Places::from_variables(|name| env::var_os(name), env::current_exe().ok())
    }

    pub(super) fn from_variables(
        variable: impl Fn(&str) -> Option<OsString>,
        executable: Option<PathBuf>,
    ) -> Places {
        let path = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        // A relative path is to be ignored: XDG Base Directory Specification 0.8.
        let cache = path("XDG_CACHE_HOME")
            .filter(|folder| folder.is_absolute())
            .or_else(|| Some(path("HOME")?.join(".cache")));
        Places {
            cubins: path("GATERNET_CUBINS").or_else(|| Some(executable?.parent()?.join("cubins"))),
            cache: cache.map(|folder| folder.join("gaternet")),
            nvrtc: path("GATERNET_NVRTC"),
        }
    }
}
