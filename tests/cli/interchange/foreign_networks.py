"""Checkpoints as other people's code writes them, converted both ways by tools/convert_checkpoint.py.

    python3 foreign_networks.py TOOLS OUT

For each network: OUT/NAME.pth as that code saves it, OUT/NAME.safetensors converted from it, and
OUT/NAME.values.safetensors with images and PyTorch's logits. What comes back with --to-torch must be the
state dict that was saved, to the bit.
"""

import pathlib
import sys
from collections import OrderedDict

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

TOOLS, OUT = map(pathlib.Path, sys.argv[1:])
sys.path.insert(0, str(TOOLS))
import convert_checkpoint
import networks
import write_parity_fixtures


def conv(c_in, c_out, kernel, stride=1):
    return nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False)


class PaddedShortcut(nn.Module):
    def __init__(self, planes):
        super().__init__()
        self.planes = planes

    def forward(self, x):
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.planes // 4, self.planes // 4))


class Block(nn.Module):
    """Of akamaster's and bearpaw's ResNets; `project` makes what a shortcut holds where the shape changes."""

    def __init__(self, c_in, inner, outer, kernels, stride, shortcut, project):
        super().__init__()
        channels = [c_in] + [inner] * (len(kernels) - 1) + [outer]
        for i, kernel in enumerate(kernels):
            step = stride if i == len(kernels) - 2 else 1
            setattr(self, f"conv{i + 1}", conv(channels[i], channels[i + 1], kernel, step))
            setattr(self, f"bn{i + 1}", nn.BatchNorm2d(channels[i + 1]))
        changes = stride != 1 or c_in != outer
        setattr(self, shortcut, project(c_in, outer, stride) if changes else nn.Sequential())
        self.convs, self.shortcut_name = len(kernels), shortcut

    def forward(self, x):
        h = x
        for i in range(1, self.convs + 1):
            h = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(h))
            h = F.relu(h) if i < self.convs else h
        return F.relu(h + getattr(self, self.shortcut_name)(x))


class CifarResNet(nn.Module):
    def __init__(self, stem, widths, kernels, units, shortcut, project, head, classes):
        super().__init__()
        self.conv1, self.bn1 = conv(3, stem, 3), nn.BatchNorm2d(stem)
        c = stem
        for stage, (inner, outer) in enumerate(widths):
            blocks = []
            for unit in range(units):
                stride = 2 if stage and not unit else 1
                blocks.append(Block(c, inner, outer, kernels, stride, shortcut, project))
                c = outer
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        setattr(self, head, nn.Linear(c, classes))
        self.head = head

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
        return getattr(self, self.head)(x.mean((2, 3)))


class WideBlock(nn.Module):
    def __init__(self, c_in, c_out, stride):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(c_in), conv(c_in, c_out, 3, stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(c_out), conv(c_out, c_out, 3)
        self.convShortcut = conv(c_in, c_out, 1, stride) if c_in != c_out else None

    def forward(self, x):
        h = F.relu(self.bn1(x))
        y = self.conv2(F.relu(self.bn2(self.conv1(h))))
        return y + (self.convShortcut(h) if self.convShortcut else x)


class WideResNet(nn.Module):
    def __init__(self, stem, k, units, classes):
        super().__init__()
        self.conv1, c = conv(3, stem, 3), stem
        for stage in range(3):
            group, blocks = nn.Module(), []
            for unit in range(units):
                width = stem * k << stage
                blocks.append(WideBlock(c, width, 2 if stage and not unit else 1))
                c = width
            group.layer = nn.Sequential(*blocks)
            setattr(self, f"block{stage + 1}", group)
        self.bn1, self.fc = nn.BatchNorm2d(c), nn.Linear(c, classes)

    def forward(self, x):
        x = self.conv1(x)
        for group in (self.block1, self.block2, self.block3):
            x = group.layer(x)
        return self.fc(F.relu(self.bn1(x)).mean((2, 3)))


class DenseBlock(nn.Module):
    def __init__(self, c, growth):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(c), conv(c, 4 * growth, 1)
        self.bn2, self.conv2 = nn.BatchNorm2d(4 * growth), conv(4 * growth, growth, 3)

    def forward(self, x):
        return torch.cat([x, self.conv2(F.relu(self.bn2(self.conv1(F.relu(self.bn1(x))))))], 1)


class Transition(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(c), conv(c, c // 2, 1)

    def forward(self, x):
        return F.avg_pool2d(self.conv1(F.relu(self.bn1(x))), 2)


class DenseNet(nn.Module):
    def __init__(self, growth, layers, classes):
        super().__init__()
        self.conv1, c = conv(3, 2 * growth, 3), 2 * growth
        for stage in (1, 2, 3):
            setattr(
                self,
                f"dense{stage}",
                nn.Sequential(*(DenseBlock(c + i * growth, growth) for i in range(layers))),
            )
            c += layers * growth
            if stage < 3:
                setattr(self, f"trans{stage}", Transition(c))
                c //= 2
        self.bn, self.fc = nn.BatchNorm2d(c), nn.Linear(c, classes)

    def forward(self, x):
        x = self.trans2(self.dense2(self.trans1(self.dense1(self.conv1(x)))))
        return self.fc(F.relu(self.bn(self.dense3(x))).mean((2, 3)))


class Gater(nn.Module):
    def __init__(self, width, bottleneck, gates, batch_norm):
        super().__init__()
        family = {"kind": "resnet", "depth": 8}
        self.resnet = networks.build({"family": family, "classes": bottleneck, "width": width})
        # The authors' name of the layer in place of the output layer.
        self.resnet.newfc, self.resnet.fc = self.resnet.fc, nn.Identity()
        self.fnn = nn.Module()
        if batch_norm:
            # Of the paper's text; the authors' code has none.
            self.fnn.bn = nn.BatchNorm1d(bottleneck)
        self.fnn.fc = nn.Sequential(nn.Linear(bottleneck, gates))

    def forward(self, x):
        h = self.resnet.newfc(self.resnet(x))
        h = self.fnn.bn(h) if hasattr(self.fnn, "bn") else h
        return (self.fnn.fc(F.relu(h)) > 0).float()


def projection(c_in, c_out, stride):
    return nn.Sequential(conv(c_in, c_out, 1, stride), nn.BatchNorm2d(c_out))


def prefixed(state, prefix):
    return OrderedDict((prefix + name, value) for name, value in state.items())


def without_counters(state):
    return OrderedDict((k, v) for k, v in state.items() if not k.endswith("num_batches_tracked"))


def torchvision_resnet(depth):
    return networks.build(
        {"family": {"kind": "imagenet-resnet", "depth": depth}, "classes": 5, "width": 1 / 32}
    )


def plain_networks():
    """Name, layout, network, what is saved of it."""
    basic = [(c, c) for c in (4, 8, 16)]
    padded = CifarResNet(
        4, basic, (3, 3), 1, "shortcut", lambda _i, outer, _s: PaddedShortcut(outer), "linear", 4
    )
    yield "akamaster", "akamaster", padded, lambda s: {
        "state_dict": prefixed(s, "module."),
        "best_prec1": 91.5,
    }
    projected = CifarResNet(4, basic, (3, 3), 2, "shortcut", projection, "linear", 3)
    yield "akamaster-b", "akamaster", projected, lambda s: s
    bottleneck = [(c, 4 * c) for c in (4, 8, 16)]
    net = CifarResNet(4, bottleneck, (1, 3, 1), 1, "downsample", projection, "fc", 4)
    yield "bearpaw", "bearpaw", net, lambda s: {
        "epoch": 3,
        "state_dict": without_counters(prefixed(s, "module.")),
    }
    yield "bearpaw-densenet", "bearpaw-densenet", DenseNet(4, 2, 4), lambda s: s
    yield "xternalz", "xternalz", WideResNet(4, 3, 1, 6), lambda s: {"state_dict": prefixed(s, "_orig_mod.")}
    yield "torchvision18", None, torchvision_resnet(18), lambda s: s
    yield "torchvision50", None, torchvision_resnet(50), lambda s: {"model": s, "optimizer": {}}


def convert(*argv):
    convert_checkpoint.main([str(arg) for arg in argv])


def same(got, want, name):
    """A state dict comes back as it was; counters that were not there are 0."""
    for key in [key for key in got if key not in want and key.endswith("num_batches_tracked")]:
        assert got.pop(key).item() == 0, key
    assert list(sorted(got)) == list(sorted(want)), (name, set(got) ^ set(want))
    for key, value in want.items():
        assert got[key].dtype == value.dtype and torch.equal(got[key], value), (name, key)


def store(name, images, logits):
    save_file({"images": images, "logits": logits.contiguous()}, OUT / f"{name}.values.safetensors")


def main() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    for name, layout, net, saved in plain_networks():
        write_parity_fixtures.randomise(net)
        side = 33 if layout is None else 16
        images = torch.randn(2, 3, side, side)
        with torch.no_grad():
            store(name, images, net.eval()(images))
        torch.save(saved(net.state_dict()), OUT / f"{name}.pth")
        convert(OUT / f"{name}.pth", OUT / f"{name}.safetensors")
        options = ["--layout", layout] if layout else []
        convert("--to-torch", *options, OUT / f"{name}.safetensors", OUT / "back.pth")
        want = net.state_dict()
        same(torch.load(OUT / "back.pth"), without_counters(want) if name == "bearpaw" else want, name)

    backbone = networks.build({"family": {"kind": "resnet", "depth": 14}, "classes": 4, "width": 0.25})
    for name, part in (("gated", 2), ("gated-all", 1)):
        gates = networks.gate_count(backbone) // part
        gater = Gater(0.5, 8, gates, batch_norm=part == 1)
        for net in (backbone, gater):
            write_parity_fixtures.randomise(net.eval())
        states = {
            "backbone_state_dict": prefixed(backbone.state_dict(), "module."),
            "gater_state_dict": prefixed(gater.state_dict(), "module."),
        }
        images = torch.randn(4, 3, 32, 32)
        with torch.no_grad():
            open_gates = gater(images)
            if part == 2:
                # The paper's gates are those of the last convolutions of the units.
                columns = iter(open_gates.split([m.filters for m in gates_of(backbone)][1::2], 1))
                for i, layer in enumerate(gates_of(backbone)):
                    layer.columns = next(columns) if i % 2 else None
            else:
                networks.set_gates(backbone, open_gates)
            store(name, images, backbone(images))
        torch.save(states, OUT / f"{name}.pth")
        convert(OUT / f"{name}.pth", OUT / f"{name}.safetensors")
        convert("--to-torch", OUT / f"{name}.safetensors", OUT / "back.pth")
        back = torch.load(OUT / "back.pth")
        for key, want in states.items():
            same(back[key], want, name)
        # A second time: the configuration now comes from the file.
        convert(OUT / "back.pth", OUT / "again.safetensors")
        assert "converted_from" in (OUT / "again.safetensors").read_bytes()[:1000].decode(errors="ignore")
    refusals()


def gates_of(model):
    return [m for m in model.modules() if isinstance(m, networks.Gate)]


def refusals():
    """OUT/refused-N.txt: what is said of what cannot be converted. Nothing is written then."""
    wide = nn.ModuleDict(
        {"conv1": conv(3, 8, 3), "layer4": nn.ModuleList([nn.Linear(2, 2)] * 9), "linear": nn.Linear(2, 2)}
    )
    resnet = networks.build({"family": {"kind": "resnet", "depth": 8}, "classes": 4, "width": 0.25})
    cut = OrderedDict(list(resnet.state_dict().items())[:-4])
    broken = dict(resnet.state_dict(), **{"bn.bias": torch.full((4,), float("nan"))})
    three = networks.build(
        {"family": {"kind": "resnet", "depth": 14}, "classes": 4, "width": 0.25}
    ).state_dict()
    three = {k: v for k, v in three.items() if "stage2.block2" not in k}
    cases = [wide.state_dict(), cut, broken, three, {"state_dict": {"fc.weight": 3}}, [1]]
    for number, case in enumerate(cases):
        torch.save(case, OUT / "bad.pth")
        refused(number, OUT / "bad.pth", OUT / "none.safetensors")
    (OUT / "bad.pth").write_bytes(b"no checkpoint")
    refused(len(cases), OUT / "bad.pth", OUT / "none.safetensors")
    refused(len(cases) + 1, OUT / "gated.pth", OUT / "none.safetensors", "--placement", "all")
    refused(
        len(cases) + 2,
        "--to-torch",
        "--layout",
        "xternalz",
        OUT / "akamaster.safetensors",
        OUT / "none.safetensors",
    )
    refused(len(cases) + 3, OUT / "akamaster.pth", OUT / "nowhere" / "none.safetensors")
    assert not (OUT / "none.safetensors").exists() and not list(OUT.glob(".convert-*"))


def refused(number, *argv):
    try:
        convert(*argv)
    except SystemExit as error:
        (OUT / f"refused-{number}.txt").write_text(str(error))
    else:
        raise AssertionError(f"refusal {number} was converted")


main()
