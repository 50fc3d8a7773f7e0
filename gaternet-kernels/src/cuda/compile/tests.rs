use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;

const PLAIN: Source =
    Source { file: "plain.cu", text: "x", headers: &[("a.cuh", "1")], only: None };
const HOPPER: Source = Source { file: "hopper.cu", only: Some("sm_90a"), ..PLAIN };

fn temp_dir() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

/// Uses what is prebuilt in `cubins`; there is no NVRTC.
fn without_nvrtc(capability: (i32, i32), cubins: &Path) -> Compiler {
    let options = CudaOptions {
        cubins: Some(cubins.to_owned()),
        nvrtc: Some(cubins.join("absent.so")),
        ..CudaOptions::default()
    };
    Compiler::new(capability, &options)
}

#[test]
fn a_file_name_changes_with_all_that_decides_the_contents() {
    let name = |source: &Source| source.image_name("sm_90a", Some((13, 0)));
    let plain = name(&PLAIN);
    assert_eq!(plain, name(&PLAIN));
    assert!(plain.starts_with("plain-") && plain.ends_with(".nvrtc13.0.sm_90a.cubin"), "{plain}");
    for other in [
        name(&Source { text: "y", ..PLAIN }),
        name(&Source { file: "other.cu", ..PLAIN }),
        name(&Source { headers: &[("a.cuh", "2")], ..PLAIN }),
        name(&Source { headers: &[("b.cuh", "1")], ..PLAIN }),
        name(&Source { headers: &[], ..PLAIN }),
        PLAIN.image_name("sm_90", Some((13, 0))),
        PLAIN.image_name("sm_90a", Some((12, 9))),
        PLAIN.image_name("sm_90a", None),
    ] {
        assert_ne!(plain, other);
    }
    assert!(PLAIN.image_name("compute_80", None).ends_with(".compute_80.ptx"));
}

#[test]
fn a_device_gets_the_best_prebuilt_file_that_it_runs() {
    let folder = temp_dir();
    let put = |source: &Source, architecture: &str| {
        let path = folder.path().join(source.image_name(architecture, None));
        store::write(&path, architecture.as_bytes()).expect("a file");
    };
    for architecture in ["sm_80", "sm_86", "sm_90", "sm_103"] {
        put(&PLAIN, architecture);
    }
    // Nobody looks for these.
    put(&HOPPER, "sm_90");
    put(&HOPPER, "compute_80");
    let find = |source: &Source, capability| {
        without_nvrtc(capability, folder.path()).image(source).map(|image| {
            let Origin::Prebuilt(path) = image.origin else { panic!("{:?}", image.origin) };
            assert!(path.starts_with(folder.path()), "{path:?}");
            String::from_utf8(image.bytes).expect("text")
        })
    };
    let expect =
        |source: &Source, capability, expected: Option<&str>| match find(source, capability) {
            Ok(found) => assert_eq!(Some(&*found), expected, "{capability:?}"),
            Err(CudaError::NoCompiler { .. }) => assert_eq!(None, expected, "{capability:?}"),
            Err(error) => panic!("{error}"),
        };
    expect(&PLAIN, (8, 0), Some("sm_80"));
    expect(&PLAIN, (8, 5), Some("sm_80"));
    expect(&PLAIN, (8, 9), Some("sm_86"));
    expect(&PLAIN, (9, 0), Some("sm_90"));
    expect(&PLAIN, (10, 3), Some("sm_103"));
    expect(&PLAIN, (10, 1), None);
    expect(&PLAIN, (12, 0), None);
    expect(&Source { text: "changed since", ..PLAIN }, (9, 0), None);
    expect(&HOPPER, (9, 0), None);

    put(&PLAIN, "sm_90a");
    put(&PLAIN, "compute_80");
    put(&HOPPER, "sm_90a");
    expect(&PLAIN, (9, 0), Some("sm_90a"));
    expect(&HOPPER, (9, 0), Some("sm_90a"));
    expect(&PLAIN, (8, 9), Some("sm_86"));
    expect(&PLAIN, (12, 0), Some("compute_80"));
    expect(&HOPPER, (10, 0), None);
}

#[test]
fn a_damaged_prebuilt_file_is_passed_over() {
    let folder = temp_dir();
    let path = |architecture| folder.path().join(PLAIN.image_name(architecture, None));
    store::write(&path("sm_80"), b"whole").expect("a file");
    fs::write(path("sm_86"), b"cut off").expect("a file");
    let image = without_nvrtc((8, 6), folder.path()).image(&PLAIN).expect("sm_80 runs too");
    assert_eq!(image.bytes, b"whole");
}

#[test]
fn without_a_compiler_the_error_says_what_was_tried_and_what_to_install() {
    let folder = temp_dir();
    let not_a_library = folder.path().join("text.so");
    fs::write(&not_a_library, "text").expect("a file");
    for (nvrtc, reason) in [
        (folder.path().join("absent.so"), "absent.so: cannot open shared object file"),
        (not_a_library, "text.so"),
        // It opens, and has no function of NVRTC.
        (PathBuf::from("libc.so.6"), "nvrtcVersion"),
    ] {
        let options = CudaOptions { nvrtc: Some(nvrtc), ..CudaOptions::default() };
        let error = Compiler::new((8, 6), &options).image(&PLAIN).expect_err("no compiler");
        let error = error.to_string();
        for part in
            [reason, "plain.cu", "sm_86", "nvidia-cuda-nvrtc", "GATERNET_NVRTC", "GATERNET_CUBINS"]
        {
            assert!(error.contains(part), "no {part:?} in {error:?}");
        }
    }
}
