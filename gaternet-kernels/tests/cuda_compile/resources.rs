//! Every source under both compilers for every architecture: it compiles, nothing spills, and
//! the table in `docs/cuda.md` has the registers and the shared memory.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use gaternet_kernels::cuda::{Source, build_cubins, sources};
use rayon::prelude::*;

use crate::toolchain::Toolchain;

const ARCHITECTURES: [&str; 4] = ["sm_80", "sm_90", "sm_90a", "sm_100"];
const UPDATE: &str = "GATERNET_UPDATE";

/// What one kernel takes, as one compiler built it for one architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Usage {
    /// Of a thread.
    registers: u32,
    /// Bytes of local memory of a thread: spilled registers and arrays without a fixed index.
    local: u32,
    /// Bytes of static shared memory of a block, with those that the system takes.
    shared: u32,
}

/// By kernel, in the order of the names.
type Kernels = BTreeMap<String, Usage>;

/// Reads what cuobjdump prints: a line ` Function name:` and after it
/// `  REG:32 STACK:0 SHARED:0 LOCAL:0 ...`.
fn parse(text: &str) -> Kernels {
    let mut kernels = Kernels::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(kernel) = line.trim().strip_prefix("Function ") else { continue };
        let numbers = lines.next().unwrap_or_default();
        let number = |name: &str| -> u32 {
            let word = numbers.split_whitespace().find_map(|word| word.strip_prefix(name));
            word.and_then(|word| word.parse().ok())
                .unwrap_or_else(|| panic!("no {name} of {kernel} in {text}"))
        };
        let usage = Usage {
            registers: number("REG:"),
            local: number("STACK:") + number("LOCAL:"),
            shared: number("SHARED:"),
        };
        kernels.insert(kernel.trim_end_matches(':').to_owned(), usage);
    }
    kernels
}

/// A source for an architecture, under NVRTC and under nvcc.
struct Built {
    source: &'static Source,
    architecture: &'static str,
    nvrtc: Kernels,
    nvcc: Kernels,
}

impl Built {
    /// `folder` has what NVRTC made.
    fn new(
        toolchain: &Toolchain,
        folder: &Path,
        source: &'static Source,
        architecture: &'static str,
    ) -> Built {
        let nvcc = toolchain.nvcc_resource_usage(&kernels_cu().join(source.file()), architecture);
        let stem = source.file().trim_end_matches(".cu");
        let (start, end) = (format!("{stem}-"), format!(".{architecture}.cubin"));
        let mut files =
            fs::read_dir(folder).expect("a folder").map(|file| file.expect("a file").path());
        let file = files.find(|path| {
            let name = path.file_name().expect("a file").to_string_lossy();
            name.starts_with(&start) && name.ends_with(&end)
        });
        let file = file.unwrap_or_else(|| panic!("no {start}...{end}"));
        Built {
            source,
            architecture,
            nvrtc: parse(&toolchain.resource_usage(&file)),
            nvcc: parse(&nvcc.unwrap_or_else(|error| panic!("{error}"))),
        }
    }

    fn check(&self) {
        let at = format!("{} for {}", self.source.file(), self.architecture);
        assert!(!self.nvrtc.is_empty(), "{at} has no kernel");
        assert!(self.nvrtc.keys().eq(self.nvcc.keys()), "{at}: the compilers see other kernels");
        for (compiler, kernels) in [("NVRTC", &self.nvrtc), ("nvcc", &self.nvcc)] {
            // Other kernels may index an array there; nvcc has not warned of spilled registers.
            for (kernel, usage) in kernels.iter().filter(|(name, _)| name.starts_with("conv2d")) {
                assert_eq!(
                    usage.local, 0,
                    "{at}, {compiler}: {kernel} uses local memory: {usage:?}"
                );
            }
        }
    }
}

fn kernels_cu() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels-cu")
}

fn build_all(toolchain: &Toolchain) -> Vec<Built> {
    let folder = tempfile::tempdir().expect("a folder");
    ARCHITECTURES.par_iter().for_each(|architecture| {
        build_cubins(folder.path(), &[architecture], Some(&toolchain.nvrtc()))
            .unwrap_or_else(|error| panic!("{error}"));
    });
    let pairs: Vec<_> = sources()
        .flat_map(|source| ARCHITECTURES.map(|architecture| (source, architecture)))
        .filter(|(source, architecture)| source.is_for(architecture))
        .collect();
    pairs
        .into_par_iter()
        .map(|(source, architecture)| Built::new(toolchain, folder.path(), source, architecture))
        .collect()
}

fn table(all: &[Built]) -> String {
    let mut text = String::from("| kernel | file |");
    let mut rows: BTreeMap<(&str, &str), BTreeMap<&str, String>> = BTreeMap::new();
    for built in all {
        for (kernel, nvrtc) in &built.nvrtc {
            let nvcc = built.nvcc[kernel];
            let shared = if nvrtc.shared == nvcc.shared {
                nvrtc.shared.to_string()
            } else {
                format!("{} / {}", nvrtc.shared, nvcc.shared)
            };
            let cell = format!("{} / {}, {shared}", nvrtc.registers, nvcc.registers);
            let row = rows.entry((built.source.file(), kernel)).or_default();
            row.insert(built.architecture, cell);
        }
    }
    for architecture in ARCHITECTURES {
        write!(text, " {architecture}: registers, shared |").expect("a String");
    }
    text.push_str(&format!("\n{}|\n", "|---".repeat(2 + ARCHITECTURES.len())));
    for ((file, kernel), cells) in rows {
        write!(text, "| `{kernel}` | {file} |").expect("a String");
        for architecture in ARCHITECTURES {
            let cell = cells.get(architecture).map_or("-", String::as_str);
            write!(text, " {cell} |").expect("a String");
        }
        text.push('\n');
    }
    text
}

#[test]
fn no_kernel_spills_and_the_table_of_resources_is_up_to_date() {
    let Some(toolchain) = Toolchain::find() else { return };
    let all = build_all(&toolchain);
    all.iter().for_each(Built::check);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cuda.md");
    let document = fs::read_to_string(&path).expect("docs/cuda.md");
    let (head, rest) = document.split_once("<!-- registers -->\n").expect("the table's place");
    let (_, tail) = rest.split_once("<!-- end -->").expect("the table's end");
    let table = table(&all);
    let updated = format!("{head}<!-- registers -->\n{table}<!-- end -->{tail}");
    if env::var_os(UPDATE).is_some() {
        fs::write(path, updated).expect("docs/cuda.md");
        return;
    }
    assert!(
        document == updated,
        "docs/cuda.md has another table; {UPDATE}=1 writes this:\n{table}"
    );
}

#[test]
fn the_check_sees_a_spilled_register() {
    let Some(toolchain) = Toolchain::find() else { return };
    // 64 values that are alive together, in 32 registers of each of the 1,024 threads of two
    // blocks.
    let text = "#include \"dev.cuh\"\n\
        KERNEL(crowded, 1024, 2)(const float* in, float* out) {\n\
        float x[64];\n\
        #pragma unroll\n\
        for (int i = 0; i < 64; i++) x[i] = in[i * 1024 + threadIdx.x];\n\
        block_sync();\n\
        #pragma unroll\n\
        for (int i = 0; i < 64; i++) out[i * 1024 + threadIdx.x] = x[i] * x[63 - i] + x[i ^ 21];\n\
        }\n";
    let file = tempfile::Builder::new().suffix(".cu").tempfile().expect("a file");
    fs::write(&file, text).expect("a file");
    let error = toolchain.nvcc_resource_usage(file.path(), "sm_90").expect_err("it spills");
    assert!(error.contains("pill") && error.contains("crowded"), "{error}");
}

#[test]
fn a_source_with_instructions_of_hopper_is_for_it_alone() {
    for source in sources() {
        let text = fs::read_to_string(kernels_cu().join(source.file())).expect("a source");
        let hopper = text.contains("#include \"dev90.cuh\"");
        for architecture in ARCHITECTURES {
            let expected = !hopper || architecture == "sm_90a";
            assert_eq!(source.is_for(architecture), expected, "{} {architecture}", source.file());
        }
    }
}

#[test]
fn every_source_of_the_folder_is_embedded() {
    let mut files: Vec<_> = fs::read_dir(kernels_cu())
        .expect("kernels-cu")
        .map(|file| file.expect("a file").file_name().into_string().expect("UTF-8"))
        .filter(|name| name.ends_with(".cu"))
        .collect();
    files.sort();
    let mut embedded: Vec<_> = sources().map(|source| source.file()).collect();
    embedded.sort_unstable();
    assert_eq!(embedded, files);
}

#[test]
fn the_kernels_of_single_instructions_compile() {
    let Some(toolchain) = Toolchain::find() else { return };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cuda/conformance");
    let files =
        [("conformance.cu", "sm_80"), ("conformance.cu", "sm_90a"), ("conformance90.cu", "sm_90a")];
    for (file, architecture) in files {
        let usage = toolchain.nvcc_resource_usage(&folder.join(file), architecture);
        let kernels = parse(&usage.unwrap_or_else(|error| panic!("{error}")));
        assert!(kernels.keys().all(|name| name.starts_with("conformance_")), "{kernels:?}");
        assert!(!kernels.is_empty(), "{file} has no kernel");
    }
}
