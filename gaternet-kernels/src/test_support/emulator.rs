//! The emulator of `emulator/`: a driver, a compiler and a GPU of our own, which run the CUDA
//! kernels as C++.
//!
//! g++ builds it. Where it is opened, or found, under the driver's name, cudarc has it in place of
//! a driver.

use std::collections::hash_map::DefaultHasher;
use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::skip::skipped;

/// The options of g++. With -ffp-contract=off results do not depend on the machine's instructions.
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

/// The emulator of a test program.
pub struct Emulator {
    /// The folder that it is built in.
    folder: &'static str,
    /// The faults that can be planted in it.
    patches: fn() -> Vec<&'static Patch>,
}

impl Emulator {
    /// Makes an emulator that is built in the folder that Cargo calls `CARGO_TARGET_TMPDIR`, with
    /// faults.
    #[must_use]
    pub const fn new(folder: &'static str, patches: fn() -> Vec<&'static Patch>) -> Emulator {
        Emulator { folder, patches }
    }

    /// Makes an emulator without faults.
    #[must_use]
    pub const fn sound(folder: &'static str) -> Emulator {
        Emulator::new(folder, Vec::new)
    }

    /// Returns the stand-ins for the driver and for NVRTC, for the environment of another process,
    /// or `None` where they cannot be built, and the test is [skipped].
    ///
    /// # Panics
    /// If it does not compile.
    pub fn libraries(&self) -> Option<[PathBuf; 2]> {
        match can_build() {
            Ok(()) => Some(self.build()),
            Err(reason) => {
                skipped("emulator", &reason);
                None
            }
        }
    }

    /// Builds what has changed, and returns the paths of the stand-ins for the driver and for
    /// NVRTC.
    pub(crate) fn build(&self) -> [PathBuf; 2] {
        let own = Path::new(env!("CARGO_MANIFEST_DIR"));
        let emulator = own.join("tests/cuda/emulator");
        let root = own.parent().expect("this crate is in the workspace");
        let kernels = root.join("kernels-cu");
        let folder = Path::new(self.folder).join("cuda-emulator");
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
        let conformance = own.join("tests/cuda/conformance");
        for path in
            [&kernels, &conformance].into_iter().flat_map(|folder| with_extension(folder, "cu"))
        {
            let name = stem(&path);
            let text = wrap(&name, &format!("{name}.cu"), &path, &read(&path));
            units.push(Unit { name, text, kernels: kernels.clone(), flags: &[] });
        }
        for (i, fault) in (self.patches)().iter().enumerate() {
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
}

/// Returns `Err` with the reason if this machine cannot build it.
pub(crate) fn can_build() -> Result<(), String> {
    if cfg!(not(all(target_os = "linux", target_arch = "x86_64"))) {
        return Err("the emulator is for Linux on x86-64".to_owned());
    }
    match Command::new("g++").arg("--version").output() {
        Ok(_) => Ok(()),
        Err(_) => Err("g++ is not installed".to_owned()),
    }
}

/// A file to compile: the emulator's own, or a kernel source wrapped for it.
struct Unit {
    name: String,
    text: String,
    /// The folder where headers are looked for, after the emulator's.
    kernels: PathBuf,
    flags: &'static [&'static str],
}

/// A change of a source: a fault to be caught.
pub struct Patch {
    /// The fault in words.
    pub name: &'static str,
    /// The source whose kernels are affected.
    pub source: &'static str,
    /// The file that is changed.
    pub file: &'static str,
    /// The text that is replaced; it must occur.
    pub good: &'static str,
    /// The text that replaces it.
    pub bad: &'static str,
}

/// Makes a copy of the sources in which one thing is wrong. Returns false if there is nothing to
/// change.
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

/// Returns a kernel source as host C++: in a namespace of its own, with its kernels made known
/// under `module`.
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

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder of the sources");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

fn with_extension(folder: &Path, extension: &str) -> Vec<PathBuf> {
    files(folder)
        .into_iter()
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .collect()
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
