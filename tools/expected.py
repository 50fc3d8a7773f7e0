"""The tensors that the library expects of a configuration: names, shapes and types, without
memory."""

import fnmatch

import networks
import torch
from refused import NoNetwork, Refused, listed

# Limits of the library, which also bound what a file can make it allocate.
MOST, DEEPEST, WIDTHS = 1 << 16, 1202, (0.01, 16)
BOUNDS = {"k": 20, "base": 256, "growth": 64}


def of_plain(config: dict, inner_filters: list | None = None) -> dict:
    """Of a `BackboneConfig`; `inner_filters` says how many are left of each inner convolution."""
    bounds(config, "")
    state = on_meta(config).state_dict()
    if inner_filters is not None:
        narrow(state, config, inner_filters)
    return state


def of_gated(config: dict) -> dict:
    """Of a `GatedConfig`."""
    state = {f"backbone.{name}": value for name, value in of_plain(config["backbone"]).items()}
    gater = config["gater"]
    state |= {f"gater.{name}": value for name, value in of_gater(gater, gates(config)).items()}
    return state


def of_gater(config: dict, gates: int) -> dict:
    units = config["bottleneck"]
    family = {"kind": "resnet", "depth": config["depth"]}
    extractor = {"family": family, "classes": units, "width": config.get("width", 1.0)}
    bounds(extractor, "gater ")
    with torch.device("meta"):
        norm, head = torch.nn.BatchNorm1d(units), torch.nn.Linear(units, gates)
    state = {f"resnet.{name}": value for name, value in on_meta(extractor).state_dict().items()}
    for leaf in ("weight", "bias"):
        state[f"resnet.newfc.{leaf}"] = state.pop(f"resnet.fc.{leaf}")
    if config.get("batch_norm"):
        state |= {f"fnn.bn.{name}": value for name, value in norm.state_dict().items()}
    return state | {f"fnn.fc.0.{name}": value for name, value in head.state_dict().items()}


def on_meta(config: dict):
    with torch.device("meta"):
        return networks.build(config)


def bounds(config: dict, whose: str) -> None:
    family, width = config["family"], config.get("width", 1.0)
    found = [(key, family[key], 1, most) for key, most in BOUNDS.items() if key in family]
    found += [("depth", family["depth"], 1, DEEPEST), ("width", width, *WIDTHS)]
    found += [("classes", config["classes"], 1, MOST)]
    for what, value, least, most in found:
        if not least <= value <= most:
            raise NoNetwork(f"{whose}{what} {value:g}: the library takes {least} to {most}")


def layers(backbone) -> list:
    """Name, filters and whether it is inner, of every convolution that can be gated."""
    modules = dict(backbone.named_modules())
    found = []
    for name, module in modules.items():
        if isinstance(module, networks.Gate):
            stem, number = name[:-1], int(name[-1])
            inner = f"{stem}{number + 1}" in modules
            found.append((f"{stem.removesuffix('gate')}conv{number}", module.filters, inner))
    return found


def gates(config: dict) -> int:
    """Outputs of the gater."""
    # The second names are those of earlier versions.
    old = {"residual-output": "block-output", "hidden": "inner"}
    placement = config.get("placement", "block-output")
    placement, total = old.get(placement, placement), 0
    filters_per_gate = config.get("filters_per_gate", config.get("group", 1))
    for conv, filters, inner in layers(on_meta(config["backbone"])):
        gated = placement == "all" or (placement == "inner") == inner
        for override in config.get("gate_overrides", ()):
            if fnmatch.fnmatchcase(conv, override["convs"]):
                gated = override["gated"]
        total += -(-filters // filters_per_gate) * gated
    return total


def narrow(state: dict, config: dict, inner_filters: list) -> None:
    """Gives inner convolutions, their batch norms and their readers these numbers of filters."""
    inner = [conv for conv, _, is_inner in layers(on_meta(config)) if is_inner]
    if len(inner) != len(inner_filters):
        raise NoNetwork(
            f"inner_filters has {len(inner_filters)} numbers for {len(inner)} convolutions"
        )
    norm = "norm" if config["family"]["kind"] == "densenet" else "bn"
    before = (
        norm == "norm"
        or config["family"]["kind"] == "wide-resnet"
        or config["family"].get("pre_activation")
    )
    for conv, filters in zip(inner, inner_filters):
        stem, number = conv[: -len("conv1")], int(conv[-1])
        own, reader = f"{conv}.weight", f"{stem}conv{number + 1}.weight"
        state[own] = state[own].new_empty(filters, *state[own].shape[1:])
        state[reader] = state[reader].new_empty(
            state[reader].shape[0], filters, *state[reader].shape[2:]
        )
        for leaf in ("weight", "bias", "running_mean", "running_var"):
            name = f"{stem}{norm}{number + bool(before)}.{leaf}"
            state[name] = state[name].new_empty(filters)


def check(state: dict, expected: dict, what: str) -> None:
    """Every name, shape and type that the configuration asks for, and no other."""
    problems = [f"missing {name}" for name in expected if name not in state]
    problems += [f"unexpected {name}" for name in state if name not in expected]
    kind = lambda value: f"{tuple(value.shape)} of {str(value.dtype).removeprefix('torch.')}"
    problems += [
        f"{name} is {kind(state[name])}, expected {kind(value)}"
        for name, value in expected.items()
        if name in state and kind(state[name]) != kind(value)
    ]
    if problems:
        raise Refused(f"{what} has other tensors:{listed(problems)}")
