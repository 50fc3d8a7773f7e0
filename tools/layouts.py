"""Names of tensors in public PyTorch code, and in this library.

A layout is a table of pairs (their name, ours) of layers. In both, {s} is the number of a stage,
{n} a number that is the same on both sides, {i} a block counted from 0 and {b} the same block
counted from 1.
"""

import re

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

LEAVES = r"\.(?P<leaf>weight|bias|running_mean|running_var|num_batches_tracked)"


class Layout:
    def __init__(self, source, pairs, requires=None, normalisation=None, size=None):
        # Of whom these names are.
        self.source = source
        self.pairs = pairs
        # A name that tells this layout from one that it contains.
        self.requires = requires
        # (mean, std) of the images that this code trains on; None for this library's default.
        self.normalisation = normalisation
        # (side, shorter side before the crop) of its images; None for 32x32.
        self.size = size

    def to_ours(self, name: str):
        return translate(name, self.pairs)

    def from_ours(self, name: str):
        return translate(name, [(ours, theirs) for theirs, ours in self.pairs])


def translate(name: str, pairs):
    """The name on the other side; None if no pair has it."""
    numbers = {
        "{s}": r"(?P<s>[1-4])",
        "{n}": r"(?P<n>[1-5])",
        "{i}": r"(?P<i>\d+)",
        "{b}": r"(?P<b>[1-9]\d*)",
    }
    for source, target in pairs:
        pattern = re.escape(source).replace(r"\{", "{").replace(r"\}", "}")
        for hole, group in numbers.items():
            pattern = pattern.replace(hole, group)
        found = re.fullmatch(pattern + LEAVES, name)
        if found:
            parts = found.groupdict()
            if "i" in parts:
                parts["b"] = int(parts["i"]) + 1
            elif "b" in parts:
                parts["i"] = int(parts["b"]) - 1
            return f"{target.format(**parts)}.{parts['leaf']}"
    return None


def unnamed(key: str, names) -> list | None:
    """Those that a layout has no name for; None where the tensor that tells it from others is
    missing."""
    layout = LAYOUTS[key]
    if layout.requires not in (None, *names):
        return None
    return [name for name in names if layout.to_ours(name) is None]


def fitting(names) -> list:
    """The layouts that have a name for all of them."""
    return [key for key in LAYOUTS if unnamed(key, names) == []]


def same(*names):
    return [(name, name) for name in names]


def units(theirs, layers):
    return [(f"{theirs}.{layer}", f"stage{{s}}.block{{b}}.{ours}") for layer, ours in layers]


CONVS = [("conv{n}", "conv{n}"), ("bn{n}", "bn{n}")]
STEM = [("conv1", "conv"), ("bn1", "bn")]

# In the order they are tried.
LAYOUTS = {
    "gaternet": Layout(
        "this library and the GaterNet authors",
        same(
            "conv",
            "bn",
            "fc",
            "classifier",
            "features.conv0",
            "features.norm5",
            *(
                f"stage{{s}}.block{{b}}.{layer}"
                for layer in (
                    "conv{n}",
                    "bn{n}",
                    "se.fc{n}",
                    "shortcut",
                    "shortcut.conv",
                    "shortcut.bn",
                    "shortcut.conv{n}",
                )
            ),
            # As {i}, {s} and {n} are taken, the number of the path is written out.
            *(
                f"stage{{s}}.block{{b}}.residual_path{path}.{layer}{{n}}"
                for path in (1, 2)
                for layer in ("conv", "bn")
            ),
            *(
                f"features.denseblock{{s}}.denselayer{{b}}.{layer}{{n}}"
                for layer in ("conv", "norm")
            ),
            "features.transition{s}.conv",
            "features.transition{s}.norm",
        ),
    ),
    "torchvision": Layout(
        "torchvision's ResNets",
        same(
            "conv1",
            "bn1",
            "fc",
            *(
                f"layer{{s}}.{{i}}.{layer}"
                for layer in ("conv{n}", "bn{n}", "downsample.0", "downsample.1", "se.fc{n}")
            ),
        ),
        requires="layer4.0.conv1.weight",
        normalisation=IMAGENET,
        size=(224, 256),
    ),
    "akamaster": Layout(
        "akamaster/pytorch_resnet_cifar10",
        STEM
        + [("linear", "fc")]
        + units(
            "layer{s}.{i}", CONVS + [("shortcut.0", "shortcut.conv"), ("shortcut.1", "shortcut.bn")]
        ),
        requires="linear.weight",
        normalisation=IMAGENET,
    ),
    "bearpaw": Layout(
        "bearpaw/pytorch-classification, CIFAR ResNets",
        STEM
        + [("fc", "fc")]
        + units(
            "layer{s}.{i}",
            CONVS + [("downsample.0", "shortcut.conv"), ("downsample.1", "shortcut.bn")],
        ),
        normalisation=((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    ),
    "bearpaw-densenet": Layout(
        "bearpaw/pytorch-classification, CIFAR DenseNets",
        [
            ("conv1", "features.conv0"),
            ("bn", "features.norm5"),
            ("fc", "classifier"),
            ("dense{s}.{i}.conv{n}", "features.denseblock{s}.denselayer{b}.conv{n}"),
            ("dense{s}.{i}.bn{n}", "features.denseblock{s}.denselayer{b}.norm{n}"),
            ("trans{s}.conv1", "features.transition{s}.conv"),
            ("trans{s}.bn1", "features.transition{s}.norm"),
        ],
        normalisation=((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    ),
    "xternalz": Layout(
        "xternalz/WideResNet-pytorch",
        STEM + [("fc", "fc")] + units("block{s}.layer.{i}", CONVS + [("convShortcut", "shortcut")]),
        normalisation=(
            tuple(x / 255 for x in (125.3, 123.0, 113.9)),
            tuple(x / 255 for x in (63.0, 62.1, 66.7)),
        ),
    ),
}
