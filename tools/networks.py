"""The networks of `gaternet_models::Family` in PyTorch, from the papers' definitions and with the same
state-dict names. `build` takes a `BackboneConfig` as its JSON in a checkpoint says it.
"""

import math
from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import nn


class Gate(nn.Module):
    """Multiplies the filters of a convolution by their columns of the gates, where there are any."""

    def __init__(self, filters: int):
        super().__init__()
        self.filters = filters
        self.columns = None

    def forward(self, x):
        return x if self.columns is None else x * self.columns[:, :, None, None]


def gate_count(model: nn.Module) -> int:
    return sum(m.filters for m in model.modules() if isinstance(m, Gate))


def set_gates(model: nn.Module, gates) -> None:
    """`gates` is (N, c), columns in the order of the convolutions; None opens everything."""
    layers = [m for m in model.modules() if isinstance(m, Gate)]
    columns = [None] * len(layers) if gates is None else gates.split([s.filters for s in layers], 1)
    for layer, part in zip(layers, columns):
        layer.columns = part


class Relu:
    """`F.relu` that notes how close to 0 an input came: there, two correct roundings may disagree."""

    def __init__(self):
        self.margin = math.inf

    def __call__(self, x):
        near = x.detach().abs()
        near = near[near > 0]
        if near.numel():
            self.margin = min(self.margin, near.min().item())
        return F.relu(x)


relu = Relu()


def conv(c_in: int, c_out: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False)


class SqueezeExcitation(nn.Module):
    """Hu et al. 2018."""

    def __init__(self, channels: int, reduction: int):
        super().__init__()
        self.fc1 = nn.Linear(channels, max(1, channels // reduction))
        self.fc2 = nn.Linear(max(1, channels // reduction), channels)

    def forward(self, x):
        factors = torch.sigmoid(self.fc2(relu(self.fc1(x.mean((2, 3))))))
        return x * factors[:, :, None, None]


class Unit(nn.Module):
    """A residual unit (He et al. 2016; `pre`: 2016b). The stride is in its first 3x3 convolution."""

    def __init__(self, c_in, inner, outer, kernels, stride, pre, dropout, reduction, shortcut):
        super().__init__()
        self.convs, self.pre = len(kernels), pre
        c = c_in
        for i, kernel in enumerate(kernels, 1):
            c_out = outer if i == self.convs else inner
            strided = i == self.convs - 1
            self.add_module(f"conv{i}", conv(c, c_out, kernel, stride if strided else 1))
            self.add_module(f"bn{i}", nn.BatchNorm2d(c if pre else c_out))
            self.add_module(f"gate{i}", Gate(c_out))
            c = c_out
        self.dropout = nn.Dropout(dropout)
        self.se = SqueezeExcitation(outer, reduction) if reduction else nn.Identity()
        self.shortcut_name = shortcut
        if stride > 1 or c_in != outer:
            projection = conv(c_in, outer, 1, stride)
            if not pre:
                names = ("0", "1") if shortcut == "downsample" else ("conv", "bn")
                layers = zip(names, (projection, nn.BatchNorm2d(outer)))
                projection = nn.Sequential(OrderedDict(layers))
            self.add_module(shortcut, projection)

    def forward(self, x):
        layer = lambda name, i: getattr(self, f"{name}{i}")
        h = start = relu(self.bn1(x)) if self.pre else x
        for i in range(1, self.convs + 1):
            last = i == self.convs
            h = layer("conv", i)(h)
            if not self.pre:
                h = layer("bn", i)(h)
            elif not last:
                h = layer("bn", i + 1)(h)
            h = layer("gate", i)(h if last else relu(h))
            if i == self.convs - 1:
                h = self.dropout(h)
        projection = getattr(self, self.shortcut_name, None)
        y = self.se(h) + (projection(start) if projection else x)
        return y if self.pre else relu(y)


class CifarResNet(nn.Module):
    """Three stages for small images; Wide ResNets (Zagoruyko and Komodakis 2016) too."""

    def __init__(self, stem, widths, units, kernels, pre, dropout, reduction, classes):
        super().__init__()
        self.conv, self.pre = conv(3, stem, 3), pre
        c = stem
        for stage, (inner, outer) in enumerate(widths):
            blocks = OrderedDict()
            for unit in range(units):
                stride = 2 if stage and not unit else 1
                blocks[f"block{unit + 1}"] = Unit(
                    c, inner, outer, kernels, stride, pre, dropout, reduction, "shortcut"
                )
                c = outer
            self.add_module(f"stage{stage + 1}", nn.Sequential(blocks))
        self.bn = nn.BatchNorm2d(c if pre else stem)
        self.fc = nn.Linear(c, classes)

    def forward(self, x):
        x = self.conv(x)
        x = x if self.pre else relu(self.bn(x))
        x = self.stage3(self.stage2(self.stage1(x)))
        x = relu(self.bn(x)) if self.pre else x
        return self.fc(x.mean((2, 3)))


class ImagenetResNet(nn.Module):
    """He et al. 2016 with torchvision's names and strides."""

    def __init__(self, units, kernels, scaled, reduction, classes):
        super().__init__()
        self.conv1, self.bn1 = conv(3, scaled(64), 7, 2), nn.BatchNorm2d(scaled(64))
        c = scaled(64)
        for stage, count in enumerate(units):
            inner = scaled(64 << stage)
            outer = 4 * inner if len(kernels) == 3 else inner
            blocks = []
            for unit in range(count):
                stride = 2 if stage and not unit else 1
                blocks.append(Unit(c, inner, outer, kernels, stride, False, 0.0, reduction, "downsample"))
                c = outer
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(c, classes)

    def forward(self, x):
        x = F.max_pool2d(relu(self.bn1(self.conv1(x))), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


class ShakeShakePath(nn.Module):
    def __init__(self, c_in: int, c_out: int, stride: int):
        super().__init__()
        self.conv1, self.bn1, self.gate1 = conv(c_in, c_out, 3, stride), nn.BatchNorm2d(c_out), Gate(c_out)
        self.conv2, self.bn2, self.gate2 = conv(c_out, c_out, 3), nn.BatchNorm2d(c_out), Gate(c_out)

    def forward(self, h):
        h = self.gate1(relu(self.bn1(self.conv1(h))))
        return self.gate2(self.bn2(self.conv2(h)))


class ShakeShakeShortcut(nn.Module):
    """Every second pixel, and every second one of the image moved up and left, side by side."""

    def __init__(self, c_in: int, c_out: int, stride: int):
        super().__init__()
        self.stride = stride
        self.conv1, self.conv2 = conv(c_in, c_out // 2, 1), conv(c_in, c_out - c_out // 2, 1)
        self.bn = nn.BatchNorm2d(c_out)

    def forward(self, h):
        moved = F.pad(h[:, :, 1:, 1:], (0, 1, 0, 1))
        step = self.stride
        near, far = self.conv1(h[:, :, ::step, ::step]), self.conv2(moved[:, :, ::step, ::step])
        return self.bn(torch.cat([near, far], 1))


class ShakeShakeUnit(nn.Module):
    def __init__(self, c_in: int, c_out: int, stride: int, reduction):
        super().__init__()
        self.residual_path1 = ShakeShakePath(c_in, c_out, stride)
        self.residual_path2 = ShakeShakePath(c_in, c_out, stride)
        self.se = SqueezeExcitation(c_out, reduction) if reduction else nn.Identity()
        changes = stride > 1 or c_in != c_out
        self.shortcut = ShakeShakeShortcut(c_in, c_out, stride) if changes else None

    def forward(self, x):
        assert not self.training, "the random weights of training are not here"
        h = relu(x)
        mixed = (self.residual_path1(h) + self.residual_path2(h)) / 2
        return self.se(mixed) + (self.shortcut(h) if self.shortcut else x)


class ShakeShake(nn.Module):
    """Gastaldi 2017, in evaluation."""

    def __init__(self, stem, widths, units, reduction, classes):
        super().__init__()
        self.conv, self.bn = conv(3, stem, 3), nn.BatchNorm2d(stem)
        c = stem
        for stage, width in enumerate(widths):
            blocks = OrderedDict()
            for unit in range(units):
                stride = 2 if stage and not unit else 1
                blocks[f"block{unit + 1}"] = ShakeShakeUnit(c, width, stride, reduction)
                c = width
            self.add_module(f"stage{stage + 1}", nn.Sequential(blocks))
        self.fc = nn.Linear(c, classes)

    def forward(self, x):
        x = self.stage3(self.stage2(self.stage1(self.bn(self.conv(x)))))
        return self.fc(relu(x).mean((2, 3)))


class DenseLayer(nn.Module):
    def __init__(self, c_in: int, growth: int):
        super().__init__()
        self.norm1, self.conv1, self.gate1 = nn.BatchNorm2d(c_in), conv(c_in, 4 * growth, 1), Gate(4 * growth)
        self.norm2, self.conv2, self.gate2 = (
            nn.BatchNorm2d(4 * growth),
            conv(4 * growth, growth, 3),
            Gate(growth),
        )

    def forward(self, x):
        h = self.conv1(relu(self.norm1(x)))
        h = self.gate1(relu(self.norm2(h)))
        return torch.cat([x, self.gate2(self.conv2(h))], 1)


class Transition(nn.Module):
    def __init__(self, c_in: int):
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(c_in), conv(c_in, c_in // 2, 1)

    def forward(self, x):
        return F.avg_pool2d(self.conv(relu(self.norm(x))), 2)


class DenseNet(nn.Module):
    """DenseNet-BC (Huang et al. 2017) for small images, with torchvision's names."""

    def __init__(self, growth: int, layers: int, classes: int):
        super().__init__()
        features = OrderedDict(conv0=conv(3, 2 * growth, 3))
        c = 2 * growth
        for block in range(1, 4):
            dense = OrderedDict()
            for layer in range(layers):
                dense[f"denselayer{layer + 1}"] = DenseLayer(c, growth)
                c += growth
            features[f"denseblock{block}"] = nn.Sequential(dense)
            if block < 3:
                features[f"transition{block}"] = Transition(c)
                c //= 2
        features["norm5"] = nn.BatchNorm2d(c)
        self.features = nn.Sequential(features)
        self.classifier = nn.Linear(c, classes)

    def forward(self, x):
        return self.classifier(relu(self.features(x)).mean((2, 3)))


def build(config: dict) -> nn.Module:
    """The network of a `BackboneConfig`, with PyTorch's fresh weights."""
    family, width, classes = config["family"], config.get("width", 1.0), config["classes"]
    reduction, kind, depth = config.get("squeeze_excitation"), family["kind"], family["depth"]
    pre = family.get("pre_activation", False)

    def scaled(channels: int) -> int:
        return max(1, math.floor(channels * width + 0.5))

    def cifar(channels, bottleneck, units, pre, dropout=0.0):
        inner = [c // 4 if bottleneck else c for c in channels]
        widths = [(scaled(i), scaled(c)) for i, c in zip(inner, channels)]
        kernels = (1, 3, 1) if bottleneck else (3, 3)
        return CifarResNet(scaled(16), widths, units, kernels, pre, dropout, reduction, classes)

    if kind == "resnet":
        return cifar((16, 32, 64), False, (depth - 2) // 6, pre)
    if kind == "bottleneck":
        first = 64 if family.get("channels") in ("standard", "textbook") else 16
        return cifar((first, 128, 256), True, (depth - 2) // 9, pre)
    if kind == "wide-resnet":
        channels = [k * family["k"] for k in (16, 32, 64)]
        return cifar(channels, False, (depth - 4) // 6, True, family.get("dropout", 0.0))
    if kind == "shake-shake":
        widths = [scaled(family["base"] << stage) for stage in range(3)]
        return ShakeShake(scaled(16), widths, (depth - 2) // 6, reduction, classes)
    if kind == "densenet":
        return DenseNet(scaled(family["growth"]), (depth - 4) // 6, classes)
    if kind == "imagenet-resnet":
        units = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}
        units |= {101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
        kernels = (3, 3) if depth < 50 else (1, 3, 1)
        return ImagenetResNet(units[depth], kernels, scaled, reduction, classes)
    raise ValueError(f"no network of kind {kind!r}")
