//! Builds the emulator with g++ and opens it under the driver's name, so that cudarc finds it in place of a driver.
//!
//! The tests of another crate of the workspace can use this file too, with `#[path]` and a function `patches` that
//! returns no patches.

use std::collections::hash_map::DefaultHasher;
use std::ffi::{CString, c_char};
use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

use gaternet_kernels::cuda::{CudaDevice, CudaOptions};
use libloading::Library;

use crate::patches;

/// -ffp-contract=off: the results do not depend on the machine's instructions.
const FLAGS: [&str; 9] = [
    "-std=c++20",
    "-O2",
    "-g1",
    "-fPIC",
    "-Wall",
    "-Wno-unknown-pragmas",
    "-ffp-contract=off",
    "-ftls-model=initial-exec",
    "-DGATERNET_EMULATOR",
];

/// The device that the tests run on; `None`, with the reason on stderr, if there can be none.
pub(crate) fn device() -> Option<CudaDevice> {
    device_with(options())
}

/// A machine with a GPU may have prebuilt kernels and no compiler.
pub(crate) fn options() -> CudaOptions {
    if real() { CudaOptions::from_env(0) } else { CudaOptions::default() }
}

/// The same, opened with `options`.
pub(crate) fn device_with(options: CudaOptions) -> Option<CudaDevice> {
    if !real() && !install() {
        return None;
    }
    let device = CudaDevice::with_options(options).expect("a device");
    assert!(
        real() || device.name() == "emulator",
        "a real driver was found instead of the emulator"
    );
    Some(device)
}

/// True if the tests are to run on a GPU.
pub(crate) fn real() -> bool {
    std::env::var_os("GATERNET_CUDA").is_some_and(|value| value == "real")
}

/// The stand-in for the driver, or why there is none.
static INSTALLED: OnceLock<Result<Library, String>> = OnceLock::new();

/// Opens the emulator as the driver and as the compiler; false, with the reason on stderr, without g++.
pub(crate) fn install() -> bool {
    let result = INSTALLED.get_or_init(|| {
        can_build()?;
        let [driver, compiler] = build().map(|path| {
            // SAFETY: our own library; its initialisers only fill a table of kernels.
            unsafe { Library::new(&path) }.expect("the emulator can be opened")
        });
        std::mem::forget(compiler);
        Ok(driver)
    });
    if let Err(reason) = result {
        eprintln!("SKIPPED: {reason}");
    }
    result.is_ok()
}

/// `Err` with the reason if this machine cannot.
pub(crate) fn can_build() -> Result<(), String> {
    if cfg!(not(all(target_os = "linux", target_arch = "x86_64"))) {
        return Err("the emulator is for Linux on x86-64".to_owned());
    }
    match Command::new("g++").arg("--version").output() {
        Ok(_) => Ok(()),
        Err(_) => Err("g++ is not installed".to_owned()),
    }
}

/// While it lives, modules that this thread loads have the fault.
pub(crate) struct Planted(());

/// Plants the fault of this name; the emulator must be installed.
pub(crate) fn plant(fault: &str) -> Planted {
    tell(fault);
    Planted(())
}

impl Drop for Planted {
    fn drop(&mut self) {
        tell("");
    }
}

fn tell(fault: &str) {
    let driver = INSTALLED.get().and_then(|result| result.as_ref().ok()).expect("installed");
    let fault = CString::new(fault).expect("no zero in it");
    // SAFETY: the emulator's function, which copies the string.
    unsafe {
        let plant = driver.get::<unsafe extern "C" fn(*const c_char)>(b"emulator_plant\0");
        plant.expect("a function of the emulator")(fault.as_ptr());
    }
}

/// A file to compile: the emulator's own, or a kernel source wrapped for it.
struct Unit {
    name: String,
    text: String,
    /// Where headers are looked for, after the emulator's.
    kernels: PathBuf,
    flags: &'static [&'static str],
}

/// A change of a source: a fault to be caught.
pub(crate) struct Patch {
    pub(crate) name: &'static str,
    /// The source whose kernels are affected, and the file that is changed.
    pub(crate) source: &'static str,
    pub(crate) file: &'static str,
    /// What is replaced; it must occur.
    pub(crate) good: &'static str,
    pub(crate) bad: &'static str,
}

/// Builds what has changed; the paths of the stand-ins for the driver and for NVRTC.
pub(crate) fn build() -> [PathBuf; 2] {
    let root = workspace();
    let emulator = root.join("gaternet-kernels/tests/cuda/emulator");
    let kernels = root.join("kernels-cu");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cuda-emulator");
    fs::create_dir_all(&folder).expect("a folder of the target directory");
    // Test programs run at the same time.
    let lock = File::create(folder.join("lock")).expect("a lock file");
    lock.lock().expect("the lock");

    let mut units = Vec::new();
    let mut compiler = Vec::new();
    for path in with_extension(&emulator, "cpp") {
        let name = stem(&path);
        let list = if name == "nvrtc" { &mut compiler } else { &mut units };
        // #line, so that messages and backtraces name the file itself.
        let text = format!("#line 1 {path:?}\n{}", read(&path));
        list.push(Unit { name, text, kernels: kernels.clone(), flags: &[] });
    }
    let conformance = root.join("gaternet-kernels/tests/cuda/conformance");
    for path in [&kernels, &conformance].into_iter().flat_map(|folder| with_extension(folder, "cu"))
    {
        let name = stem(&path);
        let text = wrap(&name, &format!("{name}.cu"), &path, &read(&path));
        units.push(Unit { name, text, kernels: kernels.clone(), flags: &[] });
    }
    for (i, fault) in patches().iter().enumerate() {
        let copy = folder.join(format!("fault-{i}"));
        if !plant_in_copy(fault, &kernels, &copy) {
            continue; // the test of the faults says so
        }
        let name = format!("fault_{i}");
        let path = copy.join(fault.source);
        let module = format!("{}@{}", fault.source, fault.name);
        let text = wrap(&name, &module, &path, &read(&path));
        units.push(Unit { name, text, kernels: copy, flags: &["-w"] });
    }
    let driver = link(&folder, &emulator, &units, "libcuda.so");
    [driver, link(&folder, &emulator, &compiler, "libnvrtc.so.13")]
}

/// A copy of the sources in which one thing is wrong; false if there is nothing to change.
fn plant_in_copy(fault: &Patch, kernels: &Path, copy: &Path) -> bool {
    fs::create_dir_all(copy).expect("a folder");
    let mut found = false;
    for path in files(kernels) {
        let mut text = read(&path);
        let name = path.file_name().expect("a file");
        if name == fault.file {
            found = text.contains(fault.good);
            text = text.replacen(fault.good, fault.bad, 1);
        }
        fs::write(copy.join(name), text).expect("a file of the copy");
    }
    found
}

/// A kernel source as host C++: in a namespace of its own, with its kernels made known under `module`.
fn wrap(name: &str, module: &str, path: &Path, text: &str) -> String {
    let mut wrapped =
        format!("#include \"device.h\"\nnamespace source_{name} {{\n#line 1 {path:?}\n{text}\n");
    for kernel in text.split("\nKERNEL(").skip(1).filter_map(|rest| rest.split(',').next()) {
        wrapped += &format!("REGISTER_KERNEL(\"{module}\", {kernel})\n");
    }
    wrapped + "}\n"
}

/// Compiles the units that are not there yet and links all of them.
fn link(folder: &Path, emulator: &Path, units: &[Unit], soname: &str) -> PathBuf {
    let own_headers: Vec<String> =
        with_extension(emulator, "h").iter().map(|path| read(path)).collect();
    let object = |unit: &Unit| {
        let headers: Vec<String> =
            with_extension(&unit.kernels, "cuh").iter().map(|path| read(path)).collect();
        let hash = hash((FLAGS, &own_headers, headers, &unit.text));
        folder.join(format!("{}-{hash:016x}.o", unit.name))
    };
    let objects: Vec<PathBuf> = units.iter().map(object).collect();
    let library = folder.join(format!("{:016x}", hash(&objects))).join(soname);
    if library.exists() {
        return library;
    }
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(String::new());
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some((unit, object)) = {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    units.get(i).zip(objects.get(i))
                } {
                    if let Err(text) = compile(unit, object, emulator) {
                        *failures.lock().expect("no panic") += &text;
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().expect("no panic");
    assert!(failures.is_empty(), "the emulator does not compile:\n{failures}");
    fs::create_dir_all(library.parent().expect("a folder")).expect("a folder");
    let temporary = library.with_extension("tmp");
    let mut command = Command::new("g++");
    command
        .args(["-shared", &format!("-Wl,-soname,{soname}"), "-o"])
        .arg(&temporary)
        .args(&objects);
    run(&mut command).expect("the emulator links");
    fs::rename(&temporary, &library).expect("a rename");
    library
}

fn compile(unit: &Unit, object: &Path, emulator: &Path) -> Result<(), String> {
    if object.exists() {
        return Ok(());
    }
    let source = object.with_extension("cpp");
    fs::write(&source, &unit.text).map_err(|error| error.to_string())?;
    let temporary = object.with_extension("tmp");
    let mut command = Command::new("g++");
    command.args(FLAGS).args(unit.flags).arg("-march=native").arg("-c").arg("-o").arg(&temporary);
    command.arg("-I").arg(emulator).arg("-I").arg(&unit.kernels);
    run(command.arg(&source))?;
    fs::rename(&temporary, object).map_err(|error| error.to_string())
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    // A warning is a failure too.
    if output.status.success() && text.is_empty() { Ok(()) } else { Err(text) }
}

pub(crate) fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = here.ancestors().find(|folder| folder.join("gaternet-kernels/tests/cuda").is_dir());
    root.expect("this crate is in the workspace").to_owned()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder of the sources");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

pub(crate) fn with_extension(folder: &Path, extension: &str) -> Vec<PathBuf> {
    files(folder)
        .into_iter()
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .collect()
}

pub(crate) fn stem(path: &Path) -> String {
    path.file_stem().expect("a file").to_string_lossy().into_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("a source")
}

fn hash(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
