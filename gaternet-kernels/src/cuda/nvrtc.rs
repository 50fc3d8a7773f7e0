//! NVIDIA's run-time compiler, opened when it is needed.
//!
//! cudarc has a binding too, but it knows the library by fewer names and panics if it is not there.

use std::ffi::{CStr, CString, OsString, c_char, c_int, c_void};
use std::path::Path;
use std::sync::OnceLock;

use libloading::Library;

type Program = *mut c_void;
type Text = *const c_char;

/// The functions of libnvrtc, which stays loaded.
pub(super) struct Nvrtc {
    version: (c_int, c_int),
    create:
        unsafe extern "C" fn(*mut Program, Text, Text, c_int, *const Text, *const Text) -> c_int,
    destroy: unsafe extern "C" fn(*mut Program) -> c_int,
    compile: unsafe extern "C" fn(Program, c_int, *const Text) -> c_int,
    log_size: unsafe extern "C" fn(Program, *mut usize) -> c_int,
    log: unsafe extern "C" fn(Program, *mut c_char) -> c_int,
    cubin: Getter,
    ptx: Getter,
    error_string: unsafe extern "C" fn(c_int) -> Text,
}

/// The functions for one kind of output.
struct Getter {
    size: unsafe extern "C" fn(Program, *mut usize) -> c_int,
    get: unsafe extern "C" fn(Program, *mut c_char) -> c_int,
}

impl Nvrtc {
    /// The library of `GATERNET_NVRTC`, else the first that the loader finds.
    pub(super) fn get() -> Result<&'static Nvrtc, &'static str> {
        static NVRTC: OnceLock<Result<Nvrtc, String>> = OnceLock::new();
        NVRTC.get_or_init(Nvrtc::open).as_ref().map_err(String::as_str)
    }

    fn open() -> Result<Nvrtc, String> {
        if let Some(path) = std::env::var_os("GATERNET_NVRTC").filter(|path| !path.is_empty()) {
            return Nvrtc::open_file(path).map_err(|error| format!("GATERNET_NVRTC: {error}"));
        }
        let toolkit = "/usr/local/cuda/lib64/libnvrtc.so";
        ["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so", toolkit]
            .into_iter()
            .find_map(|name| Nvrtc::open_file(name.into()).ok())
            .ok_or_else(|| "NVRTC (libnvrtc.so.13 or .12) was not found".to_owned())
    }

    fn open_file(path: OsString) -> Result<Nvrtc, String> {
        // SAFETY: loads NVRTC, whose initialisers have no preconditions; its functions have these signatures in
        // every version since 11.1.
        unsafe {
            let library = Library::new(&path).map_err(|error| error.to_string())?;
            fn symbol<T: Copy>(library: &Library, name: &CStr) -> Result<T, String> {
                // SAFETY: the caller says the signature.
                let symbol = unsafe { library.get::<T>(name.to_bytes_with_nul()) };
                Ok(*symbol.map_err(|error| error.to_string())?)
            }
            let version: unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int =
                symbol(&library, c"nvrtcVersion")?;
            let (mut major, mut minor) = (0, 0);
            version(&raw mut major, &raw mut minor);
            // It opens this one by name only, which fails in a folder that the loader does not search.
            let builtins = format!("libnvrtc-builtins.so.{major}.{minor}");
            if let Ok(builtins) = Library::new(Path::new(&path).with_file_name(builtins)) {
                std::mem::forget(builtins);
            }
            let nvrtc = Nvrtc {
                version: (major, minor),
                create: symbol(&library, c"nvrtcCreateProgram")?,
                destroy: symbol(&library, c"nvrtcDestroyProgram")?,
                compile: symbol(&library, c"nvrtcCompileProgram")?,
                log_size: symbol(&library, c"nvrtcGetProgramLogSize")?,
                log: symbol(&library, c"nvrtcGetProgramLog")?,
                cubin: Getter {
                    size: symbol(&library, c"nvrtcGetCUBINSize")?,
                    get: symbol(&library, c"nvrtcGetCUBIN")?,
                },
                ptx: Getter {
                    size: symbol(&library, c"nvrtcGetPTXSize")?,
                    get: symbol(&library, c"nvrtcGetPTX")?,
                },
                error_string: symbol(&library, c"nvrtcGetErrorString")?,
            };
            std::mem::forget(library);
            Ok(nvrtc)
        }
    }

    /// Such as (13, 0).
    pub(super) fn version(&self) -> (i32, i32) {
        self.version
    }

    /// The machine code of `text`, which may include `headers` (name, text), for an architecture such as
    /// `sm_90`; PTX for one such as `compute_80`. The error is the compiler's log.
    pub(super) fn compile(
        &self,
        name: &str,
        text: &str,
        headers: &[(&str, &str)],
        options: &[String],
    ) -> Result<Vec<u8>, String> {
        let c_string = |text: &str| CString::new(text).map_err(|error| error.to_string());
        let c_strings =
            |texts: Vec<&str>| texts.into_iter().map(c_string).collect::<Result<Vec<_>, _>>();
        let pointers =
            |texts: &[CString]| texts.iter().map(|text| text.as_ptr()).collect::<Vec<_>>();
        let (name, text) = (c_string(name)?, c_string(text)?);
        let names = c_strings(headers.iter().map(|header| header.0).collect())?;
        let texts = c_strings(headers.iter().map(|header| header.1).collect())?;
        let flags = c_strings(options.iter().map(String::as_str).collect())?;
        let count =
            |list: &[CString]| c_int::try_from(list.len()).map_err(|error| error.to_string());

        let mut program: Program = std::ptr::null_mut();
        // SAFETY: every pointer is to strings that live until the end of the function.
        self.check(unsafe {
            (self.create)(
                &raw mut program,
                text.as_ptr(),
                name.as_ptr(),
                count(&names)?,
                pointers(&texts).as_ptr(),
                pointers(&names).as_ptr(),
            )
        })?;
        // SAFETY: `program` was created above, the flags are alive.
        let status = unsafe { (self.compile)(program, count(&flags)?, pointers(&flags).as_ptr()) };
        let result = match self.check(status) {
            Ok(()) => {
                let ptx = options.iter().any(|option| option.contains("=compute_"));
                let getter = if ptx { &self.ptx } else { &self.cubin };
                self.bytes(program, getter.size, getter.get)
            }
            Err(error) => {
                let log = self.bytes(program, self.log_size, self.log).unwrap_or_default();
                Err(format!("{error}\n{}", String::from_utf8_lossy(&log).trim_end_matches('\0')))
            }
        };
        // SAFETY: `program` was created above and is not used again.
        unsafe { (self.destroy)(&raw mut program) };
        result
    }

    fn bytes(
        &self,
        program: Program,
        size: unsafe extern "C" fn(Program, *mut usize) -> c_int,
        get: unsafe extern "C" fn(Program, *mut c_char) -> c_int,
    ) -> Result<Vec<u8>, String> {
        let mut len = 0;
        // SAFETY: `program` is alive; writes one size.
        self.check(unsafe { size(program, &raw mut len) })?;
        let mut bytes = vec![0u8; len];
        // SAFETY: writes as many bytes as `size` said.
        self.check(unsafe { get(program, bytes.as_mut_ptr().cast()) })?;
        Ok(bytes)
    }

    fn check(&self, status: c_int) -> Result<(), String> {
        if status == 0 {
            return Ok(());
        }
        // SAFETY: gives a static string for every number.
        let text = unsafe { CStr::from_ptr((self.error_string)(status)) };
        Err(text.to_string_lossy().into_owned())
    }
}
