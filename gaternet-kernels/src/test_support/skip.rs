//! Tests that need what not every machine has.

use std::env;
use std::io::{Write, stdout};

/// The variable that names, separated by commas, what a machine must have.
const VARIABLE: &str = "GATERNET_REQUIRE";

/// The things that tests need of a machine.
const NEEDS: [&str; 10] = [
    // A Python with onnxruntime; one with torch and safetensors.
    "onnx",
    "torch",
    // g++ on Linux on x86-64; NVIDIA's compilers.
    "emulator",
    "toolchain",
    // Instructions that a GPU compares with the emulator's.
    "conformance",
    // Values of the authors' implementation; libjpeg's program.
    "reference",
    "djpeg",
    // A file that is always full; processor time that no quota limits; a machine without a GPU.
    "dev-full",
    "no-quota",
    "no-gpu",
];

/// Says on stdout that a test is skipped, and why: the machine lacks `need`, one of the names that
/// `GATERNET_REQUIRE` takes.
///
/// # Panics
/// If that variable requires it, or names something that no test needs.
pub fn skipped(need: &str, reason: &str) {
    if let Err(message) = check(need, reason, &env::var(VARIABLE).unwrap_or_default()) {
        panic!("{message}");
    }
    // Not println!, of which only failed tests show anything.
    writeln!(stdout(), "SKIPPED: {reason}").expect("stdout can be written");
}

fn check(need: &str, reason: &str, required: &str) -> Result<(), String> {
    let mut required = required.split(',').map(str::trim).filter(|name| !name.is_empty());
    let known = NEEDS.join(", ");
    if !NEEDS.contains(&need) {
        return Err(format!("{need}: tests need one of {known}"));
    }
    if let Some(unknown) = required.clone().find(|name| !NEEDS.contains(name)) {
        return Err(format!("{VARIABLE}: {unknown}: must be one of {known}"));
    }
    if required.any(|name| name == need) {
        return Err(format!("{VARIABLE} has {need}, but {reason}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn what_is_required_is_not_skipped() {
        let check = |required| check("onnx", "there is no onnxruntime", required);
        assert_eq!(check(""), Ok(()));
        assert_eq!(check("torch, emulator,"), Ok(()));
        let message = "GATERNET_REQUIRE has onnx, but there is no onnxruntime";
        assert_eq!(check("torch, onnx"), Err(message.to_owned()));
    }

    #[test]
    fn a_need_that_no_test_has_is_an_error() {
        for (need, required) in [("onnx", "onx"), ("onx", "")] {
            let message = check(need, "", required).expect_err("no such need");
            assert!(message.contains("onx: "), "{message}");
        }
    }
}
