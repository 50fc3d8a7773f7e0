//! NVRTC, NVIDIA's compiler as a library, opened when it is needed.
//!
//! cudarc has a binding too, but it knows the library by fewer names and panics if it is not there.
//!
//! Source of names, types and numbers: NVRTC documentation 13.0, and `nvrtc.h` of the CUDA toolkit.

use std::env;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::ptr;
use std::time::Instant;

use libloading::Library;

use super::error::{CudaError, Result};
use super::source::{OPTIONS, Source, is_ptx};

/// The type `nvrtcResult`, of which 0 is success.
type Status = c_int;
/// The type `nvrtcProgram`.
type Program = *mut c_void;
const BUILTIN_OPERATION_FAILURE: Status = 7;

macro_rules! functions {
    ($($name:ident: $type:ty),* $(,)?) => {
        #[allow(non_snake_case)]
        #[derive(Debug)]
        struct Functions { $($name: $type),* }

        impl Functions {
            /// Returns the functions of `library`, or an error that names the missing one.
            ///
            /// # Safety
            /// If `library` has these names, they are NVRTC's functions. The result may be used
            /// while it is open.
            unsafe fn of(library: &Library) -> Result<Functions, libloading::Error> {
                // SAFETY: the caller's promise: a function of this name has this type in NVRTC.
                unsafe { Ok(Functions { $($name: *library.get::<$type>(stringify!($name))?),* }) }
            }
        }
    };
}

functions! {
    nvrtcVersion: unsafe extern "C" fn(*mut c_int, *mut c_int) -> Status,
    nvrtcGetErrorString: unsafe extern "C" fn(Status) -> *const c_char,
    nvrtcCreateProgram: unsafe extern "C" fn(
        *mut Program,
        *const c_char,
        *const c_char,
        c_int,
        *const *const c_char,
        *const *const c_char,
    ) -> Status,
    nvrtcDestroyProgram: unsafe extern "C" fn(*mut Program) -> Status,
    nvrtcCompileProgram: unsafe extern "C" fn(Program, c_int, *const *const c_char) -> Status,
    nvrtcGetProgramLogSize: unsafe extern "C" fn(Program, *mut usize) -> Status,
    nvrtcGetProgramLog: unsafe extern "C" fn(Program, *mut c_char) -> Status,
    nvrtcGetCUBINSize: unsafe extern "C" fn(Program, *mut usize) -> Status,
    nvrtcGetCUBIN: unsafe extern "C" fn(Program, *mut c_char) -> Status,
    nvrtcGetPTXSize: unsafe extern "C" fn(Program, *mut usize) -> Status,
    nvrtcGetPTX: unsafe extern "C" fn(Program, *mut c_char) -> Status,
}

/// The opened library.
#[derive(Debug)]
pub(super) struct Nvrtc {
    functions: Functions,
    version: (i32, i32),
    /// The libraries that stay open as long as the functions are used: NVRTC and, where it would
    /// not find it itself, the library that it opens.
    _libraries: Vec<Library>,
}

impl Nvrtc {
    /// Opens the file `file`, or the first of [`candidates`] that opens.
    ///
    /// # Errors
    /// A text of what was tried and what the loader said.
    pub(super) fn open(file: Option<&Path>) -> Result<Nvrtc, String> {
        let candidates = file.map_or_else(candidates, |file| vec![file.to_owned()]);
        let mut reasons = Vec::new();
        for candidate in &candidates {
            match Nvrtc::open_file(candidate) {
                Ok(nvrtc) => {
                    let (major, minor) = nvrtc.version;
                    tracing::debug!(path = %candidate.display(), "NVRTC {major}.{minor}");
                    return Ok(nvrtc);
                }
                Err(reason) => reasons.push(reason),
            }
        }
        Err(reasons.join("; "))
    }

    fn open_file(path: &Path) -> Result<Nvrtc, String> {
        // SAFETY: initialisers of NVRTC and of its libraries have no preconditions.
        let library = unsafe { Library::new(path) }.map_err(described)?;
        // SAFETY: only NVRTC has functions of these names; `library` is kept beside them.
        let functions = unsafe { Functions::of(&library) }.map_err(described)?;
        let (mut major, mut minor) = (0, 0);
        // SAFETY: both point to integers.
        let status = unsafe { (functions.nvrtcVersion)(&mut major, &mut minor) };
        if status != 0 {
            return Err(format!("{}: nvrtcVersion returns {status}", path.display()));
        }
        let mut libraries = vec![library];
        // NVRTC opens this by its bare name, which fails outside the loader's path. Once it is
        // open, the name is known.
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            let builtins = folder.join(format!("libnvrtc-builtins.so.{major}.{minor}"));
            // SAFETY: as above. If it is not here, NVRTC looks for it and says so if there is none.
            libraries.extend(unsafe { Library::new(builtins) }.ok());
        }
        Ok(Nvrtc { functions, version: (major, minor), _libraries: libraries })
    }

    /// Returns the version of NVRTC, (major, minor).
    pub(super) fn version(&self) -> (i32, i32) {
        self.version
    }

    /// Compiles `source` to machine code for an architecture such as `sm_90`, or to PTX for one
    /// such as `compute_80`.
    ///
    /// # Errors
    /// [`CudaError::Compile`] with what the compiler printed.
    pub(super) fn compile(&self, source: &Source, architecture: &str) -> Result<Vec<u8>> {
        let start = Instant::now();
        let image = Running::new(self, source)
            .map_err(|status| (status, String::new()))
            .and_then(|program| program.compile(architecture))
            .map_err(|(status, log)| CudaError::Compile {
                file: source.file,
                architecture: architecture.to_owned(),
                log: format!("{}\n{}", self.error_string(status), log.trim_end()),
            })?;
        tracing::debug!(kernels = source.file, architecture, elapsed = ?start.elapsed(), "compiled");
        Ok(image)
    }

    fn error_string(&self, status: Status) -> String {
        // SAFETY: the function takes any number and returns a constant string.
        let text = unsafe { (self.functions.nvrtcGetErrorString)(status) };
        if status == BUILTIN_OPERATION_FAILURE {
            let (major, minor) = self.version;
            return format!(
                "libnvrtc-builtins.so.{major}.{minor} cannot be opened: it must be beside NVRTC or on LD_LIBRARY_PATH"
            );
        }
        if text.is_null() {
            return format!("NVRTC error {status}");
        }
        // SAFETY: not null, so it is such a string.
        unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
    }
}

/// A program in NVRTC, destroyed at the end.
struct Running<'a> {
    functions: &'a Functions,
    program: Program,
}

impl<'a> Running<'a> {
    fn new(nvrtc: &'a Nvrtc, source: &Source) -> Result<Running<'a>, Status> {
        let (text, name) = (c_string(source.text), c_string(source.file));
        let (names, headers): (Vec<_>, Vec<_>) =
            source.headers.iter().map(|(name, text)| (c_string(name), c_string(text))).unzip();
        let (names, headers) = (pointers(&names), pointers(&headers));
        let functions = &nvrtc.functions;
        let mut program = ptr::null_mut();
        // SAFETY: all strings end in 0 and live until the call returns (NVRTC copies them); both
        // lists have as many entries as is said.
        let status = unsafe {
            (functions.nvrtcCreateProgram)(
                &mut program,
                text.as_ptr(),
                name.as_ptr(),
                names.len() as c_int,
                headers.as_ptr(),
                names.as_ptr(),
            )
        };
        if status == 0 { Ok(Running { functions, program }) } else { Err(status) }
    }

    fn compile(&self, architecture: &str) -> Result<Vec<u8>, (Status, String)> {
        let target = format!("--gpu-architecture={architecture}");
        let options: Vec<_> = [&*target].into_iter().chain(OPTIONS).map(c_string).collect();
        let options = pointers(&options);
        // SAFETY: the program exists; the strings end in 0 and live until the call returns.
        let status = unsafe {
            (self.functions.nvrtcCompileProgram)(
                self.program,
                options.len() as c_int,
                options.as_ptr(),
            )
        };
        if status != 0 {
            return Err((status, self.log()));
        }
        let of = self.functions;
        let (size, get) = if is_ptx(architecture) {
            (of.nvrtcGetPTXSize, of.nvrtcGetPTX)
        } else {
            (of.nvrtcGetCUBINSize, of.nvrtcGetCUBIN)
        };
        self.bytes(size, get).map_err(|status| (status, String::new()))
    }

    fn log(&self) -> String {
        let Functions { nvrtcGetProgramLogSize: size, nvrtcGetProgramLog: get, .. } =
            self.functions;
        let mut log = self.bytes(*size, *get).unwrap_or_default();
        log.truncate(log.iter().position(|byte| *byte == 0).unwrap_or(log.len()));
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Returns the bytes that a pair of NVRTC's functions gives: the first tells the size, the
    /// second copies.
    fn bytes(
        &self,
        size: unsafe extern "C" fn(Program, *mut usize) -> Status,
        get: unsafe extern "C" fn(Program, *mut c_char) -> Status,
    ) -> Result<Vec<u8>, Status> {
        let check = |status| if status == 0 { Ok(()) } else { Err(status) };
        let mut length = 0;
        // SAFETY: the program exists, `length` is a size_t.
        check(unsafe { size(self.program, &mut length) })?;
        let mut bytes = vec![0u8; length];
        // SAFETY: the program exists, and `get` writes as many bytes as `size` said.
        check(unsafe { get(self.program, bytes.as_mut_ptr().cast()) })?;
        Ok(bytes)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // SAFETY: the program exists and is not used again. There is nothing to do about an error.
        unsafe { (self.functions.nvrtcDestroyProgram)(&mut self.program) };
    }
}

/// Returns the places where NVRTC is looked for: by name, as the loader finds it, then in CUDA
/// toolkits.
fn candidates() -> Vec<PathBuf> {
    let names = ["libnvrtc.so.13", "libnvrtc.so.12"];
    let toolkits = ["CUDA_HOME", "CUDA_PATH"]
        .iter()
        .filter_map(|name| env::var_os(name).map(PathBuf::from))
        .chain([PathBuf::from("/usr/local/cuda")]);
    let in_toolkits = toolkits.flat_map(|folder| names.map(|name| folder.join("lib64").join(name)));
    names.iter().map(PathBuf::from).chain(in_toolkits.filter(|file| file.exists())).collect()
}

/// Returns the loader's own words, which name the file.
fn described(error: libloading::Error) -> String {
    use std::error::Error;
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

fn c_string(text: &str) -> CString {
    CString::new(text).expect("sources, names and options hold no NUL")
}

/// Returns pointers to the strings, valid as long as they are.
fn pointers(texts: &[CString]) -> Vec<*const c_char> {
    texts.iter().map(|text| text.as_ptr()).collect()
}
