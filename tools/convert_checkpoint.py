#!/usr/bin/env python3
"""Turns a PyTorch checkpoint into a safetensors file that this library loads, and back.

    pip install torch safetensors
    python3 tools/convert_checkpoint.py resnet56.th resnet56.safetensors
    python3 tools/convert_checkpoint.py --to-torch model.safetensors model.pth

Reads a state dict, alone or inside of other dicts, as trainers store it, in a file of torch.save or
of safetensors; or the GaterNet authors' {'backbone_state_dict', 'gater_state_dict'}. The prefixes
of wrappers go (`module.`, `_orig_mod.`, `model.`, ...), whatever their order. No code of the file
is run. The names of these are known:

"""

import argparse
import json
import os
import pathlib
import re
import signal
import sys
import tempfile

from layouts import LAYOUTS, fitting, unnamed
from names_file import HELP, check_used
from names_file import load as load_names
from refused import NoNetwork, Refused, listed, note

GATED_KEYS = ("backbone_state_dict", "gater_state_dict")
# What shapes and configurations that are of no network come to, wherever it is noticed.
MISFITS = (ValueError, LookupError, TypeError, ArithmeticError, RuntimeError, StopIteration)

EPILOG = f"""\
Depth, width, classes and the rest are read from the shapes and written beside the weights, with the
size and normalisation of images that this code trains with, so that Model::load, load_weights and
`evaluate` take the file. Before it is there, its names, shapes and types are compared with those
that the library expects. Weights become f32, counters of batches int64. What a state dict does not
say keeps its default: dropout is 0; nor does it say how layers are joined: timm's resnetblur18 and
resnetaa50 have the names and shapes of ResNets without their averages, and convert to these. The
shortcuts without weights of akamaster become convolutions that compute the same in evaluation. With
--to-torch the rest of the library's file, as names of classes, travels in an attribute of the dict,
which load_state_dict does not see.

{HELP}"""


def layout_of(state: dict, path: pathlib.Path, wanted: str | None) -> str:
    """The layout that has a name for every tensor."""
    found = [key for key in fitting(state) if wanted in (None, key)]
    if found:
        return found[0]
    missing = {key: unnamed(key, state) for key in LAYOUTS}
    known = {key: names for key, names in missing.items() if names is not None}
    nearest = wanted or min(known, key=lambda key: len(known[key]))
    names = missing[nearest]
    lines = [f"(no {LAYOUTS[nearest].requires})"] if names is None else names
    shown = [f"{name} {tuple(state[name].shape)}" if name in state else name for name in lines]
    raise Refused(
        f"{path}: unknown layout. The nearest is {nearest} ({LAYOUTS[nearest].source}), "
        f"which has no name for{listed(shown)}\nKnown layouts: {', '.join(LAYOUTS)}. "
        f"--names maps names of your own (--help says how)."
    )


def read_parts(source: pathlib.Path, args) -> tuple[dict, dict | None, dict, list | None]:
    """The state dicts of the network and, if it is gated, of its gater; the library's metadata, if
    it went through PyTorch, and the names of classes that other code stored."""
    import state_dicts
    import torch_file

    rename = load_names(args.names) if args.names else lambda state: state
    loaded = torch_file.load(source)
    if not isinstance(loaded, dict):
        raise state_dicts.not_a_dict(source, torch_file.class_of(loaded))
    if re.search(r"resnet(blur|aa)", str(loaded.get("arch"))):
        raise Refused(
            f"{source}: is of an anti-aliased network ({loaded['arch']}), whose tensors have the "
            f"names and shapes of a plain ResNet's; it computes something else"
        )
    metadata, classes = torch_file.metadata_of(loaded), torch_file.class_names(loaded)
    if all(isinstance(loaded.get(key), dict) for key in GATED_KEYS):
        if args.ema or args.key:
            raise Refused(
                f"{source}: holds {' and '.join(GATED_KEYS)} for --ema and --key to choose from"
            )
        tensors = {}
        for key in GATED_KEYS:
            part = state_dicts.bare(source, state_dicts.only_tensors(source, loaded[key], note))
            tensors |= {f"{key.split('_')[0]}.{name}": value for name, value in part.items()}
        tensors = rename(tensors)
    else:
        choice = (args.ema, args.key, note)
        tensors, inner = state_dicts.choose(source, loaded, rename, *choice)
        metadata = metadata or torch_file.metadata_of(inner)
    if args.names:
        check_used(args.names, rename.rules, tensors)
    part = lambda prefix: {
        n.removeprefix(prefix): v for n, v in tensors.items() if n.startswith(prefix)
    }
    backbone, gater = part("backbone."), part("gater.")
    if gater and len(backbone) + len(gater) == len(tensors):
        return backbone, gater, metadata, classes
    return tensors, None, metadata, classes


def to_library(source: pathlib.Path, args) -> tuple[dict, dict]:
    """Tensors and metadata of the library's file."""
    import expected
    import shortcuts
    from infer_config import backbone_config, gater_config, placement
    from values import plain

    backbone, gater, kept, classes = read_parts(source, args)
    key = layout_of(backbone, source, args.layout)
    layout = LAYOUTS[key]
    refuse_others(source, key, backbone)
    backbone = plain(backbone, str(source))
    backbone = {layout.to_ours(name): value for name, value in backbone.items()}
    linear_squeezes(backbone)
    if key == "akamaster":
        shortcuts.add_identity(backbone)
    given = [
        option
        for option, value in (("--placement", args.placement), ("--gater-pool", args.gater_pool))
        if value
    ]
    if gater is None and given:
        raise Refused(f"{source}: holds no gater for --placement and --gater-pool")
    tensors = backbone
    if gater is not None:
        gater = plain(gater, f"{source}, gater")
        tensors = {f"backbone.{name}": value for name, value in backbone.items()}
        tensors |= {f"gater.{name}": value for name, value in gater.items()}
    stored = stored_config(kept, tensors, gater is not None)
    if stored is not None and given:
        raise Refused(
            f"{source}: says itself what --placement and --gater-pool would: {kept['config']}"
        )
    try:
        if stored is not None:
            config = stored
        else:
            ours = ("config", "inner_filters", "hidden_filters")
            kept = {key: value for key, value in kept.items() if key not in ours}
            config = backbone_config(backbone)
            if gater is not None:
                head = gater.get("fnn.fc.0.weight")
                if head is None:
                    raise Refused(f"{source}: the gater has no tensor fnn.fc.0.weight")
                of_gater = gater_config(gater) | {"pool": args.gater_pool or 1}
                config = {"backbone": config, "gater": of_gater}
                config["placement"] = placement(config["backbone"], head.shape[0], args.placement)
        wanted = wanted_tensors(config, kept)
    except NoNetwork as error:
        raise Refused(f"{source}: {error}") from error
    except MISFITS as error:
        raise Refused(
            f"{source}: the shapes of its tensors are those of no network of the library"
        ) from error
    expected.check(tensors, wanted, f"{source}: {json.dumps(config)}")
    of_classes = class_names(kept, classes, config.get("backbone", config)["classes"])
    kept = {key: value for key, value in kept.items() if key != "class_names"}
    metadata = {"converted_from": source.name} | described(layout) | kept | of_classes
    text = json.dumps(config) if stored is None else kept["config"]
    metadata |= {"model": "plain" if gater is None else "gated", "config": text}
    return tensors, metadata


def refuse_others(source: pathlib.Path, key: str, state: dict) -> None:
    """Networks that this library does not have, although their names are those of a layout."""
    projected = any(".downsample.0." in name for name in state)
    if key == "bearpaw" and projected and "layer2.0.downsample.1.weight" not in state:
        raise Refused(
            f"{source}: a pre-activation ResNet whose shortcuts read the input of a unit before "
            f"its batch norm; the ones of this library read it after (He et al. 2016b), so the "
            f"weights mean another network"
        )
    four = next((name for name in state if name.startswith("layer4.")), None)
    if key in ("akamaster", "bearpaw") and four:
        raise Refused(
            f"{source}: a ResNet of four stages without the names of torchvision's ({four}); those "
            f"for small images have three in this library, and those of four begin with a 7x7 "
            f"convolution and a max pool"
        )


def linear_squeezes(state: dict) -> None:
    """Squeeze-and-excitation by 1x1 convolutions, as timm and torchvision write it, by linear
    layers."""
    for name, value in state.items():
        if re.search(r"\.se\.fc\d\.weight$", name) and value.shape[2:] == (1, 1):
            state[name] = value.flatten(1)


def stored_config(metadata: dict, tensors: dict, gated: bool) -> dict | None:
    """What the library itself wrote of these tensors; None if they have changed, or are of other
    code."""
    import expected

    if "config" not in metadata:
        return None
    try:
        config = json.loads(metadata["config"])
        if ("gater" in config) == gated:
            expected.check(tensors, wanted_tensors(config, metadata), "")
            return config
    except (Refused, *MISFITS):
        pass
    note("the tensors are not those of the configuration in the file, which is left out")
    return None


def wanted_tensors(config: dict, metadata: dict) -> dict:
    import expected

    if "gater" in config:
        return expected.of_gated(config)
    filters = metadata.get("inner_filters", metadata.get("hidden_filters"))
    return expected.of_plain(config, filters and json.loads(filters))


def described(layout) -> dict:
    """What other code does with images."""
    metadata = {}
    if layout.normalisation:
        metadata |= {
            key: json.dumps(value) for key, value in zip(("mean", "std"), layout.normalisation)
        }
    if layout.size:
        metadata |= {key: str(value) for key, value in zip(("image_size", "resize"), layout.size)}
    return metadata


def class_names(kept: dict, found: list | None, count: int) -> dict:
    """`class_names`, the library's own or those of other code, if the network has as many
    classes."""
    text = kept.get("class_names") or (json.dumps(found, ensure_ascii=False) if found else None)
    if text is None:
        return {}
    try:
        names = json.loads(text)
    except ValueError:
        names = []
    names = names if isinstance(names, list) else []
    if len({str(name) for name in names}) == len(names) == count:
        return {"class_names": text}
    note(f"{len(names)} names of classes are left out: the network has {count} classes")
    return {}


def to_torch(source: pathlib.Path, args):
    """What `torch.save` shall write: a state dict, or the authors' two of a gated model."""
    from collections import OrderedDict

    import shortcuts
    from torch_file import ATTRIBUTE, METADATA_KEY, read_safetensors

    tensors, metadata = read_safetensors(source)
    # Of the file's bytes, which are no longer there.
    metadata = {key: value for key, value in metadata.items() if not key.startswith("digest")}
    part = lambda prefix: {
        n.removeprefix(prefix): v for n, v in tensors.items() if n.startswith(prefix)
    }
    backbone, gater = part("backbone."), part("gater.")
    if gater:
        if args.layout not in (None, "gaternet"):
            raise Refused(
                f"{source}: a gated model has the names of its authors, not of {args.layout}"
            )
        wrapped = lambda state: {f"module.{name}": value for name, value in state.items()}
        return dict(zip(GATED_KEYS, (wrapped(backbone), wrapped(gater)))) | {METADATA_KEY: metadata}
    key = args.layout or ("torchvision" if "layer4.0.conv1.weight" in tensors else "gaternet")
    if key == "akamaster":
        shortcuts.drop_identity(tensors)
    renamed = {name: LAYOUTS[key].from_ours(name) for name in tensors}
    unmatched = [name for name, theirs in renamed.items() if theirs is None]
    if unmatched:
        raise Refused(f"{source}: {LAYOUTS[key].source} has no name for{listed(unmatched)}")
    state = OrderedDict((renamed[name], value) for name, value in tensors.items())
    setattr(state, ATTRIBUTE, metadata)
    return state


def check_written(path: pathlib.Path, tensors: dict, metadata: dict) -> None:
    """That the file holds what was to be written."""
    import torch
    from expected import check
    from torch_file import read_safetensors

    written, of_file = read_safetensors(path)
    check(written, tensors, f"{path} as it was written")
    changed = [name for name, value in tensors.items() if not torch.equal(written[name], value)]
    if changed or of_file != metadata:
        raise Refused(
            f"{path} does not hold what was written to it:{listed(changed or ['its metadata'])}"
        )


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
    except (OSError, RuntimeError) as error:
        # PyTorch and safetensors report a full disk by errors of their own.
        raise Refused(
            f"cannot write {path}: {getattr(error, 'strerror', None) or error}"
        ) from error


def parse(argv):
    listing = "".join(f"    {key:<17} {layout.source}\n" for key, layout in LAYOUTS.items())
    ap = argparse.ArgumentParser(
        description=__doc__.rstrip() + f"\n\n{listing}",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    option = ap.add_argument
    option(
        "source",
        type=pathlib.Path,
        metavar="IN",
        help="a PyTorch file; with --to-torch a safetensors file",
    )
    option(
        "target",
        type=pathlib.Path,
        metavar="OUT",
        help="the file to write; replaced if it is there",
    )
    option("--to-torch", action="store_true", help="the other way: a state dict for torch.load")
    option(
        "--layout",
        metavar="NAME",
        help="whose names the PyTorch side has [default: found by the names; with --to-torch "
        "gaternet, or torchvision of a ResNet for large images]",
    )
    option(
        "--ema",
        action="store_true",
        help="take the averaged weights (model_ema, state_dict_ema, ...)",
    )
    option(
        "--key",
        metavar="PLACE",
        help="take the state dict at this place, as errors and notes name it: a.b",
    )
    option(
        "--names", type=pathlib.Path, metavar="FILE", help="a table of names of your own; see below"
    )
    option(
        "--placement",
        choices=("block-output", "inner", "all"),
        help="which filters the gates are of [default: by their number; the paper's "
        "block-output where it fits]",
    )
    option(
        "--gater-pool",
        type=int,
        choices=(1, 2, 4),
        help="side of the squares that the gater's images were averaged over [default: 1]",
    )
    args = ap.parse_args(argv)
    if args.layout and args.layout not in LAYOUTS:
        ap.error(f"--layout {args.layout}: must be one of {', '.join(LAYOUTS)}")
    if args.ema and args.key:
        ap.error("--ema and --key both choose a state dict")
    forward = ("ema", "key", "names", "placement", "gater_pool")
    given = [f"--{name.replace('_', '-')}" for name in forward if getattr(args, name)]
    if args.to_torch and given:
        ap.error(f"{', '.join(given)}: not with --to-torch")
    return args


def main(argv=None) -> None:
    args = parse(argv)
    try:
        import torch
        from safetensors.torch import save_file
    except ImportError as error:
        sys.exit(f"error: {error.name} is missing: pip install torch safetensors")
    try:
        if args.target.is_dir():
            raise Refused(f"cannot write {args.target}: it is a folder")
        if args.target.exists() and args.source.exists() and args.target.samefile(args.source):
            raise Refused(f"cannot write {args.target}: it is the file to read")
        if args.to_torch:
            contents = to_torch(args.source, args)
            write(args.target, lambda path: torch.save(contents, path))
            return
        tensors, metadata = to_library(args.source, args)

        def save(path):
            save_file(tensors, path, metadata)
            check_written(pathlib.Path(path), tensors, metadata)

        write(args.target, save)
        print(f"{args.target}: {metadata['model']} {metadata['config']}")
    except Refused as error:
        sys.exit(f"error: {error}")


def stop(_signal, _frame):
    sys.exit(143)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stop)
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
