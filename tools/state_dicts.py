"""The state dicts in a checkpoint, which of them is wanted, and their names without wrappers."""

import re

from layouts import fitting
from refused import Refused, listed
from torch_file import class_of

# Components that wrappers add, wherever they wrap: data parallelism, torch.compile, FSDP,
# Lightning.
WRAPPERS = {
    "module",
    "_orig_mod",
    "_fsdp_wrapped_module",
    "_checkpoint_wrapped_module",
    "_forward_module",
}
AVERAGED = {"ema", "swa", "averaged", "average", "averages", "avg", "shadow"}
# The count of torch.optim.swa_utils.AveragedModel.
AVERAGED_COUNT = "n_averaged"
# How far dicts are in dicts.
DEEPEST = 5


class Candidate:
    """A state dict of the file: where it is, its tensors, whether they are averages over a
    training."""

    def __init__(self, place: str, tensors: dict, averaged: bool):
        self.place = place or "(the file itself)"
        self.tensors = tensors
        self.averaged = averaged

    def __str__(self):
        averaged = ", averages" if self.averaged else ""
        return f"{self.place} ({len(self.tensors)} tensors{averaged})"


def choose(path, loaded: dict, rename, ema: bool, key: str | None, note) -> tuple[dict, dict]:
    """The tensors of the wanted state dict, renamed, and the dict of the file that has them."""
    found, origin = [], {}
    for place, inner in walk(loaded, "", 0):
        for part in parts(path, place, inner, rename, note):
            found.append(part)
            origin[part] = inner
    convolutions = [
        part for part in found if any(value.dim() == 4 for value in part.tensors.values())
    ]
    found = convolutions or found
    if key is not None:
        pool = [part for part in found if part.place == key]
        if not pool:
            raise Refused(f"{path}: holds no state dict {key}; there are{listed(found)}")
    else:
        pool = [part for part in found if part.averaged == ema]
        if not pool and ema and found:
            raise Refused(f"{path}: holds no averaged weights for --ema; there are{listed(found)}")
        pool = pool or found
    if not pool:
        raise nothing(path, loaded)
    if len(pool) > 1:
        pool = [part for part in pool if fitting(part.tensors)] or pool
    if len(pool) > 1:
        raise Refused(f"{path}: holds several state dicts; choose one with --key:{listed(pool)}")
    chosen = pool[0]
    if len(found) > 1:
        others = ", ".join(str(part) for part in found if part is not chosen)
        averages = (
            "; --ema takes the averages"
            if any(p.averaged for p in found) and not chosen.averaged
            else ""
        )
        note(f"the weights are those of {chosen}, and not of {others}{averages}")
    return chosen.tensors, origin[chosen]


def walk(value: dict, place: str, depth: int):
    """Every dict with a weight in it, and where it is; none of an optimiser."""
    import torch

    if depth > DEEPEST or "param_groups" in value:
        return
    named = [inner for key, inner in value.items() if isinstance(key, str)]
    if any(isinstance(inner, torch.Tensor) and inner.dim() > 1 for inner in named):
        yield place, value
    for key, inner in value.items():
        if isinstance(key, str) and isinstance(inner, dict) and "optim" not in key.lower():
            yield from walk(inner, f"{place}.{key}" if place else key, depth + 1)


def parts(path, place: str, state: dict, rename, note):
    """The networks of a state dict: itself or, where its names are of no layout, those under the
    first components."""
    tensors = rename(bare(path, only_tensors(path, state, note)))
    roots = {}
    for name, value in tensors.items():
        root, _, rest = name.partition(".")
        roots.setdefault(root, {})[rest] = value
    averaged = is_averaged(place)
    inner = {root: bare(path, part) for root, part in roots.items()}
    inner = {
        root: part
        for root, part in inner.items()
        if (fitting(part) or is_averaged(root)) and any(value.dim() == 4 for value in part.values())
    }
    if fitting(tensors) or set(roots) == {"backbone", "gater"} or not inner or len(roots) == 1:
        return [
            Candidate(
                place, tensors, averaged or any(name.endswith(AVERAGED_COUNT) for name in state)
            )
        ]
    rest = {name: value for name, value in tensors.items() if name.partition(".")[0] not in inner}
    found = [
        Candidate(f"{place}.{root}" if place else root, part, averaged or is_averaged(root))
        for root, part in inner.items()
    ]
    if rest and fitting(bare(path, rest)):
        found.append(Candidate(place, bare(path, rest), averaged))
    elif rest:
        note(f"left out of {place or 'the file'}, as they are of no network:{listed(rest)}")
    return found


def only_tensors(path, state: dict, note) -> dict:
    """Without what a training stores beside its weights; the order is kept."""
    import torch

    tensors, others = {}, []
    for name, value in state.items():
        if not isinstance(name, str):
            raise Refused(
                f"{path}: the key {name!r} of a state dict is a {type(name).__name__}, not a name"
            )
        if isinstance(value, torch.Tensor):
            tensors[name] = value
        elif "." in name and not isinstance(value, dict):
            raise Refused(f"{path}: {name} is a {class_of(value)}, not a tensor")
        elif not isinstance(value, dict):
            others.append(f"{name} ({class_of(value)})")
    if others:
        note(f"left out, as they are no tensors:{listed(others)}")
    return tensors


def bare(path, state: dict) -> dict:
    """Names without the components of wrappers, and without those that all begin with."""
    out, origin = {}, {}
    for name, value in state.items():
        short = ".".join(part for part in name.split(".") if part not in WRAPPERS)
        if short.split(".")[-1] == AVERAGED_COUNT and value.numel() == 1:
            continue
        if short in out:
            raise Refused(
                f"{path}: {origin[short]} and {name} are both {short} without their wrappers"
            )
        out[short], origin[short] = value, name
    while (
        out
        and len({name.partition(".")[0] for name in out}) == 1
        and any(n.count(".") > 1 for n in out)
    ):
        out = {name.partition(".")[2] or name: value for name, value in out.items()}
    return out


def is_averaged(place: str) -> bool:
    """Whether a word of a name says so: model_ema, EMACallback, swaModel."""
    words = re.findall(r"[A-Z]+(?=[A-Z][a-z]|[^a-zA-Z]|$)|[A-Z]?[a-z]+", place)
    return any(word.lower() in AVERAGED for word in words)


def not_a_dict(path, kind: str) -> Refused:
    return Refused(f"{path}: expected a state dict, got a {kind}{of_module(kind)}")


def of_module(kind: str) -> str:
    """What to do about an object of a class that is not Python's."""
    if "." not in kind:
        return ""
    return (
        "\nIf this is a whole module, store its weights alone first, where its code is at hand:"
        "\n    torch.save(model.state_dict(), 'weights.pth')"
    )


def nothing(path, loaded: dict) -> Refused:
    """Of a file without weights."""
    optimisers = [key for key in loaded if isinstance(key, str) and "optim" in key.lower()]
    if "param_groups" in loaded or (optimisers and len(optimisers) == len(loaded)):
        return Refused(f"{path}: holds the state of an optimiser, and no weights")
    kinds = {str(key): class_of(value) for key, value in loaded.items()}
    hint = next((text for text in map(of_module, kinds.values()) if text), "")
    found = listed(f"{key}: {kind}" for key, kind in kinds.items()) or " nothing"
    return Refused(f"{path}: holds no state dict with weights. It has{found}{hint}")
