//! NVRTC, the cache in front of it and the prebuilt cubins that it makes.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use gaternet_kernels::cuda::compile::{
    Architecture, CompileError, Compiler, Image, Origin, Places, Source,
};

use crate::toolchain::Toolchain;

/// A compiler that keeps its cubins in `cache`.
fn compiler(toolchain: &Toolchain, cache: &Path) -> Compiler {
    let nvrtc = Some(toolchain.nvrtc());
    Compiler::new(Places { cubins: None, cache: Some(cache.to_owned()), nvrtc })
}

fn gate(compiler: &Compiler) -> Image {
    let image = compiler.image(&Source::GATE, Architecture::SM_90).expect("gate.cu compiles");
    assert!(image.cubin.starts_with(b"\x7fELF") && image.cubin.len() > 1000, "not a cubin");
    assert_eq!(image.architecture, Architecture::SM_90);
    image
}

#[test]
fn a_kernel_is_compiled_once_and_again_if_its_file_is_damaged() {
    let Some(toolchain) = Toolchain::find() else { return };
    let folder = tempfile::tempdir().expect("temp dir");
    let cache = folder.path().join("cache");
    let first = gate(&compiler(&toolchain, &cache));
    assert_eq!(first.origin, Origin::Compiled);
    let second = gate(&compiler(&toolchain, &cache));
    let Origin::Cache(path) = &second.origin else { panic!("{:?}", second.origin) };
    assert_eq!(second.cubin, first.cubin);

    let whole = fs::read(path).expect("cached");
    fs::write(path, &whole[..whole.len() / 2]).expect("cut off");
    assert_eq!(gate(&compiler(&toolchain, &cache)).origin, Origin::Compiled);
    let repaired = gate(&compiler(&toolchain, &cache));
    assert_eq!(repaired.origin, second.origin);
    assert_eq!(repaired.cubin, first.cubin);
}

#[test]
fn a_cache_that_cannot_be_written_is_no_error() {
    let Some(toolchain) = Toolchain::find() else { return };
    let folder = tempfile::tempdir().expect("temp dir");
    let cache = folder.path().join("file");
    fs::write(&cache, "not a folder").expect("write");
    for _ in 0..2 {
        assert_eq!(gate(&compiler(&toolchain, &cache)).origin, Origin::Compiled);
    }
    assert_eq!(fs::read(cache).expect("still there"), b"not a folder");
}

#[test]
fn threads_that_compile_the_same_kernel_all_get_it() {
    let Some(toolchain) = Toolchain::find() else { return };
    let folder = tempfile::tempdir().expect("temp dir");
    let compiler = compiler(&toolchain, folder.path());
    let cubins: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(|| gate(&compiler).cubin)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    assert!(cubins.iter().all(|cubin| *cubin == cubins[0]), "the cubins differ");
}

#[test]
fn a_prebuilt_cubin_needs_no_compiler() {
    let Some(toolchain) = Toolchain::find() else { return };
    let folder = tempfile::tempdir().expect("temp dir");
    let compiler = compiler(&toolchain, &folder.path().join("cache"));
    let path = compiler
        .prebuild(&Source::GATE, Architecture::SM_80, folder.path())
        .expect("gate.cu compiles");
    let places = Places {
        cubins: Some(folder.path().to_owned()),
        cache: None,
        nvrtc: Some(folder.path().join("absent.so")),
    };
    let device = Architecture::of_device((8, 6)).expect("Ampere");
    let image = Compiler::new(places).image(&Source::GATE, device).expect("prebuilt");
    assert_eq!(image.origin, Origin::Prebuilt(path));
    let usage = toolchain.resource_usage(&image.cubin);
    assert!(usage.contains("gate_compact"), "{usage}");
}

#[test]
fn an_error_in_a_source_comes_with_the_words_of_the_compiler() {
    let Some(toolchain) = Toolchain::find() else { return };
    let folder = tempfile::tempdir().expect("temp dir");
    let text = "#include \"dev.cuh\"\nKERNEL(broken, 32, 1)(float* out) { *out = undeclared; }\n";
    let broken = Source::new("broken", text);
    let error = compiler(&toolchain, folder.path())
        .image(&broken, Architecture::SM_80)
        .expect_err("it does not compile");
    assert!(matches!(error, CompileError::Compile { .. }), "{error:?}");
    let error = error.to_string();
    for part in ["broken for sm_80", "NVRTC_ERROR_COMPILATION", "broken.cu(2)", "undeclared"] {
        assert!(error.contains(part), "no {part:?} in {error}");
    }
    assert_eq!(fs::read_dir(folder.path()).expect("folder").count(), 0, "something was kept");
}

/// The times are for people; a test that checks times would fail on a busy machine.
#[test]
fn every_source_compiles_and_is_then_cached() {
    let Some(toolchain) = Toolchain::find() else { return };
    let folder = tempfile::tempdir().expect("temp dir");
    let pass = |expect_cached: bool| {
        let start = Instant::now();
        let compiler = compiler(&toolchain, folder.path());
        for source in &Source::ALL {
            let image = compiler.image(source, Architecture::SM_90).expect(source.name());
            assert_eq!(
                matches!(image.origin, Origin::Cache(_)),
                expect_cached,
                "{}",
                source.name()
            );
        }
        start.elapsed()
    };
    let cold = pass(false);
    let cached = (0..3).map(|_| pass(true)).min().unwrap_or(Duration::MAX);
    println!(
        "{} sources for sm_90: {cold:.2?} compiled, {cached:.2?} from the cache",
        Source::ALL.len()
    );
}
