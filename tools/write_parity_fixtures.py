#!/usr/bin/env python3
"""Writes what PyTorch computes with a small network of every family, for the tests of gaternet-models.

    pip install torch safetensors
    python3 tools/write_parity_fixtures.py gaternet-models/tests/fixtures

A file holds a network (`model.*`, PyTorch's names) with random weights and statistics, images, labels and
gates; its logits in evaluation, all open and gated; and of a step with soft gates, computed in f64, the
logits and the gradients of the mean cross-entropy to every parameter and every gate. The step normalises
with the statistics of the batch, or (metadata `statistics`) with the running ones: where training is random,
and in 50 layers, after which batch norm over a few values leaves f32 too little of a gradient.
The metadata `fixture` is JSON: `config` (the BackboneConfig), `statistics`, `seed`, `torch`. The same torch
on the same machine writes the same bytes.
"""

import argparse
import json
import pathlib

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

import networks

CLASSES = 4
IMAGES = 2

# No ReLU input is closer to 0: f32 with any order of summation is on the same side.
MARGIN = 1e-5


def cases() -> dict:
    def config(family, width, reduction=None):
        entries = {"family": family, "classes": CLASSES, "width": width}
        return entries | ({"squeeze_excitation": reduction} if reduction else {})

    def resnet(kind, depth, pre, **more):
        return {"kind": kind, "depth": depth, "pre_activation": pre, **more}

    families = {
        "resnet": (resnet("resnet", 8, False), 0.25),
        "preact-resnet": (resnet("resnet", 8, True), 0.25),
        "bottleneck": (resnet("bottleneck", 11, False, channels="paper"), 0.25),
        "preact-bottleneck": (resnet("bottleneck", 11, True, channels="standard"), 0.125),
        "wide-resnet": ({"kind": "wide-resnet", "depth": 10, "k": 2, "dropout": 0.3}, 0.125),
        "shake-shake": ({"kind": "shake-shake", "depth": 8, "base": 4}, 0.5),
        "imagenet-resnet18": ({"kind": "imagenet-resnet", "depth": 18}, 0.03125),
        "imagenet-resnet50": ({"kind": "imagenet-resnet", "depth": 50}, 0.015625),
    }
    out = {name: config(family, width) for name, (family, width) in families.items()}
    out |= {f"se-{name}": config(family, width, 2) for name, (family, width) in families.items()}
    return out | {"densenet": config({"kind": "densenet", "depth": 16, "growth": 4}, 1.0)}


def randomise(model) -> None:
    """Affine parameters, statistics and biases as of a trained network: 0 and 1 would hide a mistake."""
    for module in model.modules():
        if isinstance(module, (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d)):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.2)
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 1.5)
            module.num_batches_tracked.fill_(7)
        elif isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, mode="fan_out")


def values(config: dict, seed: int) -> tuple[dict, str]:
    torch.manual_seed(seed)
    networks.relu.margin = float("inf")
    model = networks.build(config)
    randomise(model)
    family = config["family"]
    random = family.get("dropout") or family["kind"] == "shake-shake"
    statistics = "running" if random or family["depth"] == 50 else "batch"
    side = 33 if family["kind"] == "imagenet-resnet" else 16
    images = torch.randn(IMAGES, 3, side, side)
    labels = torch.arange(IMAGES) % CLASSES
    hard = torch.randint(2, (IMAGES, networks.gate_count(model))).float()
    # A sample with hard gates and one with soft ones.
    soft = torch.where(torch.arange(IMAGES)[:, None] % 2 == 0, hard, torch.rand_like(hard))

    out = {f"model.{key}": value.clone() for key, value in model.state_dict().items()}
    out |= {"images": images, "labels": labels, "gates.hard": hard, "gates.soft": soft}
    model.eval()
    with torch.no_grad():
        out["eval.logits"] = model(images)
        networks.set_gates(model, hard)
        out["eval.gated_logits"] = model(images)

    model.double().train(statistics == "batch")
    gates = soft.double().requires_grad_()
    networks.set_gates(model, gates)
    logits = model(images.double())
    F.cross_entropy(logits, labels).backward()
    out |= {"step.logits": logits, "step.grad.gates": gates.grad}
    out |= {f"step.grad.model.{key}": p.grad for key, p in model.named_parameters()}
    single = {k: v.detach().float() if v.is_floating_point() else v for k, v in out.items()}
    return single, statistics


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    ap.add_argument("folder", type=pathlib.Path)
    ap.add_argument("--seed", type=int, default=0, help="the first one tried")
    args = ap.parse_args()
    torch.set_num_threads(1)
    args.folder.mkdir(parents=True, exist_ok=True)
    for name, config in cases().items():
        seed = args.seed
        tensors, statistics = values(config, seed)
        while networks.relu.margin < MARGIN:
            seed += 1
            tensors, statistics = values(config, seed)
        # One entry: safetensors writes several in any order.
        about = {"config": config, "statistics": statistics, "seed": seed, "torch": torch.__version__}
        metadata = {"fixture": json.dumps(about)}
        path = args.folder / f"{name}.safetensors"
        save_file({key: value.contiguous() for key, value in tensors.items()}, path, metadata)
        print(f"{path}: {path.stat().st_size} bytes, seed {seed}")


if __name__ == "__main__":
    main()
