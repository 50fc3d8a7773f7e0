"""Our programs: built by cargo, or found in a folder."""

import json
import subprocess
import sys

from failure import Failure
from layers import ROOT

# The programs of each kind of measurement. export writes what the engines run.
NEEDED = {
    "layers": ["conv_throughput"],
    "networks": ["model_throughput", "train_cifar", "export"],
    "training": ["train_step", "train_cifar", "export"],
}


def needed(kinds):
    return sorted({name for kind in kinds for name in NEEDED[kind]})


def find(folder, names):
    for name in names:
        if not (folder / name).is_file():
            raise Failure(f"--programs {folder}: there is no {name}")
    return {name: folder / name for name in names}


def build(names):
    """Paths by name. Progress goes to stderr."""
    examples = [word for name in names if name != "train_step" for word in ("--example", name)]
    paths = {}
    if examples:
        paths |= cargo(["build", "--release", "--features", "onnx", *examples])
    if "train_step" in names:
        paths |= cargo(["bench", "--no-run", "--bench", "train_step"])
    return {name: paths[name] for name in names}


def cargo(words):
    command = ["cargo", *words, "--message-format=json-render-diagnostics"]
    try:
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=sys.stderr)
    except FileNotFoundError:
        raise Failure("cargo is missing: install Rust from https://rustup.rs") from None
    if done.returncode:
        raise Failure(f"cargo {words[0]} failed")
    messages = [json.loads(line) for line in done.stdout.splitlines()]
    made = [message for message in messages if message.get("executable")]
    return {message["target"]["name"]: message["executable"] for message in made}
