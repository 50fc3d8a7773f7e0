//! NVIDIA's own compilers accept every source, with both front ends, for every architecture, and nothing spills.
//!
//! They are those of `scripts/cuda-toolchain.sh DIR`, found through `GATERNET_CUDA_TOOLCHAIN=DIR`. The table in
//! docs/cuda.md is what nvcc reports; `GATERNET_UPDATE=1` writes it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::emulator::{stem, with_extension, workspace};

const ARCHITECTURES: [&str; 4] = ["sm_80", "sm_90", "sm_90a", "sm_100"];

fn toolchain() -> Option<PathBuf> {
    let folder = std::env::var_os("GATERNET_CUDA_TOOLCHAIN").filter(|folder| !folder.is_empty());
    if folder.is_none() {
        eprintln!("SKIPPED: GATERNET_CUDA_TOOLCHAIN names no folder of scripts/cuda-toolchain.sh");
    }
    folder.map(PathBuf::from)
}

/// The output of a program of the toolchain, stdout before stderr.
fn output(toolchain: &Path, program: &str, arguments: &[&str]) -> String {
    let folder = toolchain.join("bin");
    let path = std::env::join_paths([folder.clone(), "/usr/bin".into(), "/bin".into()]);
    let output = Command::new(folder.join(program))
        .args(arguments)
        .env("PATH", path.expect("a path"))
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}:\n{text}");
    text.into_owned()
}

/// wgmma is of sm_90a only.
fn is_for(source: &Path, architecture: &str) -> bool {
    !stem(source).ends_with("wgmma") || architecture == "sm_90a"
}

/// What one kernel needs on one architecture.
#[derive(Debug)]
struct Usage {
    registers: String,
    shared: String,
}

/// By kernel, from the report of nvcc.
fn usages(report: &str) -> BTreeMap<String, Usage> {
    let mut usages = BTreeMap::new();
    let mut kernel = String::new();
    let between = |line: &str, before: &str, after: &str| {
        Some(line.split_once(before)?.1.split_once(after)?.0.to_owned())
    };
    for line in report.lines() {
        if let Some(name) = between(line, "Compiling entry function '", "'") {
            kernel = name;
        } else if line.contains("spill stores") {
            // A convolution keeps nothing in local memory; other kernels may index an array there.
            let clean = match kernel.starts_with("conv2d") {
                true => " 0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads",
                false => " 0 bytes spill stores, 0 bytes spill loads",
            };
            let clean = format!(" {}", line.trim()).contains(clean);
            assert!(clean, "{kernel} spills: {}", line.trim());
        } else if let Some(registers) = between(line, "Used ", " registers") {
            let shared =
                between(line, "barriers, ", " bytes smem").unwrap_or_else(|| "0".to_owned());
            usages.insert(kernel.clone(), Usage { registers, shared });
        } else {
            assert!(!line.contains("warning") && !line.contains("C75"), "{line}");
        }
    }
    usages
}

#[test]
fn nvcc_compiles_every_source_and_nothing_spills() {
    let Some(toolchain) = toolchain() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let root = workspace();
    // By kernel and architecture.
    let mut table: BTreeMap<(String, String), BTreeMap<&str, Usage>> = BTreeMap::new();
    for source in with_extension(&root.join("kernels-cu"), "cu") {
        for architecture in ARCHITECTURES.into_iter().filter(|a| is_for(&source, a)) {
            let code =
                format!("arch={},code={architecture}", architecture.replace("sm", "compute"));
            let cubin = folder.path().join("k.cubin");
            let arguments = ["-std=c++17", "-cubin", "--resource-usage", "-gencode", &code, "-o"];
            let paths = [cubin.to_str().expect("UTF-8"), source.to_str().expect("UTF-8")];
            let report = output(&toolchain, "nvcc", &[&arguments[..], &paths].concat());
            for (kernel, usage) in usages(&report) {
                table.entry((stem(&source), kernel)).or_default().insert(architecture, usage);
            }
        }
    }
    let mut text = format!("| kernel | {} |\n", ARCHITECTURES.join(" | "));
    text += &format!("|---|{}\n", "---|".repeat(ARCHITECTURES.len()));
    for ((_, kernel), of_architectures) in &table {
        let cell =
            |a| of_architectures.get(a).map_or("-", |usage: &Usage| usage.registers.as_str());
        let cells = ARCHITECTURES.map(cell).join(" | ");
        let _ = writeln!(text, "| `{kernel}` | {cells} |");
        // All shared memory is dynamic: the launch says how much.
        assert!(of_architectures.values().all(|usage| usage.shared == "0"), "{kernel}");
    }
    let document = root.join("docs/cuda.md");
    let old = fs::read_to_string(&document).expect("docs/cuda.md");
    let (head, rest) = old.split_once("<!-- registers -->\n").expect("the place of the table");
    let (_, tail) = rest.split_once("<!-- end -->").expect("its end");
    let new = format!("{head}<!-- registers -->\n{text}<!-- end -->{tail}");
    if std::env::var_os("GATERNET_UPDATE").is_some() {
        fs::write(&document, new).expect("docs/cuda.md");
    } else {
        assert!(old == new, "docs/cuda.md has another table; GATERNET_UPDATE=1 writes it:\n{text}");
    }
}

#[test]
fn nvrtc_compiles_every_source_and_nothing_spills() {
    let Some(toolchain) = toolchain() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_str().expect("UTF-8");
    let library = toolchain.join("lib/libnvrtc.so.13");
    crate::device::in_a_process_with(
        "toolchain::builds_cubins",
        &[("GATERNET_NVRTC", library.to_str().expect("UTF-8")), ("TEST_CUBINS", path)],
    );
    let mut kernels = 0;
    for cubin in with_extension(folder.path(), "cubin") {
        let usage = output(
            &toolchain,
            "cuobjdump",
            &["--dump-resource-usage", cubin.to_str().expect("UTF-8")],
        );
        for line in usage.lines().filter(|line| line.contains("REG:")) {
            // As above: spills show in the stack, and so do arrays that are indexed.
            let clean = line.contains("STACK:0 ") || !stem(&cubin).starts_with("conv2d");
            assert!(clean && line.contains("LOCAL:0 "), "{cubin:?}: {line}");
            kernels += 1;
        }
    }
    assert!(kernels > ARCHITECTURES.len(), "no kernel was looked at");
    assert!(!with_extension(folder.path(), "ptx").is_empty(), "no PTX");
}

#[test]
#[ignore = "run by the test above"]
fn builds_cubins() {
    let folder = PathBuf::from(std::env::var_os("TEST_CUBINS").expect("a folder"));
    for architectures in [&ARCHITECTURES[..], &["compute_80"]] {
        let start = std::time::Instant::now();
        let written = gaternet_kernels::cuda::build_cubins(&folder, architectures);
        let written = written.unwrap_or_else(|error| panic!("{error}"));
        println!("{} modules in {:.1?}", written.len(), start.elapsed());
    }
}
