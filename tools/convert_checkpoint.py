#!/usr/bin/env python3
"""Turns a PyTorch checkpoint into a safetensors file that this library loads, and one of those back.

    pip install torch safetensors
    python3 tools/convert_checkpoint.py resnet56.th resnet56.safetensors
    python3 tools/convert_checkpoint.py --to-torch model.safetensors model.pth

Reads a state dict, alone or in a dict with others (`state_dict`, `model`, ...), or the GaterNet authors'
{'backbone_state_dict', 'gater_state_dict'}; prefixes `module.` and `_orig_mod.` go. The names of these are known:

    gaternet          this library, which are those of the GaterNet authors
    torchvision       torchvision's ResNets (also written by most ImageNet training code)
    akamaster         akamaster/pytorch_resnet_cifar10; its shortcuts without weights become convolutions that
                      compute the same in evaluation
    bearpaw           bearpaw/pytorch-classification, CIFAR ResNets
    bearpaw-densenet  the same, DenseNet-BC
    xternalz          xternalz/WideResNet-pytorch

Depth, width, classes and the rest are read from the shapes and written beside the weights, with the size and
normalisation of images that this code trains with, so that Model::load, load_weights and `evaluate` take the file.
What a state dict does not say keeps its default: dropout is 0.
"""

import argparse
import json
import os
import pathlib
import sys
import tempfile

KEYS = ("state_dict", "model_state_dict", "model", "net", "network", "weights")
GATED_KEYS = ("backbone_state_dict", "gater_state_dict")
# Beside these: the configuration, as JSON, which their tensors do not tell completely.
CONFIG_KEY = "gaternet_config"
PREFIXES = ("module.", "_orig_mod.")

# Names shown of those that fit no layout.
SHOWN = 8


class Refused(Exception):
    """What is wrong with the input, for its user."""


def plain(state: dict, what: str) -> dict:
    """The tensors of a state dict in f32 and int64, without prefixes, and with a counter for each batch norm."""
    import torch

    for name, value in state.items():
        if not isinstance(value, torch.Tensor):
            raise Refused(f"{what}: {name} is a {type(value).__name__}, not a tensor")
    for prefix in PREFIXES * 2:
        if state and all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    out = {}
    for name, value in state.items():
        out[name] = value.detach().cpu().to(torch.float32 if value.is_floating_point() else torch.int64)
        if value.is_floating_point() and not value.isfinite().all():
            raise Refused(f"{what}: {name} holds a NaN or an infinity")
        counter = name.replace("running_var", "num_batches_tracked")
        # PyTorch before 0.4.1 did not count.
        if counter != name and counter not in state:
            out[counter] = torch.tensor(0)
    return out


def read_torch(path: pathlib.Path) -> tuple[dict, dict | None, str | None]:
    """The state dicts of the network and, if it is gated, of its gater; its configuration if `to_torch` wrote it."""
    import pickle

    import torch

    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise Refused(f"cannot read {path}: {error.strerror}") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError) as error:
        raise Refused(
            f"{path}: PyTorch finds no plain tensors in it ({type(error).__name__}). Is it a checkpoint?\n"
            f"If it holds other objects too and you trust their code, store the weights alone first:\n"
            f"    state = torch.load('{path}', map_location='cpu', weights_only=False)['state_dict']\n"
            f"    torch.save(state, 'weights.pth')"
        ) from error
    if not isinstance(loaded, dict):
        raise Refused(f"{path}: expected a state dict, got a {type(loaded).__name__}")
    if all(key in loaded for key in GATED_KEYS):
        backbone, gater = (plain(loaded[key], f"{path}: {key}") for key in GATED_KEYS)
        return backbone, gater, loaded.get(CONFIG_KEY)
    inner = [key for key in KEYS if isinstance(loaded.get(key), dict)]
    if len(inner) > 1:
        raise Refused(f"{path}: holds several state dicts: {', '.join(inner)}")
    state = plain(loaded[inner[0]] if inner else loaded, str(path))
    if not state:
        raise Refused(f"{path}: holds no tensor")
    return state, None, None


def find_layout(state: dict, path: pathlib.Path, wanted: str | None) -> str:
    """The layout that has a name for every tensor."""
    from layouts import LAYOUTS

    unmatched = {}
    for key, layout in LAYOUTS.items():
        if layout.requires in (None, *state):
            unmatched[key] = [name for name in state if layout.to_ours(name) is None]
    names = [wanted] if wanted else unmatched
    fitting = [key for key in names if key in unmatched and not unmatched[key]]
    if fitting:
        return fitting[0]
    nearest = wanted if wanted in unmatched else min(unmatched, key=lambda key: len(unmatched[key]))
    first = unmatched[nearest] or [f"(no {LAYOUTS[wanted].requires})"]
    more = f" and {len(first) - SHOWN} more" if len(first) > SHOWN else ""
    known = ", ".join(LAYOUTS)
    raise Refused(
        f"{path}: unknown layout. The nearest is {nearest} ({LAYOUTS[nearest].source}), which has no name for\n"
        + "".join(
            f"    {name} {tuple(state[name].shape) if name in state else ''}\n" for name in first[:SHOWN]
        )
        + f"{more and '   ' + more + chr(10)}Known layouts: {known}"
    )


def add_identity_shortcuts(state: dict) -> None:
    """He et al.'s option A, every second pixel and zeros for the new channels, as a convolution and batch norm."""
    import torch

    for stage in (2, 3):
        block = f"stage{stage}.block1"
        if f"{block}.conv1.weight" in state and f"{block}.shortcut.conv.weight" not in state:
            outer, inner = state[f"{block}.conv1.weight"].shape[:2]
            state[f"{block}.shortcut.conv.weight"] = selection(outer, inner)
            for leaf, value in identity_batch_norm(outer).items():
                state[f"{block}.shortcut.bn.{leaf}"] = value
            state[f"{block}.shortcut.bn.num_batches_tracked"] = torch.tensor(0)


def selection(outer: int, inner: int):
    """(outer, inner, 1, 1): the channels in the middle, a quarter of the outputs being 0 on each side."""
    import torch

    weight = torch.zeros(outer, inner, 1, 1)
    weight[outer // 4 + torch.arange(inner), torch.arange(inner)] = 1
    return weight


def identity_batch_norm(channels: int) -> dict:
    import torch

    # With the eps of batch norm, the variance is 1.
    zero, one, var = torch.zeros(channels), torch.ones(channels), torch.full((channels,), 1 - 1e-5)
    return {"weight": one, "bias": zero, "running_mean": zero.clone(), "running_var": var}


def drop_identity_shortcuts(state: dict) -> None:
    """Undoes `add_identity_shortcuts`, unless a shortcut was trained."""
    import torch

    found = [name for name in state if name.endswith("shortcut.conv.weight")]
    for name in found:
        outer, inner = state[name].shape[:2]
        norm = {leaf: state[name.replace("conv.weight", f"bn.{leaf}")] for leaf in identity_batch_norm(1)}
        same = inner <= outer // 2 and torch.equal(state[name], selection(outer, inner))
        if not same or any(not torch.equal(norm[k], v) for k, v in identity_batch_norm(outer).items()):
            return
    for name in [name for name in state if ".shortcut." in name]:
        del state[name]


def check(state: dict, expected: dict, what: str) -> None:
    """Every name and shape that the configuration asks for, and no other."""
    problems = [f"    missing {name}" for name in expected if name not in state]
    problems += [f"    unexpected {name}" for name in state if name not in expected]
    problems += [
        f"    {name} is {tuple(state[name].shape)}, expected {tuple(shape)}"
        for name, shape in expected.items()
        if name in state and tuple(state[name].shape) != tuple(shape)
    ]
    if problems:
        more = [f"    and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        raise Refused("\n".join([f"{what} has other tensors:", *problems[:SHOWN], *more]))


def to_library(source: pathlib.Path, args) -> tuple[dict, dict]:
    """Tensors and metadata of the library's file."""
    import networks
    import torch
    from infer_config import backbone_config, gater_config, placement
    from layouts import LAYOUTS

    backbone, gater, stored = read_torch(source)
    key = find_layout(backbone, source, args.layout)
    layout = LAYOUTS[key]
    if (
        key == "bearpaw"
        and any(".downsample.0." in n for n in backbone)
        and "layer2.0.downsample.1.weight" not in backbone
    ):
        raise Refused(
            f"{source}: a pre-activation ResNet whose shortcuts read the input of a unit before its batch norm; the "
            f"ones of this library read it after (He et al. 2016b), so the weights mean another network"
        )
    backbone = {layout.to_ours(name): value for name, value in backbone.items()}
    if key == "akamaster":
        add_identity_shortcuts(backbone)
    try:
        gated = json.loads(stored) if stored else None
        config = gated["backbone"] if gated else backbone_config(backbone)
        with torch.device("meta"):
            network = networks.build(config)
        check(
            backbone, {n: v.shape for n, v in network.state_dict().items()}, f"{source}: {json.dumps(config)}"
        )
        metadata = {"converted_from": source.name}
        if layout.normalisation:
            metadata |= {k: json.dumps(v) for k, v in zip(("mean", "std"), layout.normalisation)}
        if layout.size:
            metadata |= {k: str(v) for k, v in zip(("image_size", "resize"), layout.size)}
        if gater is None:
            if args.placement or args.gater_pool:
                raise Refused(f"{source}: holds no gater for --placement and --gater-pool")
            return backbone, metadata | {"model": "plain", "config": json.dumps(config)}
        if "fnn.fc.0.weight" not in gater:
            raise Refused(f"{source}: the gater has no tensor fnn.fc.0.weight")
        gates = gater["fnn.fc.0.weight"].shape[0]
        if gated is None:
            gated = {"backbone": config, "gater": gater_config(gater) | {"pool": args.gater_pool or 1}}
            gated["placement"] = placement(network, gates, args.placement)
        elif args.placement or args.gater_pool:
            raise Refused(f"{source}: says itself what --placement and --gater-pool would: {stored}")
    except (ValueError, KeyError) as error:
        raise Refused(f"{source}: {error}") from error
    check(gater, gater_shapes(gated["gater"], gates), f"{source}: {json.dumps(gated['gater'])}")
    tensors = {f"backbone.{name}": value for name, value in backbone.items()}
    tensors |= {f"gater.{name}": value for name, value in gater.items()}
    return tensors, metadata | {"model": "gated", "config": json.dumps(gated)}


def gater_shapes(config: dict, gates: int) -> dict:
    import networks
    import torch

    family = {"kind": "resnet", "depth": config["depth"]}
    with torch.device("meta"):
        extractor = networks.build(
            {"family": family, "classes": config["bottleneck"], "width": config.get("width", 1.0)}
        )
    shapes = {f"resnet.{n}": v.shape for n, v in extractor.state_dict().items()}
    for leaf in ("weight", "bias"):
        shapes[f"resnet.newfc.{leaf}"] = shapes.pop(f"resnet.fc.{leaf}")
    return shapes | {"fnn.fc.0.weight": (gates, config["bottleneck"]), "fnn.fc.0.bias": (gates,)}


def to_torch(source: pathlib.Path, args) -> dict:
    """What `torch.save` shall write: a state dict, or the authors' two of a gated model."""
    from layouts import LAYOUTS
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(source, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
            config = (file.metadata() or {}).get("config")
    except FileNotFoundError as error:
        raise Refused(f"cannot read {source}: no such file") from error
    except (OSError, SafetensorError) as error:
        raise Refused(f"{source}: no safetensors file ({error})") from error
    part = lambda prefix: {n.removeprefix(prefix): v for n, v in tensors.items() if n.startswith(prefix)}
    backbone, gater = part("backbone."), part("gater.")
    if gater:
        if args.layout not in (None, "gaternet"):
            raise Refused(f"{source}: a gated model has the names of its authors, not of {args.layout}")
        wrapped = lambda state: {f"module.{name}": value for name, value in state.items()}
        both = dict(zip(GATED_KEYS, (wrapped(backbone), wrapped(gater))))
        return both | ({CONFIG_KEY: config} if config else {})
    key = args.layout or ("torchvision" if "layer4.0.conv1.weight" in tensors else "gaternet")
    if key == "akamaster":
        drop_identity_shortcuts(tensors)
    renamed = {name: LAYOUTS[key].from_ours(name) for name in tensors}
    unmatched = [name for name, theirs in renamed.items() if theirs is None]
    if unmatched:
        shown = "".join(f"\n    {name}" for name in unmatched[:SHOWN])
        raise Refused(f"{source}: {LAYOUTS[key].source} has no name for{shown}")
    return {renamed[name]: value for name, value in tensors.items()}


def write(path: pathlib.Path, save) -> None:
    """All of the file or, if something fails, what was there before."""
    try:
        handle, temporary = tempfile.mkstemp(prefix=".convert-", suffix=".tmp", dir=path.parent)
        os.close(handle)
        try:
            save(temporary)
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(temporary, 0o666 & ~umask)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise Refused(f"cannot write {path}: {error.strerror}") from error


def main(argv=None) -> None:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument(
        "source", type=pathlib.Path, metavar="IN", help="a PyTorch file; with --to-torch a safetensors file"
    )
    ap.add_argument(
        "target", type=pathlib.Path, metavar="OUT", help="the file to write; replaced if it is there"
    )
    ap.add_argument("--to-torch", action="store_true", help="the other way: a state dict for torch.load")
    ap.add_argument(
        "--layout",
        metavar="NAME",
        help="whose names the PyTorch side has [default: found by the names;\n"
        "with --to-torch gaternet, or torchvision of a ResNet for large images]",
    )
    ap.add_argument(
        "--placement",
        choices=("residual-output", "hidden", "all"),
        help="which filters the gates are of [default: by their number; the paper's residual-output\n"
        "where it fits]",
    )
    ap.add_argument(
        "--gater-pool",
        type=int,
        choices=(1, 2, 4),
        help="side of the squares that the gater's images " "were averaged over [default: 1]",
    )
    args = ap.parse_args(argv)
    from layouts import LAYOUTS

    if args.layout and args.layout not in LAYOUTS:
        ap.error(f"--layout {args.layout}: must be one of {', '.join(LAYOUTS)}")
    try:
        import torch
        from safetensors.torch import save_file
    except ImportError as error:
        sys.exit(f"error: {error.name} is missing: pip install torch safetensors")
    try:
        if args.to_torch:
            contents = to_torch(args.source, args)
            write(args.target, lambda path: torch.save(contents, path))
        else:
            tensors, metadata = to_library(args.source, args)
            tensors = {name: value.contiguous() for name, value in tensors.items()}
            write(args.target, lambda path: save_file(tensors, path, metadata))
            print(f"{args.target}: {metadata['model']} {metadata['config']}")
    except Refused as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
