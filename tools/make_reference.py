#!/usr/bin/env python3
"""Writes a file of reference values for `check_reference`, computed by PyTorch.

    pip install torch safetensors
    python3 tools/make_reference.py OUT.safetensors --depth 32 --batch 5 --seed 3
    cargo run --release --example check_reference -- OUT.safetensors

A gated CIFAR ResNet is trained for a few steps on random images, so that no statistic is trivial; then
one evaluation pass, one training pass with fixed noise, its gradients and one optimiser step are stored.
"""
import argparse

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn


class Shortcut(nn.Module):
    def __init__(self, c_in: int, c_out: int, stride: int):
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, 1, stride, bias=False)
        self.bn = nn.BatchNorm2d(c_out)

    def forward(self, x):
        return self.bn(self.conv(x))


class Block(nn.Module):
    def __init__(self, c_in: int, c_out: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.shortcut = Shortcut(c_in, c_out, stride) if stride > 1 or c_in != c_out else None

    def forward(self, x, gate):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if gate is not None:
            y = y * gate[:, :, None, None]
        return F.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class ResNet(nn.Module):
    """CIFAR ResNet of basic blocks; `head` names its output layer."""

    def __init__(self, depth: int, outputs: int, head: str):
        super().__init__()
        units, c = (depth - 2) // 6, 16
        self.conv = nn.Conv2d(3, c, 3, 1, 1, bias=False)
        self.bn = nn.BatchNorm2d(c)
        for stage, width in enumerate((16, 32, 64)):
            blocks = nn.Module()
            for unit in range(units):
                stride = 2 if stage and not unit else 1
                blocks.add_module(f"block{unit + 1}", Block(c, width, stride))
                c = width
            self.add_module(f"stage{stage + 1}", blocks)
        self.add_module(head, nn.Linear(c, outputs))
        self.head = head

    def units(self):
        return [m for m in self.modules() if isinstance(m, Block)]

    def forward(self, x, gates=None):
        x = F.relu(self.bn(self.conv(x)))
        widths = [unit.conv2.out_channels for unit in self.units()]
        columns = [None] * len(widths) if gates is None else gates.split(widths, 1)
        for unit, gate in zip(self.units(), columns):
            x = unit(x, gate)
        return getattr(self, self.head)(x.mean((2, 3)))


class Gater(nn.Module):
    def __init__(self, depth: int, bottleneck: int, gates: int):
        super().__init__()
        self.resnet = ResNet(depth, bottleneck, "newfc")
        self.fnn = nn.Module()
        self.fnn.fc = nn.Sequential(nn.Linear(bottleneck, gates))

    def forward(self, x):
        return self.fnn.fc(F.relu(self.resnet(x)))


def soft(g):
    return torch.clamp(1.2 * torch.sigmoid(g) - 0.1, 0, 1)


def mixed(preact, noise, discrete):
    g = preact + noise
    a = soft(g)
    hard = (g > 0).float()
    return torch.where(discrete.bool()[:, None], hard + a - a.detach(), a), a


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    ap.add_argument("out")
    ap.add_argument("--depth", type=int, default=20)
    ap.add_argument("--gater-depth", type=int, default=20)
    ap.add_argument("--bottleneck", type=int, default=8)
    ap.add_argument("--classes", type=int, default=10)
    ap.add_argument("--batch", type=int, default=16)
    ap.add_argument("--steps", type=int, default=5, help="training steps before the values are taken")
    ap.add_argument("--lambda", dest="lam", type=float, default=0.1)
    ap.add_argument("--seed", type=int, default=0)
    args = ap.parse_args()
    torch.manual_seed(args.seed)

    backbone = ResNet(args.depth, args.classes, "fc")
    count = sum(unit.conv2.out_channels for unit in backbone.units())
    gater = Gater(args.gater_depth, args.bottleneck, count)
    parameters = [*backbone.parameters(), *gater.parameters()]
    models = {"backbone": backbone, "gater": gater}

    def batch():
        return (
            torch.randn(args.batch, 3, 32, 32),
            torch.randint(args.classes, (args.batch,)),
            torch.randn(args.batch, count),
            torch.randint(2, (args.batch,), dtype=torch.uint8),
        )

    def forward(images, labels, noise, discrete):
        gates, soft_gates = mixed(gater(images), noise, discrete)
        logits = backbone(images, gates)
        cross_entropy = F.cross_entropy(logits, labels)
        gate_l1 = gates.abs().sum(1).mean() / count
        return gates, soft_gates, logits, cross_entropy, gate_l1, cross_entropy + args.lam * gate_l1

    def optimizer():
        return torch.optim.SGD(parameters, lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)

    warm = optimizer()
    for _ in range(args.steps):
        warm.zero_grad()
        forward(*batch())[-1].backward()
        warm.step()

    out = {}

    def store(prefix):
        for name, model in models.items():
            for key, value in model.state_dict().items():
                out[f"{prefix}{name}.{key}"] = value.clone()

    images, labels, noise, discrete = batch()
    store("")
    out |= {"input.images": images, "input.labels": labels}
    out |= {"input.noise": noise, "input.discrete": discrete}
    for model in models.values():
        model.eval()
    with torch.no_grad():
        preact = gater(images)
        gates = (soft(preact) > 0.49999).float()
        out |= {"eval.preact": preact, "eval.gates": gates, "eval.logits": backbone(images, gates)}
    for model in models.values():
        model.train()
    step = optimizer()
    step.zero_grad()
    gates, soft_gates, logits, cross_entropy, gate_l1, loss = forward(images, labels, noise, discrete)
    gates.retain_grad()
    loss.backward()
    out |= {"train.soft_gates": soft_gates, "train.gates": gates, "train.logits": logits}
    out |= {"train.cross_entropy": cross_entropy[None], "train.gate_l1": gate_l1[None]}
    out |= {"train.loss": loss[None], "grad.gates": gates.grad}
    for name, model in models.items():
        for key, parameter in model.named_parameters():
            out[f"grad.{name}.{key}"] = parameter.grad.clone()
    step.step()
    store("step.")
    metadata = {
        "depth": args.depth,
        "gater_depth": args.gater_depth,
        "bottleneck": args.bottleneck,
        "classes": args.classes,
        "lambda": args.lam,
        "seed": args.seed,
        "optimizer": "sgd lr=0.1 momentum=0.9 nesterov weight_decay=5e-4 on all parameters",
    }
    tensors = {key: value.detach().contiguous() for key, value in out.items()}
    save_file(tensors, args.out, {key: str(value) for key, value in metadata.items()})


if __name__ == "__main__":
    main()
