"""A step of training in PyTorch, as benches/train_step.rs has it: ResNet-20, SGD, f32."""

import sys

import torch
from layers import ROOT

sys.path.insert(0, str(ROOT / "tools"))
from networks import build  # noqa: E402


def training_step(batch, threads):
    """A function that does one step, channels last."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    net = build({"family": {"kind": "resnet", "depth": 20}, "classes": 10}).train()
    net = net.to(memory_format=torch.channels_last)
    images = torch.randn(batch, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(batch) % 10
    settings = {"momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
    sgd = torch.optim.SGD(net.parameters(), lr=0.01, **settings)

    def step():
        sgd.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(net(images), labels).backward()
        sgd.step()

    return step
