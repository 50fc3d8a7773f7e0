//! NVRTC, the cache in front of it and the prebuilt cubins that it makes.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use gaternet_kernels::cuda::{
    Compiler, CudaError, CudaOptions, Image, Origin, Source, build_cubins, sources,
};

use crate::toolchain::Toolchain;

const HOPPER: (i32, i32) = (9, 0);

fn gate() -> &'static Source {
    sources().find(|source| source.file() == "active_filters.cu").expect("one of the sources")
}

/// For a Hopper GPU; keeps what it compiles in `cache`.
fn compiler(toolchain: &Toolchain, cache: &Path) -> Compiler {
    let mut options = CudaOptions::default();
    options.cache = Some(cache.to_owned());
    options.nvrtc = Some(toolchain.nvrtc());
    Compiler::new(HOPPER, &options)
}

fn image(compiler: &Compiler) -> Image {
    let image = compiler.image(gate()).expect("active_filters.cu compiles");
    assert!(image.bytes.starts_with(b"\x7fELF") && image.bytes.len() > 1000, "not a cubin");
    image
}

#[test]
fn a_kernel_is_compiled_once_and_again_if_its_file_is_damaged() {
    let Some(toolchain) = Toolchain::find() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let cache = folder.path().join("cache");
    let first = image(&compiler(&toolchain, &cache));
    assert_eq!(first.origin, Origin::Compiled);
    let second = image(&compiler(&toolchain, &cache));
    let Origin::Cache(path) = &second.origin else { panic!("{:?}", second.origin) };
    assert_eq!(second.bytes, first.bytes);

    let whole = fs::read(path).expect("a file");
    fs::write(path, &whole[..whole.len() / 2]).expect("a file");
    assert_eq!(image(&compiler(&toolchain, &cache)).origin, Origin::Compiled);
    let repaired = image(&compiler(&toolchain, &cache));
    assert_eq!(repaired.origin, second.origin);
    assert_eq!(repaired.bytes, first.bytes);
}

#[test]
fn a_cache_that_cannot_be_written_is_no_error() {
    let Some(toolchain) = Toolchain::find() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let cache = folder.path().join("file");
    fs::write(&cache, "not a folder").expect("a file");
    for _ in 0..2 {
        assert_eq!(image(&compiler(&toolchain, &cache)).origin, Origin::Compiled);
    }
    assert_eq!(fs::read(cache).expect("a file"), b"not a folder");
}

#[test]
fn threads_that_want_the_same_kernel_all_get_it() {
    let Some(toolchain) = Toolchain::find() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let compiler = compiler(&toolchain, folder.path());
    let images: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(|| image(&compiler).bytes)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    assert!(images.iter().all(|bytes| *bytes == images[0]), "the images differ");
}

#[test]
fn what_is_prebuilt_needs_no_compiler() {
    let Some(toolchain) = Toolchain::find() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let architectures = ["sm_80", "compute_80"];
    let files = build_cubins(folder.path(), &architectures, Some(&toolchain.nvrtc()))
        .unwrap_or_else(|error| panic!("{error}"));
    let all = sources().flat_map(|source| architectures.map(|name| source.is_for(name)));
    assert_eq!(files.len(), all.filter(|is_for| *is_for).count());

    let mut options = CudaOptions::default();
    options.cubins = Some(folder.path().to_owned());
    options.nvrtc = Some(folder.path().join("absent.so"));
    let image = Compiler::new((8, 6), &options).image(gate()).expect("prebuilt for sm_80");
    let Origin::Prebuilt(path) = &image.origin else { panic!("{:?}", image.origin) };
    assert!(files.contains(path), "{path:?}");
    assert!(toolchain.resource_usage(path).contains("active_filters_list"));
    let image = Compiler::new((12, 0), &options).image(gate()).expect("PTX");
    let text = String::from_utf8(image.bytes).expect("text");
    assert!(text.contains(".target sm_80") && text.ends_with('\0'), "{text}");
}

#[test]
fn an_unknown_architecture_is_an_error_with_the_words_of_the_compiler() {
    let Some(toolchain) = Toolchain::find() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let error = build_cubins(folder.path(), &["sm_12345"], Some(&toolchain.nvrtc()))
        .expect_err("there is no such GPU");
    assert!(matches!(error, CudaError::Compile { .. }), "{error:?}");
    let error = error.to_string();
    for part in ["for sm_12345", "NVRTC_ERROR_INVALID_OPTION", "--gpu-architecture"] {
        assert!(error.contains(part), "no {part:?} in {error}");
    }
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0, "something was written");
}

/// The times are for people; a test that judged them would fail on a busy machine.
#[test]
fn every_source_is_compiled_and_then_cached() {
    let Some(toolchain) = Toolchain::find() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let pass = |cached: bool| {
        let start = Instant::now();
        let compiler = compiler(&toolchain, folder.path());
        for source in sources() {
            let image = compiler.image(source).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(matches!(image.origin, Origin::Cache(_)), cached, "{}", source.file());
        }
        start.elapsed()
    };
    let compiled = pass(false);
    let cached = (0..3).map(|_| pass(true)).min().unwrap_or(Duration::MAX);
    println!("{} sources: {compiled:.2?} by NVRTC, {cached:.2?} from the cache", sources().count());
}
