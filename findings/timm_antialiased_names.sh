#!/usr/bin/env bash
# timm 1.0.31, torch 2.6.0: the state dict of an anti-aliased ResNet is that of a plain ResNet.
#
# Expected: resnetblur18 and resnetaa50 compute other functions than resnet18 and resnet50 (a blur
# or an average where these take every second pixel), so their state dicts differ in some name or
# shape, as BlurPool has a filter; load_state_dict(strict=True) into the plain network fails.
# Seen: names, order, shapes and types are the same, the filter being a buffer that is not
# persistent; the strict load succeeds; with random weights the logits of an image differ by 0.09
# and more of the largest. Nothing but the name of the architecture tells such files apart.
#
# Exits non-zero if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.6.0 torchvision==0.21.0 timm==1.0.31 numpy
cd "$folder"
venv/bin/python - <<'PY'
import timm
import torch

print("timm", timm.__version__, "torch", torch.__version__)
for other, plain in (("resnetblur18", "resnet18"), ("resnetaa50", "resnet50")):
    torch.manual_seed(0)
    source = timm.create_model(other, num_classes=5).eval()
    for module in source.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.running_mean, 0, 0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    target = timm.create_model(plain, num_classes=5).eval()
    kinds = [
        [(name, value.shape, value.dtype) for name, value in net.state_dict().items()]
        for net in (source, target)
    ]
    assert kinds[0] == kinds[1], f"{other} and {plain} can be told apart now"
    target.load_state_dict(source.state_dict(), strict=True)
    image = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        logits, of_plain = source(image), target(image)
    apart = ((logits - of_plain).abs().max() / logits.abs().max()).item()
    print(f"{other} -> {plain}: the same {len(kinds[0])} names, logits {apart:.2f} apart")
    assert apart > 0.02, f"{other} computes what {plain} does"
PY
