"""What is in a file of PyTorch, or of safetensors, without running any code that it asks for."""

import pathlib
import pickle
import re

from refused import Refused

# In an OrderedDict's own dict, as PyTorch's `_metadata`: torch.save keeps it, load_state_dict does
# not see it.
ATTRIBUTE = "gaternet_metadata"
# Of a gated model's file; earlier versions wrote its configuration alone.
METADATA_KEY, CONFIG_KEY = "gaternet_metadata", "gaternet_config"


class Inert:
    """Stands for an object of a class that is not PyTorch's: takes what a pickle does, and does
    nothing."""

    def __new__(cls, *_args, **_kwargs):
        return object.__new__(cls)

    def __init__(self, *_args, **_kwargs):
        pass

    def __setstate__(self, _state):
        pass

    def __setitem__(self, _key, _value):
        pass

    def __hash__(self):
        return id(self)


def load(path: pathlib.Path):
    """What `torch.load` reads, with an `Inert` for every object without plain data; a dict of
    tensors of a safetensors file."""
    try:
        with open(path, "rb") as file:
            start = file.read(64)
        size = path.stat().st_size
    except OSError as error:
        raise Refused(f"cannot read {path}: {error.strerror}") from error
    if start.startswith(b"version https://git-lfs"):
        raise Refused(f"{path}: is a pointer of Git LFS, not the file itself: git lfs pull")
    if start.lstrip()[:1] == b"<":
        raise Refused(
            f"{path}: is a web page or XML, not a checkpoint; was it downloaded from a preview?"
        )
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") + 8 <= size:
        return load_safetensors(path)
    return load_pickle(path)


def load_safetensors(path: pathlib.Path) -> dict:
    from collections import OrderedDict

    tensors, metadata = read_safetensors(path)
    tensors = OrderedDict(tensors)
    setattr(tensors, ATTRIBUTE, metadata)
    return tensors


def read_safetensors(path: pathlib.Path) -> tuple[dict, dict]:
    """Tensors and metadata."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}
    except FileNotFoundError as error:
        raise Refused(f"cannot read {path}: no such file") from error
    except (OSError, SafetensorError, AttributeError, KeyError) as error:
        raise Refused(f"{path}: no safetensors file ({error})") from error


def load_pickle(path: pathlib.Path):
    import torch

    inert = {}
    while True:
        try:
            if not inert:
                return torch.load(path, map_location="cpu", weights_only=True)
            with torch.serialization.safe_globals(list(inert.values())):
                return torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            # Of classes that are not PyTorch's, as argparse.Namespace or numpy.dtype, nothing is
            # run.
            found = re.search(r"(?:GLOBAL|class) ([\w.]+)\.(\w+) was not", str(error))
            if (
                not found
                or found.groups() in inert
                or not hasattr(torch.serialization, "safe_globals")
            ):
                raise unreadable(path, error) from error
            module, name = found.groups()
            inert[module, name] = type(name, (Inert,), {"__module__": module})
        except Exception as error:
            # A damaged file raises whatever its instructions come to; that it can be read is known.
            raise unreadable(path, error) from error


def unreadable(path: pathlib.Path, error: Exception) -> Refused:
    if "TorchScript" in str(error):
        return Refused(
            f"{path}: is a TorchScript program. Store its weights alone first:\n"
            f"    torch.save(torch.jit.load('{path}').state_dict(), 'weights.pth')"
        )
    reason = str(error).rpartition("WeightsUnpickler error:")[2].strip().split("\n")[0][:200]
    reason = ": ".join(part for part in (type(error).__name__, reason) if part)
    return Refused(
        f"{path}: PyTorch finds no plain tensors in it ({reason}). Is it a checkpoint, and whole?\n"
        f"If it holds other objects too and you trust their code, store the weights alone first:\n"
        f"    state = torch.load('{path}', map_location='cpu', weights_only=False)['state_dict']\n"
        f"    torch.save(state, 'weights.pth')"
    )


def class_of(value) -> str:
    """The name of its class, in the file's words."""
    kind = type(value)
    return f"{kind.__module__}.{kind.__name__}" if isinstance(value, Inert) else kind.__name__


def metadata_of(loaded: dict) -> dict:
    """The library's, which went through PyTorch; empty in a file of other code."""
    stored = getattr(loaded, ATTRIBUTE, None) or loaded.get(METADATA_KEY)
    if stored is None and isinstance(loaded.get(CONFIG_KEY), str):
        stored = {"config": loaded[CONFIG_KEY]}
    if not isinstance(stored, dict):
        return {}
    pairs = [
        (key, value)
        for key, value in stored.items()
        if isinstance(key, str) and isinstance(value, str)
    ]
    # A digest is of the bytes of the file that it was in.
    return {key: value for key, value in pairs if not key.startswith("digest")}


def class_names(loaded: dict) -> list | None:
    """Of other code, which stores a list of names, or numbers by name or names by number."""
    for key in ("class_names", "classes", "class_to_idx", "idx_to_class"):
        value = loaded.get(key)
        if isinstance(value, dict):
            if all(type(number) is int for number in value.values()):
                value = {number: name for name, number in value.items()}
            if all(type(number) is int for number in value) and sorted(value) == list(
                range(len(value))
            ):
                value = [value[number] for number in range(len(value))]
        if (
            isinstance(value, (list, tuple))
            and value
            and all(isinstance(name, str) for name in value)
        ):
            return list(value)
    return None
