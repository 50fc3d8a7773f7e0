//! Builds the emulator with g++ and opens it under the driver's name, so that cudarc finds it in place of a driver.
//!
//! The tests of another crate of the workspace can use this file too (`#[path]`).

use std::collections::hash_map::DefaultHasher;
use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

use gaternet_kernels::cuda::{CudaDevice, CudaOptions};
use libloading::Library;

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
    device_with(CudaOptions::default())
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

/// Opens the emulator as the driver and as the compiler; false, with the reason on stderr, without g++.
pub(crate) fn install() -> bool {
    static INSTALLED: OnceLock<Result<(), String>> = OnceLock::new();
    let result = INSTALLED.get_or_init(|| {
        if cfg!(not(all(target_os = "linux", target_arch = "x86_64"))) {
            return Err("the emulator is for Linux on x86-64".to_owned());
        }
        if Command::new("g++").arg("--version").output().is_err() {
            return Err("g++ is not installed".to_owned());
        }
        for library in build() {
            // SAFETY: our own library; its initialisers only fill a table of kernels.
            let library = unsafe { Library::new(&library) }.expect("the emulator can be opened");
            std::mem::forget(library);
        }
        Ok(())
    });
    if let Err(reason) = result {
        eprintln!("SKIPPED: {reason}");
    }
    result.is_ok()
}

/// A file to compile: the emulator's own, or a kernel source wrapped for it.
struct Unit {
    name: String,
    text: String,
}

/// Builds what has changed; the paths of the stand-ins for the driver and for NVRTC.
fn build() -> [PathBuf; 2] {
    let root = workspace();
    let emulator = root.join("gaternet-kernels/tests/cuda/emulator");
    let kernels = root.join("kernels-cu");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cuda-emulator");
    fs::create_dir_all(&folder).expect("a folder of the target directory");
    // Test programs run at the same time.
    let lock = File::create(folder.join("lock")).expect("a lock file");
    lock.lock().expect("the lock");

    let includes = [emulator.clone(), kernels.clone()];
    let mut headers = String::new();
    for path in includes.iter().flat_map(|folder| files(folder)) {
        if path.extension().is_some_and(|e| e == "h" || e == "cuh") {
            headers += &read(&path);
        }
    }
    let mut units = Vec::new();
    let mut compiler = Vec::new();
    for path in
        files(&emulator).into_iter().filter(|path| path.extension().is_some_and(|e| e == "cpp"))
    {
        let name = stem(&path);
        let list = if name == "nvrtc" { &mut compiler } else { &mut units };
        // #line, so that messages and backtraces name the file itself.
        list.push(Unit { text: format!("#line 1 {path:?}\n{}", read(&path)), name });
    }
    for path in
        files(&kernels).into_iter().filter(|path| path.extension().is_some_and(|e| e == "cu"))
    {
        let name = stem(&path);
        units.push(Unit { text: wrap(&name, &format!("{name}.cu"), &path, &read(&path)), name });
    }
    let driver = link(&folder, &includes, &headers, &units, "libcuda.so");
    [driver, link(&folder, &includes, &headers, &compiler, "libnvrtc.so.13")]
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
fn link(
    folder: &Path,
    includes: &[PathBuf],
    headers: &str,
    units: &[Unit],
    soname: &str,
) -> PathBuf {
    let objects: Vec<PathBuf> = units
        .iter()
        .map(|unit| {
            folder.join(format!("{}-{:016x}.o", unit.name, hash((FLAGS, headers, &unit.text))))
        })
        .collect();
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
                    if let Err(text) = compile(unit, object, includes) {
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

fn compile(unit: &Unit, object: &Path, includes: &[PathBuf]) -> Result<(), String> {
    if object.exists() {
        return Ok(());
    }
    let source = object.with_extension("cpp");
    fs::write(&source, &unit.text).map_err(|error| error.to_string())?;
    let temporary = object.with_extension("tmp");
    let mut command = Command::new("g++");
    command.args(FLAGS).arg("-march=native").arg("-c").arg("-o").arg(&temporary);
    for include in includes {
        command.arg("-I").arg(include);
    }
    run(command.arg(&source))?;
    fs::rename(&temporary, object).map_err(|error| error.to_string())
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    // A warning is a failure too.
    if output.status.success() && text.is_empty() { Ok(()) } else { Err(text) }
}

fn workspace() -> PathBuf {
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

fn stem(path: &Path) -> String {
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
