use std::collections::HashMap;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use tempfile::TempDir;

use super::*;

const PLAIN: Source = Source::new("plain", "// plain");
const HOPPER: Source = Source::new("plain90", "// plain");

fn temp_dir() -> TempDir {
    tempfile::tempdir().expect("temp dir")
}

fn architecture(name: &str) -> Architecture {
    name.parse().expect(name)
}

/// Looks for prebuilt cubins in `cubins`; there is no NVRTC.
fn without_nvrtc(cubins: &Path) -> Compiler {
    let nvrtc = Some(cubins.join("no-such-nvrtc.so"));
    Compiler::new(Places { cubins: Some(cubins.to_owned()), cache: None, nvrtc })
}

#[test]
fn every_file_of_kernels_cu_is_embedded() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels-cu");
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("kernels-cu")
        .map(|entry| entry.expect("entry").file_name().into_string().expect("UTF-8"))
        .filter(|name| name.ends_with(".cu") || name.ends_with(".cuh"))
        .collect();
    files.sort();
    let mut embedded: Vec<_> =
        SOURCES.iter().map(|source| format!("{}.cu", source.name())).collect();
    embedded.extend(sources::HEADERS.map(|(name, _)| name.to_owned()));
    embedded.sort();
    assert_eq!(embedded, files);
}

#[test]
fn an_architecture_is_that_of_a_compute_capability_and_has_a_name() {
    for (capability, name) in [
        ((8, 0), "sm_80"),
        ((8, 9), "sm_89"),
        ((9, 0), "sm_90"),
        ((10, 3), "sm_103"),
        ((12, 1), "sm_121"),
    ] {
        let device = Architecture::of_device(capability).expect(name);
        assert_eq!(device.to_string(), name);
        assert_eq!(architecture(name), device);
    }
    assert_eq!(architecture("sm_90a"), Architecture::SM_90A);
    assert_eq!(Architecture::SM_90A.to_string(), "sm_90a");
}

#[test]
fn an_old_device_and_a_wrong_name_are_refused() {
    let error = Architecture::of_device((7, 5)).expect_err("Turing").to_string();
    assert!(error.contains("7.5") && error.contains("8.0"), "{error}");
    for name in ["sm_75", "sm_090", "sm_+90", "sm_", "sm_90b", "90", "compute_90", "sm_9000"] {
        let error = name.parse::<Architecture>().expect_err(name).to_string();
        assert!(error.contains(name), "{error}");
    }
}

#[test]
fn a_source_for_hopper_is_compiled_for_sm_90a_only() {
    assert_eq!(PLAIN.target(Architecture::SM_100), Ok(Architecture::SM_100));
    for device in [Architecture::SM_90, Architecture::SM_90A] {
        assert_eq!(HOPPER.target(device), Ok(Architecture::SM_90A));
    }
    for device in [Architecture::SM_80, Architecture::SM_100] {
        let error = HOPPER.target(device).expect_err("another architecture").to_string();
        assert!(error.contains("plain90") && error.contains(&device.to_string()), "{error}");
    }
}

#[test]
fn the_name_of_a_file_changes_with_all_that_decides_the_machine_code() {
    let name = PLAIN.file_name(Architecture::SM_90, Some((13, 0)));
    let others = [
        Source::new("plain", "// plain ").file_name(Architecture::SM_90, Some((13, 0))),
        Source::new("other", "// plain").file_name(Architecture::SM_90, Some((13, 0))),
        PLAIN.file_name(Architecture::SM_90A, Some((13, 0))),
        PLAIN.file_name(Architecture::SM_90, Some((12, 9))),
        PLAIN.file_name(Architecture::SM_90, None),
    ];
    for other in &others {
        assert_ne!(&name, other);
    }
    assert_eq!(name, PLAIN.file_name(Architecture::SM_90, Some((13, 0))));
    assert!(name.starts_with("plain-") && name.ends_with("-sm_90-nvrtc13.0.cubin"), "{name}");
}

#[test]
fn the_environment_says_where_to_look() {
    let places = |variables: &[(&str, &str)]| {
        let variables: HashMap<_, _> =
            variables.iter().map(|(name, value)| (*name, OsString::from(value))).collect();
        Places::from_variables(|name| variables.get(name).cloned(), Some("/opt/app/program".into()))
    };
    let path = |path: &str| Some(PathBuf::from(path));

    let nothing = Places { cubins: path("/opt/app/cubins"), cache: None, nvrtc: None };
    assert_eq!(places(&[]), nothing);
    assert_eq!(
        places(&[("GATERNET_CUBINS", ""), ("XDG_CACHE_HOME", "here"), ("HOME", "")]),
        nothing
    );
    assert_eq!(places(&[("HOME", "/home/me")]).cache, path("/home/me/.cache/gaternet"));
    let all = [
        ("GATERNET_CUBINS", "/cubins"),
        ("GATERNET_NVRTC", "/nvrtc.so"),
        ("XDG_CACHE_HOME", "/cache"),
        ("HOME", "/home/me"),
    ];
    assert_eq!(
        places(&all),
        Places {
            cubins: path("/cubins"),
            cache: path("/cache/gaternet"),
            nvrtc: path("/nvrtc.so")
        }
    );
}

#[test]
fn a_device_gets_the_best_prebuilt_cubin_that_it_runs() {
    let folder = temp_dir();
    let compiler = without_nvrtc(folder.path());
    for (source, name) in [
        (PLAIN, "sm_80"),
        (PLAIN, "sm_86"),
        (PLAIN, "sm_90"),
        (PLAIN, "sm_90a"),
        (PLAIN, "sm_103"),
        (HOPPER, "sm_90a"),
    ] {
        let path = folder.path().join(source.file_name(architecture(name), None));
        store::write(&path, format!("{} {name}", source.name()).as_bytes()).expect("write");
    }
    for (source, device, expected) in [
        (PLAIN, "sm_80", Some("plain sm_80")),
        (PLAIN, "sm_85", Some("plain sm_80")),
        (PLAIN, "sm_89", Some("plain sm_86")),
        (PLAIN, "sm_90", Some("plain sm_90")),
        (PLAIN, "sm_103", Some("plain sm_103")),
        (PLAIN, "sm_101", None),
        (PLAIN, "sm_120", None),
        (HOPPER, "sm_90", Some("plain90 sm_90a")),
        (Source::new("plain", "// another text"), "sm_90", None),
    ] {
        let found = compiler.image(&source, architecture(device));
        match expected {
            Some(cubin) => {
                let image = found.expect(device);
                assert_eq!(image.cubin, cubin.as_bytes(), "{device}");
                assert!(cubin.ends_with(&image.architecture.to_string()), "{image:?}");
                assert!(matches!(image.origin, Origin::Prebuilt(_)), "{image:?}");
            }
            None => assert!(matches!(found, Err(CompileError::NoCompiler { .. })), "{device}"),
        }
    }
}

#[test]
fn a_damaged_prebuilt_cubin_is_passed_over() {
    let folder = temp_dir();
    let write = |name| {
        let path = folder.path().join(PLAIN.file_name(architecture(name), None));
        store::write(&path, name.as_bytes()).expect("write");
        path
    };
    write("sm_80");
    let best = write("sm_86");
    fs::write(&best, b"sm_86").expect("overwrite");
    let image =
        without_nvrtc(folder.path()).image(&PLAIN, architecture("sm_86")).expect("sm_80 runs");
    assert_eq!(image.cubin, b"sm_80");
}

#[test]
fn without_a_compiler_the_error_says_what_to_install() {
    let folder = temp_dir();
    let not_nvrtc = folder.path().join("text.so");
    fs::write(&not_nvrtc, "text").expect("write");
    // The C library opens, and has no function of NVRTC.
    for (nvrtc, reason) in [
        (folder.path().join("absent.so"), "absent.so: cannot open shared object file"),
        (not_nvrtc, "text.so"),
        (PathBuf::from("libc.so.6"), "nvrtcVersion"),
    ] {
        let cubins = Some(folder.path().join("cubins"));
        let compiler = Compiler::new(Places { cubins, cache: None, nvrtc: Some(nvrtc) });
        let error =
            compiler.image(&PLAIN, Architecture::SM_90).expect_err("no compiler").to_string();
        for part in [
            reason,
            "plain",
            "sm_90",
            "cubins",
            "nvidia-cuda-nvrtc",
            "GATERNET_NVRTC",
            "GATERNET_CUBINS",
        ] {
            assert!(error.contains(part), "no {part:?} in {error:?}");
        }
    }
}

#[test]
fn a_file_comes_back_only_as_it_was_written() {
    let folder = temp_dir();
    let path = folder.path().join("new/folder/x.cubin");
    for cubin in [&b"\x7fELF cubin"[..], b"", b"shorter"] {
        store::write(&path, cubin).expect("write");
        assert_eq!(store::read(&path).expect("whole"), cubin);
    }
    let whole = fs::read(&path).expect("read");
    let mut changed = whole.clone();
    changed[3] ^= 1;
    let longer = [&whole[..], b"x"].concat();
    for bytes in [&changed[..], &longer, &whole[1..], &whole[..whole.len() - 1], &whole[..10], b""]
    {
        fs::write(&path, bytes).expect("overwrite");
        let error = store::read(&path).expect_err("a damaged file");
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData, "{} bytes", bytes.len());
    }
}

#[test]
fn a_failed_write_is_an_error_and_leaves_nothing() {
    let folder = temp_dir();
    let file = folder.path().join("file");
    fs::write(&file, "a file, not a folder").expect("write");
    store::write(&file.join("x.cubin"), b"cubin").expect_err("not a folder");
    let occupied = folder.path().join("occupied/x.cubin");
    fs::create_dir_all(&occupied).expect("folder");
    store::write(&occupied, b"cubin").expect_err("a folder in its place");
    let left = fs::read_dir(folder.path().join("occupied")).expect("folder").count();
    assert_eq!(left, 1, "the temporary file is still there");
}

/// Two threads here and two processes replace a file while it is read.
#[test]
fn threads_and_processes_replace_a_file_without_damage() {
    const NAME: &str = "cuda::compile::tests::threads_and_processes_replace_a_file_without_damage";
    const FOLDER: &str = "GATERNET_TEST_STORE";
    let replace = |path: &Path, byte: u8| {
        for length in 0..100 {
            store::write(path, &vec![byte; 1000 * length]).expect("write");
            let cubin = store::read(path).expect("never damaged");
            assert!(cubin.iter().all(|other| *other == cubin[0]), "two files are mixed");
        }
    };
    if let Some(folder) = env::var_os(FOLDER) {
        return replace(&PathBuf::from(folder).join("x.cubin"), 2);
    }

    let folder = temp_dir();
    let path = folder.path().join("x.cubin");
    let children: Vec<_> = (0..2)
        .map(|_| {
            Command::new(env::current_exe().expect("own path"))
                .args(["--exact", NAME])
                .env(FOLDER, folder.path())
                .stdout(Stdio::piped())
                .spawn()
                .expect("another process")
        })
        .collect();
    thread::scope(|scope| {
        for byte in 0..2 {
            let path = &path;
            scope.spawn(move || replace(path, byte));
        }
    });
    for child in children {
        let output = child.wait_with_output().expect("child");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    assert_eq!(fs::read_dir(folder.path()).expect("folder").count(), 1, "temporary files are left");
}
