"""The configuration of a network, read from the names and shapes of its tensors."""

from expected import gates
from refused import NoNetwork


def backbone_config(state: dict) -> dict:
    """The `BackboneConfig` of a state dict with this library's names; NoNetwork where there is
    none."""
    shape = lambda name: tuple(state[name].shape) if name in state else None
    count = lambda name: next(n for n in range(1, 10**6) if name.format(n) not in state) - 1
    head = shape("classifier.weight") or shape("fc.weight")
    if head is None:
        raise NoNetwork("there is no output layer fc or classifier")
    config = {"classes": head[0]}

    if "features.conv0.weight" in state:
        layers = count("features.denseblock1.denselayer{}.conv1.weight")
        growth = shape("features.conv0.weight")[0] // 2
        return config | {"family": {"kind": "densenet", "depth": 6 * layers + 4, "growth": growth}}

    if "layer4.0.conv1.weight" in state:
        blocks = [count(f"layer{s}.{{}}.conv1.weight") + 1 for s in range(1, 5)]
        convs = count("layer1.0.conv{}.weight")
        depths = {((2, 2, 2, 2), 2): 18, ((3, 4, 6, 3), 2): 34, ((3, 4, 6, 3), 3): 50}
        depths |= {((3, 4, 23, 3), 3): 101, ((3, 8, 36, 3), 3): 152}
        depth = depths.get((tuple(blocks), convs))
        if depth is None:
            raise NoNetwork(
                f"no ResNet for large images has stages of {blocks} units of {convs} convolutions"
            )
        config["family"] = {"kind": "imagenet-resnet", "depth": depth}
        stem, first = shape("conv1.weight")[0], 64
    else:
        config["family"] = small_image_family(shape, count)
        stem, first = shape("conv.weight")[0], 16

    if stem != first:
        config["width"] = stem / first
    squeezed = [shape(name) for name in state if name.endswith("se.fc1.weight")]
    if squeezed:
        # The widest: fewer channels than the reduction leave one unit.
        reduced, channels = max(squeezed, key=lambda shape: shape[1])
        config["squeeze_excitation"] = channels // reduced
    return config


def small_image_family(shape, count) -> dict:
    if shape("conv.weight") is None:
        raise NoNetwork("there is no first convolution conv, conv1 or features.conv0")
    units = count("stage1.block{}.conv1.weight")
    stem = shape("conv.weight")[0]
    paths = count("stage1.block{}.residual_path1.conv1.weight")
    if paths:
        base = shape("stage1.block1.residual_path1.conv2.weight")[0] * 16 / stem
        return {"kind": "shake-shake", "depth": 6 * paths + 2, "base": round(base)}
    if not units:
        raise NoNetwork("there is no first unit stage1.block1")
    convs = count("stage1.block1.conv{}.weight")
    ratio = shape(f"stage1.block1.conv{convs}.weight")[0] / stem
    pre = shape("stage2.block1.shortcut.weight") is not None
    if convs == 3 and ratio in (1, 4):
        channels = "paper" if ratio == 1 else "standard"
        return {
            "kind": "bottleneck",
            "depth": 9 * units + 2,
            "pre_activation": pre,
            "channels": channels,
        }
    if convs == 2 and pre and ratio != 1 and ratio == int(ratio):
        return {"kind": "wide-resnet", "depth": 6 * units + 4, "k": int(ratio)}
    if convs == 2 and ratio == 1:
        return {"kind": "resnet", "depth": 6 * units + 2, "pre_activation": pre}
    raise NoNetwork(
        f"no ResNet for small images has units of {convs} convolutions that widen {stem} channels "
        f"{ratio:g} times"
    )


def gater_config(state: dict) -> dict:
    """The `GaterConfig` of the gater's state dict."""
    for name in ("resnet.conv.weight", "resnet.newfc.weight", "fnn.fc.0.weight"):
        if name not in state:
            raise NoNetwork(f"the gater has no tensor {name}")
    extractor = {
        name.removeprefix("resnet."): value
        for name, value in state.items()
        if name.startswith("resnet.")
    }
    extractor["fc.weight"] = extractor["newfc.weight"]
    config = backbone_config(extractor)
    if config["family"] != {
        "kind": "resnet",
        "depth": config["family"]["depth"],
        "pre_activation": False,
    }:
        raise NoNetwork(f"the gater's extractor must be a CIFAR ResNet, not {config['family']}")
    gater = {"depth": config["family"]["depth"], "bottleneck": config["classes"]}
    if "fnn.bn.weight" in state:
        gater["batch_norm"] = True
    return gater | ({"width": config["width"]} if "width" in config else {})


def placement(backbone: dict, number: int, wanted) -> str:
    """Which filters of a network so many gates are of; `wanted` decides where there is a choice."""
    names = ("block-output", "inner", "all")
    counts = {name: gates({"backbone": backbone, "placement": name}) for name in names}
    fitting = [name for name, count in counts.items() if count == number]
    if wanted and wanted not in fitting:
        raise NoNetwork(f"the gater has {number} gates, placement {wanted} needs {counts[wanted]}")
    if not fitting:
        needs = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise NoNetwork(
            f"the gater has {number} gates, which is no placement of this backbone ({needs})"
        )
    return wanted or fitting[0]
