"""Evaluates an ONNX file of `export` on CIFAR images with ONNX Runtime.

    python tools/run_onnx.py MODEL.onnx --data DIR

needs numpy and onnxruntime. DIR holds cifar-10-batches-bin/ or cifar-100-binary/, or is one of them.
"""

import argparse
import pathlib
import time

import numpy as np
import onnxruntime

# The normalisation of training, of values from 0 to 1.
MEAN = np.array([0.4914, 0.4822, 0.4465], dtype=np.float32).reshape(1, 3, 1, 1)
STD = np.array([0.2470, 0.2435, 0.2616], dtype=np.float32).reshape(1, 3, 1, 1)
# Folder, test file, bytes of labels before the pixels; the last one is the class.
LAYOUTS = [("cifar-10-batches-bin", "test_batch.bin", 1), ("cifar-100-binary", "test.bin", 2)]
PIXELS = 3 * 32 * 32


def test_set(folder):
    """Bytes (N, 3, 32, 32) and labels (N)."""
    for name, file, label_bytes in LAYOUTS:
        for path in (folder / name / file, folder / file):
            if path.is_file():
                records = np.fromfile(path, dtype=np.uint8).reshape(-1, label_bytes + PIXELS)
                images = records[:, label_bytes:].reshape(-1, 3, 32, 32)
                return images, records[:, label_bytes - 1]
    raise SystemExit(f"{folder} holds neither {LAYOUTS[0][0]} nor {LAYOUTS[1][0]}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--threads", type=int, default=0, help="0: one for each core")
    args = parser.parse_args()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.threads
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(args.model, options, providers=providers)
    names = [output.name for output in session.get_outputs()]
    images, labels = test_set(args.data)
    correct, open_gates, seconds = 0, 0.0, 0.0
    for first in range(0, len(images), args.batch_size):
        batch = images[first : first + args.batch_size].astype(np.float32) / np.float32(255)
        batch = (batch - MEAN) / STD
        start = time.perf_counter()
        outputs = dict(zip(names, session.run(names, {"images": batch})))
        seconds += time.perf_counter() - start
        correct += int((outputs["logits"].argmax(1) == labels[first : first + len(batch)]).sum())
        if "gates" in outputs:
            open_gates += float(outputs["gates"].mean()) * len(batch)
    print(f"accuracy    {100 * correct / len(images):.2f} % ({correct} of {len(images)} images)")
    if "gates" in names:
        print(f"gates open  {100 * open_gates / len(images):.2f} %")
    print(f"speed       {len(images) / seconds:.0f} images/s")


if __name__ == "__main__":
    main()
