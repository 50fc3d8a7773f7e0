"""Installs the pinned engines into a folder."""

import subprocess
import sys
from pathlib import Path

from failure import Failure, last_line

PINS = Path(__file__).parent / "requirements.txt"
# What every engine needs; ONNX Runtime also says what the others must answer.
COMMON = ("numpy", "onnx", "onnxruntime")
OLDEST = (3, 11)
SECONDS = 600


def pins(text):
    """`name==version` by name."""
    lines = [line.strip() for line in text.splitlines()]
    return {line.split("==")[0]: line for line in lines if line and not line.startswith("#")}


def note(text):
    print(text, file=sys.stderr)


def install(folder, engines):
    """The Python of the folder, and those of `engines` that it has after that."""
    python = folder / "bin/python"
    if sys.version_info < OLDEST:
        version = ".".join(map(str, sys.version_info[:2]))
        raise Failure(f"python3 is {version}, and the pinned NumPy needs 3.11 or later")
    if not python.exists():
        note(f"making {folder}")
        run([sys.executable, "-m", "venv", folder], f"{folder}: python3 cannot make it")
    wanted = pins(PINS.read_text())
    for name in COMMON:
        add(python, wanted[name])
    found = []
    for engine in engines:
        try:
            add(python, wanted[engine])
            found.append(engine)
        except Failure as failure:
            note(f"{engine} is left out: {failure}")
    return python, found


def add(python, pin):
    name, version = pin.split("==")
    ask = f"import importlib.metadata as m; print(m.version({name!r}))"
    there = subprocess.run([python, "-c", ask], capture_output=True, text=True)
    if there.stdout.strip() == version:
        return
    note(f"installing {pin}")
    pip = [python, "-m", "pip", "install", "--disable-pip-version-check", "--quiet"]
    run([*pip, "--only-binary=:all:", pin], f"pip cannot install {pin}")


def run(command, otherwise):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        raise Failure(f"{otherwise} within {SECONDS} s") from None
    if done.returncode:
        raise Failure(f"{otherwise}: {last_line(done.stderr, 'no reason given')}")


def pytorch(python):
    """Raises what keeps `python` from measuring PyTorch."""
    if python is None:
        raise Failure("PyPI's wheel holds gigabytes of CUDA; name a Python that has it: --python")
    try:
        run([python, "-c", "import torch, numpy, onnx"], f"--python {python}")
    except OSError as error:
        raise Failure(f"--python {python}: {error.strerror}") from None
