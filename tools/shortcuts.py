"""He et al.'s option A, a shortcut without weights that takes every second pixel and adds zeros for
the new channels, as the convolution and batch norm that compute the same in evaluation."""

import torch


def add_identity(state: dict) -> None:
    """To a network of this library's names that has none where the number of channels changes."""
    for stage in (2, 3):
        block = f"stage{stage}.block1"
        if f"{block}.conv1.weight" in state and f"{block}.shortcut.conv.weight" not in state:
            outer, inner = state[f"{block}.conv1.weight"].shape[:2]
            state[f"{block}.shortcut.conv.weight"] = selection(outer, inner)
            for leaf, value in identity_batch_norm(outer).items():
                state[f"{block}.shortcut.bn.{leaf}"] = value
            state[f"{block}.shortcut.bn.num_batches_tracked"] = torch.tensor(0)


def drop_identity(state: dict) -> None:
    """Undoes `add_identity`, unless a shortcut was trained."""
    for name in [name for name in state if name.endswith("shortcut.conv.weight")]:
        outer, inner = state[name].shape[:2]
        norm = {
            leaf: state[name.replace("conv.weight", f"bn.{leaf}")]
            for leaf in identity_batch_norm(1)
        }
        same = inner <= outer // 2 and torch.equal(state[name], selection(outer, inner))
        if not same or any(
            not torch.equal(norm[k], v) for k, v in identity_batch_norm(outer).items()
        ):
            return
    for name in [name for name in state if ".shortcut." in name]:
        del state[name]


def selection(outer: int, inner: int) -> torch.Tensor:
    """(outer, inner, 1, 1): the channels in the middle, a quarter of the outputs 0 on each side."""
    weight = torch.zeros(outer, inner, 1, 1)
    weight[outer // 4 + torch.arange(inner), torch.arange(inner)] = 1
    return weight


def identity_batch_norm(channels: int) -> dict:
    # With the eps of batch norm, the variance is 1.
    zero, one, var = torch.zeros(channels), torch.ones(channels), torch.full((channels,), 1 - 1e-5)
    return {"weight": one, "bias": zero, "running_mean": zero.clone(), "running_var": var}
