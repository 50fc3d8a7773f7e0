use std::process::Command;

use gaternet_kernels::Device;
use gaternet_kernels::cuda::{CudaActiveFilters, CudaBuffer, CudaDevice, CudaOptions};
use gaternet_kernels::test_support::driver::real;
use gaternet_kernels::test_support::skipped;

use crate::check::upload;
use crate::emulator::{self, EMULATOR};

#[test]
fn buffers_keep_what_is_copied_and_check_lengths() {
    let Some(device) = emulator::device() else { return };
    for len in [0, 1, 5, 1000] {
        let values: Vec<u16> = (0..len).collect();
        let buffer = CudaBuffer::from_slice(&device, &values).expect("a copy");
        assert_eq!(buffer.to_vec().expect("a copy"), values);
    }
    let mut buffer = CudaBuffer::<f32>::zeros(&device, 3).expect("a buffer");
    assert_eq!(buffer.to_vec().expect("a copy"), [0.0; 3]);
    let error = buffer.copy_from_slice(&[1.0; 4]).expect_err("too long");
    assert!(error.to_string().contains("`values` has 4 elements, its dims need 3"), "{error}");
    let error = buffer.copy_to_slice(&mut [0.0; 2]).expect_err("too short");
    assert!(error.to_string().contains("`values` has 2 elements"), "{error}");
}

#[test]
fn a_buffer_of_another_device_is_refused() {
    let (Some(here), Some(there)) = (emulator::device(), emulator::device()) else { return };
    let mut lists = CudaActiveFilters::empty(&here, 1, 4).expect("lists");
    let gates = upload(&there, &[1.0; 4]);
    let error = lists.refill(&gates, 4, 0).expect_err("two devices");
    assert!(error.to_string().contains("must be on its device"), "{error}");
}

#[test]
fn kernels_are_compiled_once_for_all_runs() {
    if real() {
        return;
    }
    let cache = tempfile::tempdir().expect("a folder");
    let files = || std::fs::read_dir(cache.path()).expect("a folder").count();
    let run = || {
        let mut options = CudaOptions::default();
        options.cache = Some(cache.path().to_owned());
        let device = emulator::device_with(options)?;
        let mut lists = CudaActiveFilters::empty(&device, 1, 4).expect("lists");
        lists.refill(&upload(&device, &[1.0; 4]), 4, 0).expect("a launch");
        Some(())
    };
    let Some(()) = run() else { return };
    assert_eq!(files(), 1);
    let file =
        std::fs::read_dir(cache.path()).expect("a folder").next().expect("one").expect("one");
    let written = file.metadata().expect("a file").modified().expect("a time");
    run();
    assert_eq!(file.metadata().expect("a file").modified().expect("a time"), written);
    // A file that was cut off is made again.
    std::fs::write(file.path(), b"\x7fELF").expect("a file");
    run();
    assert!(file.metadata().expect("a file").len() > 4);
    assert_eq!(files(), 1);
}

/// Runs `what` in a process of its own with `variables`, since a process can find only one driver.
pub(crate) fn in_a_process_with(what: &str, variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", what, "--ignored", "--nocapture"]).envs(variables.iter().copied());
    let output = command.output().expect("a process");
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    text.into_owned()
}

#[test]
#[ignore = "run by the tests below"]
fn prints_why_there_is_no_device() {
    if std::env::var_os("TEST_NO_DRIVER").is_none() {
        assert!(EMULATOR.install());
    }
    match CudaDevice::new(0) {
        Ok(device) => skipped("no-gpu", &format!("this machine has {}", device.name())),
        Err(error) => println!("{error}"),
    }
}

#[test]
fn without_a_usable_device_the_error_says_what_is_missing() {
    if real() || !EMULATOR.install() {
        return;
    }
    let name = "device::prints_why_there_is_no_device";
    let text = in_a_process_with(name, &[("EMULATOR_DEVICES", "0")]);
    assert!(text.contains("no CUDA device 0: the driver has 0"), "{text}");
    let text = in_a_process_with(name, &[("EMULATOR_COMPUTE_CAPABILITY", "75")]);
    assert!(text.contains("compute capability 7.5; 8.0 or later is needed"), "{text}");
    let text = in_a_process_with(name, &[("EMULATOR_DRIVER_VERSION", "11080")]);
    assert!(text.contains("supports CUDA 11.8; 12.0 is needed"), "{text}");
}

#[test]
fn without_a_driver_nothing_panics() {
    let text =
        in_a_process_with("device::prints_why_there_is_no_device", &[("TEST_NO_DRIVER", "1")]);
    // A machine may have a driver with or without a device.
    let skipped = text.contains("SKIPPED") || text.contains("no CUDA device");
    assert!(skipped || text.contains("no NVIDIA driver: libcuda.so.1 was not found"), "{text}");
}

#[test]
fn the_best_device_is_the_first_gpu() {
    if !EMULATOR.has_device() {
        return;
    }
    let best = Device::best();
    assert!(matches!(best, Device::Cuda(_)), "{best}");
    assert!(best.to_string().starts_with("GPU 0 ("), "{best}");
    let error = Device::cuda(99).expect_err("no machine has as many").to_string();
    assert!(error.contains("no CUDA device 99"), "{error}");
}
