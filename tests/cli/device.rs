//! `--device`: a GPU that is not there, and training on the emulator of one.

use std::fs;
use std::process::Command;

use gaternet_kernels::test_support::skipped;
use tempfile::tempdir;

use crate::programs::{example, failure, stdout, tiny_plain_training, tree};

#[test]
fn a_device_has_a_known_name() {
    for name in ["gpu", "cuda:", "cuda:x", ""] {
        let message = failure(example("train_cifar").args(["--device", name]), 2);
        assert!(message.contains("must be cpu, cuda, cuda:NUMBER or best"), "{name}: {message}");
    }
}

/// One line that says what to do, exit code 2, no panic, nothing written.
#[test]
fn without_a_gpu_cuda_is_refused_in_one_line() {
    let dir = tempdir().expect("a folder");
    // A number that no machine has: with a driver the message is another, but it is one.
    for device in ["cuda", "cuda:4000000000"] {
        let mut train = tiny_plain_training(&dir.path().join("out"));
        let mut evaluate = example("evaluate");
        evaluate.arg("--checkpoint").arg(dir.path().join("model.safetensors"));
        for command in [&mut train, &mut evaluate] {
            command.args(["--device", device]);
            if device == "cuda" && has_gpu() {
                skipped("no-gpu", "this machine has a GPU");
                continue;
            }
            // Without the feature the model is not looked for either.
            let message = failure(command, 2);
            let says = ["`--features cuda`", "no NVIDIA driver", "no CUDA device"];
            let known = match cfg!(feature = "cuda") {
                true => says[1..].iter().any(|part| message.contains(part)),
                false => message.contains(says[0]),
            };
            assert!(known && message.starts_with("error: "), "{message}");
            assert_eq!(message.lines().count(), 1, "{message}");
        }
    }
    assert!(tree(dir.path()).is_empty());
}

fn has_gpu() -> bool {
    Command::new("nvidia-smi").arg("-L").output().is_ok_and(|output| output.status.success())
}

#[test]
fn the_best_device_is_always_there() {
    let dir = tempdir().expect("a folder");
    let mut train = tiny_plain_training(dir.path());
    stdout(train.args(["--device", "best", "--overwrite"]));
    assert!(fs::metadata(dir.path().join("model.safetensors")).is_ok());
}

#[cfg(feature = "cuda")]
mod emulated {
    use std::path::Path;
    use std::process::Command;

    use gaternet_kernels::test_support::emulator::Emulator;
    use tempfile::tempdir;

    use crate::image_folder::folder;
    use crate::programs::{example, failure, metrics, stdout, tree};

    static EMULATOR: Emulator = Emulator::sound(env!("CARGO_TARGET_TMPDIR"));

    /// `name` with the emulator in place of a driver; `None`, with the reason on stdout, if there
    /// is none.
    fn on_emulator(name: &str) -> Option<Command> {
        let libraries = EMULATOR.libraries()?;
        let folders = libraries.iter().map(|library| library.parent().expect("a folder"));
        let mut command = example(name);
        command.env("LD_LIBRARY_PATH", std::env::join_paths(folders).expect("no colon in it"));
        // Nothing of a test is to stay in the user's cache.
        command.env("GATERNET_CACHE", env!("CARGO_TARGET_TMPDIR"));
        command.args(["--threads", "1", "--device", "cuda"]);
        Some(command)
    }

    /// Two steps an epoch of the smallest networks.
    fn train(out: &Path, epochs: &str) -> Option<Command> {
        let mut command = on_emulator("train_cifar")?;
        command.args(["--width", "0.25", "--gater-width", "0.25"]);
        command.args(["--gater-depth", "8", "--gater-pool", "4", "--bottleneck", "4"]);
        command.args(["--train-images", "3", "--test-images", "1", "--batch-size", "2"]);
        command.args(["--epochs", epochs, "--out"]).arg(out);
        Some(command)
    }

    #[test]
    fn a_training_on_a_gpu_is_saved_resumed_and_evaluated() {
        for (args, dtype) in [
            (&[][..], "bf16"),
            (&["--ema", "0.5", "--mixup", "0.4", "--clip-grad-norm", "1"], "bf16"),
            (&["--image-size", "32", "--mixup", "0.4", "--dtype", "f32"], "f32"),
        ] {
            saved_resumed_and_evaluated(args, dtype);
        }
    }

    fn saved_resumed_and_evaluated(args: &[&str], dtype: &str) {
        let dir = tempdir().expect("a folder");
        let (whole, halves) = (dir.path().join("whole"), dir.path().join("halves"));
        let Some(mut command) = train(&whole, "2") else { return };
        let table = stdout(command.args(args));
        assert!(table.contains("test accuracy"), "{table}");
        let rows = metrics(&whole);
        assert_eq!(rows.len(), 2);
        assert!(rows[1]["train_loss"].as_f64().is_some_and(|loss| loss > 0.0), "{rows:?}");

        for more in [&["--stop-after", "1"][..], &["--resume"]] {
            stdout(train(&halves, "2").expect("as before").args(args).args(more));
        }
        let [whole, halves] = [&whole, &halves].map(|out| out.join("model.safetensors"));
        let [of_whole, of_halves] =
            [&whole, &halves].map(|path| std::fs::read(path).expect("saved"));
        assert!(of_whole == of_halves, "{args:?}: a resumed run has other weights");

        let mut evaluate = on_emulator("evaluate").expect("as before");
        evaluate.args(["--json", "--dtype", dtype, "--checkpoint"]).arg(&whole);
        let json = stdout(&mut evaluate);
        let got: serde_json::Value = serde_json::from_str(&json).expect(&json);
        for (name, field) in [("accuracy", "test_accuracy"), ("gate_density", "gate_density")] {
            assert_eq!(got[name], rows[1][field], "{args:?}, {name}: {json}");
        }
    }

    #[test]
    fn image_files_train_and_evaluate_on_a_gpu() {
        let (data, dir) = (folder(4, "val", 3), tempdir().expect("a folder"));
        let Some(mut command) = on_emulator("train_cifar") else { return };
        command.args(["--dense", "--width", "0.25", "--image-size", "16", "--batch-size", "3"]);
        command.args(["--epochs", "1", "--data"]).arg(data.path());
        stdout(command.arg("--out").arg(dir.path()));
        let mut evaluate = on_emulator("evaluate").expect("as before");
        evaluate.args(["--json", "--dtype", "bf16", "--data"]).arg(data.path());
        let json = stdout(evaluate.arg("--checkpoint").arg(dir.path().join("model.safetensors")));
        let got: serde_json::Value = serde_json::from_str(&json).expect(&json);
        assert_eq!(got["images"], 3);
        assert_eq!(got["accuracy"], metrics(dir.path())[0]["test_accuracy"], "{json}");
    }

    /// Images that the host prepares, blended by the same draws, and no gates, whose noise would be
    /// another.
    #[test]
    fn a_dense_training_in_f32_is_that_of_the_processor() {
        let dir = tempdir().expect("a folder");
        let run = |device: &str| {
            let out = dir.path().join(device);
            let mut command = on_emulator("train_cifar")?;
            command.args(["--dense", "--width", "0.25", "--image-size", "16", "--batch-size", "2"]);
            command.args(["--train-images", "3", "--test-images", "2", "--epochs", "2"]);
            command.args(["--mixup", "0.4", "--ema", "0.5", "--clip-grad-norm", "0.5"]);
            command.args(["--label-smoothing", "0.1", "--dtype", "f32", "--device", device]);
            stdout(command.arg("--out").arg(&out));
            Some(metrics(&out))
        };
        let (Some(got), Some(want)) = (run("cuda"), run("cpu")) else { return };
        for (got, want) in got.iter().zip(&want) {
            for field in ["train_loss", "train_accuracy", "test_accuracy", "learning_rate"] {
                let [got, want] = [got, want].map(|row| row[field].as_f64().expect("a number"));
                assert!((got - want).abs() <= 1e-4 * want.abs(), "{field}: {got}, not {want}");
            }
        }
        let message = failure(example("train_cifar").args(["--dtype", "bf16"]), 1);
        assert!(message.contains("--dtype bf16 is for --device cuda"), "{message}");
    }

    #[test]
    fn what_a_gpu_cannot_do_is_refused_before_anything_is_written() {
        let dir = tempdir().expect("a folder");
        let Some(mut command) = train(&dir.path().join("out"), "1") else { return };
        let message = failure(command.args(["--target-latency", "0.9"]), 1);
        let part = "no CUDA kernel for the gate loss TargetLatency";
        assert!(message.contains(part) && message.lines().count() == 1, "{message}");
        assert!(tree(dir.path()).is_empty());
    }
}
