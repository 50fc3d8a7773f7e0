//! Each instruction that the kernels use, alone, on random values: a GPU must give the bits that
//! the emulator gave.
//!
//! `GATERNET_CONFORMANCE` names a folder. The emulator writes what it computes there, and a GPU
//! (`GATERNET_CUDA=real`) is compared with it; the kernels of `conformance/`, compiled, lie in the
//! same folder. `scripts/gpu-suite.sh` fills it. Numbers that are multiplied are small integers, so
//! that all sums are exact: the order of a sum is not documented.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cudarc::driver::{CudaContext, CudaModule, CudaStream, LaunchConfig, PushKernelArg};
use cudarc::nvrtc::Ptx;
use gaternet_kernels::cuda::bf16;
use gaternet_kernels::test_support::driver::real;
use gaternet_kernels::test_support::skipped;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::emulator;

const FOLDER: &str = "GATERNET_CONFORMANCE";
/// Of the kernels of a warp, and of those of a warpgroup, whose results are larger.
const BLOCKS: usize = 32;
const WARPGROUPS: usize = 2;

/// The kernels of one source on the device.
struct Instructions {
    folder: Option<PathBuf>,
    module: Arc<CudaModule>,
    stream: Arc<CudaStream>,
}

/// What a kernel gets, all as words.
struct Call<'a> {
    kernel: &'static str,
    blocks: usize,
    threads: u32,
    shared_bytes: u32,
    inputs: &'a [Vec<u32>],
    numbers: &'a [i32],
}

fn of_a_warp<'a>(kernel: &'static str, shared_bytes: u32, inputs: &'a [Vec<u32>]) -> Call<'a> {
    Call { kernel, blocks: BLOCKS, threads: 32, shared_bytes, inputs, numbers: &[] }
}

impl Instructions {
    /// `None`, with the reason on stdout, if they cannot run here. Source and architectures: of
    /// `conformance/`.
    fn open(source: &str) -> Option<Instructions> {
        let folder = std::env::var_os(FOLDER).filter(|name| !name.is_empty()).map(PathBuf::from);
        if real() && folder.is_none() {
            skipped(
                "conformance",
                &format!("{FOLDER} names no folder of what the emulator computes"),
            );
            return None;
        }
        // Finds the driver without a panic.
        let device = emulator::device()?;
        let context = CudaContext::new(device.ordinal()).expect("a context");
        // SAFETY: all work is on one stream.
        unsafe { context.disable_event_tracking() };
        let image = match (&folder, real()) {
            (Some(folder), true) => {
                let architecture = match (device.compute_capability(), source) {
                    ((9, 0), _) => "sm_90a.cubin",
                    (capability, "conformance90") => {
                        let reason = format!("wgmma needs 9.0, the GPU has {capability:?}");
                        skipped("conformance", &reason);
                        return None;
                    }
                    ((8, _), _) => "sm_80.cubin",
                    _ => "compute_80.ptx",
                };
                let path = folder.join(format!("{source}.{architecture}"));
                let mut image = fs::read(&path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
                image.push(0); // PTX is text that ends in 0
                image
            }
            _ => format!("\x7fELF EMULATED {source}.cu\0").into_bytes(),
        };
        let module = context.load_module(Ptx::from_binary(image)).expect("a module");
        Some(Instructions { folder, module, stream: context.new_stream().expect("a stream") })
    }

    /// Runs a kernel that writes to `out`, and keeps or compares what is there then.
    fn check(&self, case: &str, call: &Call<'_>, out: &[u32]) {
        let stream = &self.stream;
        let function = self.module.load_function(call.kernel).expect("a kernel");
        let upload = |words: &Vec<u32>| stream.clone_htod(words).expect("a copy to the device");
        let inputs: Vec<_> = call.inputs.iter().map(upload).collect();
        let mut written = stream.clone_htod(out).expect("a copy to the device");
        let mut launch = stream.launch_builder(&function);
        for input in &inputs {
            launch.arg(input);
        }
        launch.arg(&mut written);
        for number in call.numbers {
            launch.arg(number);
        }
        let config = LaunchConfig {
            grid_dim: (call.blocks as u32, 1, 1),
            block_dim: (call.threads, 1, 1),
            shared_mem_bytes: call.shared_bytes,
        };
        // SAFETY: the parameters of the kernel; each buffer has its part for every block.
        unsafe { launch.launch(config) }.expect("a launch");
        let got = stream.clone_dtoh(&written).unwrap_or_else(|error| panic!("{case}: {error}"));
        assert!(got != out, "{case}: the kernel wrote nothing");
        let Some(folder) = &self.folder else { return };
        let path = folder.join(format!("{case}.bits"));
        if real() {
            compare(case, &read(&path), &got).unwrap_or_else(|difference| panic!("{difference}"));
        } else {
            let bytes: Vec<u8> = got.iter().flat_map(|word| word.to_le_bytes()).collect();
            fs::write(&path, bytes).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        }
    }
}

fn read(path: &Path) -> Vec<u32> {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let words = bytes.chunks_exact(4);
    words.map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect()
}

/// `Err` names the first words that differ.
fn compare(case: &str, emulator: &[u32], device: &[u32]) -> Result<(), String> {
    assert_eq!(emulator.len(), device.len(), "{case}: another number of words");
    let pairs = emulator.iter().zip(device).enumerate();
    let differ: Vec<_> = pairs.filter(|(_, (want, got))| want != got).collect();
    let Some((at, (want, got))) = differ.first() else { return Ok(()) };
    let words = device.len();
    Err(format!(
        "{case}: {} of {words} words differ, the first is {at}: emulator {want:08x}, device {got:08x}",
        differ.len()
    ))
}

fn words(rng: &mut impl Rng, len: usize) -> Vec<u32> {
    (0..len).map(|_| rng.random()).collect()
}

/// `len` words of two bf16 integers from -8 to 8.
fn pairs(rng: &mut impl Rng, len: usize) -> Vec<u32> {
    let mut bits = || u32::from(bf16::from_f32(rng.random_range(-8..=8) as f32).to_bits());
    (0..len).map(|_| bits() | bits() << 16).collect()
}

/// `len` words of f32 integers.
fn sums(rng: &mut impl Rng, len: usize) -> Vec<u32> {
    (0..len).map(|_| (rng.random_range(-1000..=1000) as f32).to_bits()).collect()
}

fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

#[test]
fn conversions() {
    let Some(instructions) = Instructions::open("conformance") else { return };
    let mut rng = rng(1);
    // Any bits, infinities and NaN too, every third one half way between two bf16.
    let mut values = words(&mut rng, BLOCKS * 32 * 2);
    values.iter_mut().step_by(3).for_each(|bits| *bits = *bits & 0xffff_0000 | 0x8000);
    let special = [0, 1 << 31, 0x7f80_0000, 0xff80_0000, 0x7fc0_0000, 0x7f7f_ffff, 1, 0x7f80_0001];
    values[..special.len()].copy_from_slice(&special);
    let kernel = "conformance_convert";
    let inputs = [values];
    let call = of_a_warp(kernel, 0, &inputs);
    instructions.check("convert", &call, &vec![0xdead; BLOCKS * 32 * 3]);
}

#[test]
fn votes_and_shuffles() {
    let Some(instructions) = Instructions::open("conformance") else { return };
    let inputs = [words(&mut rng(2), BLOCKS * 32)];
    let kernel = "conformance_warp";
    let call = of_a_warp(kernel, 0, &inputs);
    instructions.check("warp", &call, &vec![0xdead; BLOCKS * 32 * 7]);
}

#[test]
fn asynchronous_copies_and_ldmatrix() {
    let Some(instructions) = Instructions::open("conformance") else { return };
    let mut rng = rng(3);
    let tile = words(&mut rng, BLOCKS * 64 * 4);
    let valid = (0..BLOCKS * 64).map(|_| u32::from(rng.random_bool(0.8))).collect();
    let rows = (0..BLOCKS * 32).map(|_| rng.random_range(0..64)).collect();
    let (kernel, inputs) = ("conformance_ldmatrix", [tile, valid, rows]);
    let call = of_a_warp(kernel, 1024, &inputs);
    instructions.check("ldmatrix", &call, &vec![0xdead; BLOCKS * 32 * 8]);
}

#[test]
fn matrix_products_of_a_warp() {
    let Some(instructions) = Instructions::open("conformance") else { return };
    let mut rng = rng(4);
    let inputs = [pairs(&mut rng, BLOCKS * 32 * 6), sums(&mut rng, BLOCKS * 32 * 4)];
    let kernel = "conformance_mma";
    let call = of_a_warp(kernel, 0, &inputs);
    instructions.check("mma", &call, &vec![0xdead; BLOCKS * 32 * 4]);
}

#[test]
fn matrix_products_of_a_warpgroup() {
    let Some(instructions) = Instructions::open("conformance90") else { return };
    for n in [32, 64, 96, 128] {
        for (transposed, layout) in [(0, "outputs"), (1, "channels")] {
            let mut rng = rng(5 + n as u64 * 2 + transposed as u64);
            for unit in 0..4 {
                let a = pairs(&mut rng, WARPGROUPS * 128 * 8);
                let tile = pairs(&mut rng, WARPGROUPS * 16384 / 4);
                let case = format!("wgmma-{n}-{layout}-{unit}");
                let inputs = [a, tile];
                let call = Call {
                    kernel: "conformance_wgmma",
                    blocks: WARPGROUPS,
                    threads: 128,
                    shared_bytes: 16384,
                    inputs: &inputs,
                    numbers: &[n, transposed, unit],
                };
                instructions.check(&case, &call, &sums(&mut rng, WARPGROUPS * 128 * 64));
            }
        }
    }
}

#[test]
fn a_wrong_bit_is_found() {
    assert_eq!(compare("a case", &[1, 2, 3], &[1, 2, 3]), Ok(()));
    let difference = compare("a case", &[1, 2, 3], &[1, 6, 7]).expect_err("they differ");
    assert!(difference.contains("2 of 3 words differ, the first is 1"), "{difference}");
}
