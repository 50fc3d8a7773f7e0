"""Values of tensors as the library has them: weights in f32, counters of batches in int64."""

import torch
from refused import Refused, listed, note

COUNTER = "num_batches_tracked"


def plain(state: dict, what: str) -> dict:
    """The tensors of a state dict in f32 and int64, and with a counter for each batch norm."""
    out, cast = {}, {}
    for name, value in state.items():
        value = value.detach()
        if (
            value.is_quantized
            or value.layout != torch.strided
            or value.is_complex()
            or value.is_meta
        ):
            kind = (
                "a tensor without values"
                if value.is_meta
                else str(value.dtype).removeprefix("torch.")
            )
            kind = kind if value.layout == torch.strided else f"{kind}, {value.layout}"
            raise Refused(f"{what}: {name} is {kind}, which is no plain tensor of numbers")
        if name.endswith(COUNTER):
            out[name] = counter(value, name, what)
            continue
        if not value.is_floating_point():
            kind = str(value.dtype).removeprefix("torch.")
            raise Refused(
                f"{what}: {name} is {kind} {tuple(value.shape)}; "
                f"weights must be floating-point numbers"
            )
        if value.dtype != torch.float32:
            cast.setdefault(str(value.dtype).removeprefix("torch."), []).append(name)
        out[name] = value.to(torch.float32).contiguous().clone()
    broken = [name for name, value in out.items() if not value.isfinite().all()]
    if broken:
        raise Refused(f"{what}: a NaN or an infinity, as f32, is in{listed(broken)}")
    for dtype, names in cast.items():
        note(f"{dtype} becomes f32 in {len(names)} tensors")
    for name in list(out):
        # PyTorch before 0.4.1 did not count.
        counted = name.replace("running_var", COUNTER)
        if counted not in out:
            out[counted] = torch.tensor(0)
    return out


def counter(value, name: str, what: str):
    """An int64 scalar of what may have been halved, averaged, or a tensor of one element."""
    if value.numel() != 1:
        raise Refused(f"{what}: {name} has the shape {tuple(value.shape)}, a counter is one number")
    number = value.reshape(()).to(torch.float64)
    if not number.isfinite() or number < 0:
        # Past 65504 a half is infinite. No pass of this library reads the number.
        note(f"{name} is {number.item():g}, which is no count: 0 is written")
        number = torch.zeros(())
    return number.round().to(torch.int64)
