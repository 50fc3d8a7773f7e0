"""The kinds of files that trainers write, and what converting them says.

    python3 kinds_of_files.py TOOLS OUT

OUT/kinds/NAME.safetensors for each kind that converts, whose values are compared here;
OUT/back/NAME.safetensors for each OUT/library/NAME.safetensors, which went to PyTorch and back.
What is refused is compared with what should be said.
"""

import argparse
import contextlib
import io
import itertools
import json
import pathlib
import sys
from collections import OrderedDict

import torch
from safetensors import safe_open
from safetensors.torch import save_file

TOOLS, OUT = map(pathlib.Path, sys.argv[1:])
sys.path.insert(0, str(TOOLS))
import convert_checkpoint
import networks
import write_parity_fixtures

FILE = OUT / "in.pth"


class Setting:
    """Of a program that is not there when the file is read."""

    def __init__(self):
        self.values = {"lr": 0.1}
        self.layers = [1, 2]


def network(seed, family="resnet", depth=8, width=0.25, **more):
    torch.manual_seed(seed)
    net = networks.build(
        {"family": {"kind": family, "depth": depth}, "classes": 4, "width": width} | more
    )
    write_parity_fixtures.randomise(net)
    for name, buffer in net.named_buffers():
        if name.endswith("num_batches_tracked"):
            buffer.fill_(1200)
    return net


def prefixed(state, prefix):
    return OrderedDict((prefix + name, value) for name, value in state.items())


def mapped(state, change):
    return OrderedDict((name, change(name, value)) for name, value in state.items())


def call(*argv):
    """What a conversion says, on success and failure, and whether it succeeded."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            convert_checkpoint.main([str(arg) for arg in argv])
        except SystemExit as error:
            return f"{said.getvalue()}{error.code}", False
    return said.getvalue(), True


def contents(path):
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()


def converts(name, saved, want, *options, says=(), classes=None, **how):
    """Saves, converts and compares."""
    if saved is not None:
        torch.save(saved, FILE, **how)
    target = OUT / "kinds" / f"{name}.safetensors"
    said, done = call(FILE, target, *options)
    assert done, f"{name}: {said}"
    for text in says:
        assert text in said, f"{name}: no {text!r} in {said!r}"
    got, metadata = contents(target)
    assert sorted(got) == sorted(want), (name, set(got) ^ set(want))
    for key, value in want.items():
        counter = key.endswith("num_batches_tracked")
        assert got[key].dtype == (torch.int64 if counter else torch.float32), (name, key)
        assert torch.equal(got[key], value), (name, key, got[key], value)
    assert json.loads(metadata.get("class_names", "null")) == classes, (name, metadata)


def refused(saved, *texts, options=(), source=FILE):
    if saved is not None:
        torch.save(saved, source)
    target = OUT / "none.safetensors"
    target.write_bytes(b"before")
    said, done = call(source, target, *options)
    assert not done, f"{texts} was converted: {said}"
    for text in texts:
        assert text in said, f"no {text!r} in {said!r}"
    assert "Traceback" not in said and said.count("\n    ") <= 22, said
    assert target.read_bytes() == b"before" and not list(OUT.glob(".convert-*")), texts


def numbers(own):
    counted = lambda name: name.endswith("num_batches_tracked")
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        rounded = mapped(own, lambda n, v: v if counted(n) else v.to(dtype).float())
        count = torch.tensor(1200).to(dtype).long()
        rounded = mapped(rounded, lambda n, v: count if counted(n) else v)
        short = str(dtype).removeprefix("torch.")
        converts(
            short, mapped(own, lambda _n, v: v.to(dtype)), rounded, says=[f"{short} becomes f32"]
        )
    one = mapped(own, lambda n, v: v.reshape(1) if counted(n) else v)
    converts("one-element", one, own)
    converts("one-element-half", mapped(one, lambda _n, v: v.half() if counted(_n) else v), own)
    past = mapped(
        own, lambda n, v: torch.tensor(70_000).half() if n == "bn.num_batches_tracked" else v
    )
    zero = mapped(own, lambda n, v: torch.tensor(0) if n == "bn.num_batches_tracked" else v)
    converts("past-half", past, zero, says=["bn.num_batches_tracked is inf"])
    parameters = mapped(own, lambda n, v: v if counted(n) else torch.nn.Parameter(v))
    converts("parameters", parameters, own)
    base = torch.randn(2, *own["fc.weight"].shape)
    shared = OrderedDict(own, **{"fc.weight": base[1].t().contiguous().t()})
    converts("strided", shared, dict(own, **{"fc.weight": base[1]}))


def wrappers(own, other):
    for order in itertools.permutations(("module.", "_orig_mod.", "model.", "net.")):
        converts("prefixes", prefixed(own, "".join(order)), own)
    inside = OrderedDict(
        (name.replace("block1.", "block1._orig_mod.module."), v) for name, v in own.items()
    )
    converts("inside", prefixed(inside, "lit.model."), own)
    for key in (
        "net",
        "model",
        "network",
        "state_dict",
        "model_state_dict",
        "weights",
        "params",
        "anything",
    ):
        converts(
            "key",
            {
                key: prefixed(own, "module."),
                "epoch": 3,
                "optimizer": {"state": {}, "param_groups": []},
            },
            own,
        )
    converts("deep", {"checkpoint": {"model": {"weights": own}}, "best": {"accuracy": 0.9}}, own)
    flat = OrderedDict(
        own, epoch=3, best=91.5, optimizer={"state": {0: {"momentum_buffer": own["conv.weight"]}}}
    )
    converts("flat", flat, own, says=["left out", "epoch (int)", "best (float)"])
    converts("legacy", own, own, _use_new_zipfile_serialization=False)

    swa = torch.optim.swa_utils.AveragedModel(other)
    converts("swa", swa.state_dict(), other.state_dict())
    converts("swa-ema", swa.state_dict(), other.state_dict(), "--ema")
    converts("swa-only", {"model_ema": prefixed(swa.state_dict(), "module.")}, other.state_dict())
    ours = other.state_dict()
    for name, saved in {
        "timm": {
            "state_dict": own,
            "state_dict_ema": ours,
            "args": argparse.Namespace(lr=0.1),
            "metric": 3.0,
        },
        "torchvision": {
            "model": own,
            "model_ema": swa.state_dict(),
            "args": argparse.Namespace(lr=[1]),
        },
        "openmmlab": {"meta": {}, "state_dict": own, "ema_state_dict": ours},
        "callback": {
            "state_dict": prefixed(own, "model."),
            "callbacks": {"EMACallback{'decay': 0.99}": {"weights": prefixed(ours, "model.")}},
            "pytorch-lightning_version": "2.5.0",
            "hyper_parameters": {"setting": Setting()},
            "loops": {"fit_loop": {"state_dict": {}}},
            "optimizer_states": [{"state": {0: {"momentum_buffer": own["conv.weight"]}}}],
        },
        "one-dict": {
            "state_dict": {
                **prefixed(own, "model."),
                **prefixed(ours, "ema_model.module."),
                "ema_model.n_averaged": torch.tensor(2),
            }
        },
    }.items():
        converts(f"{name}", saved, own, says=["--ema takes the averages"])
        converts(f"{name}-ema", saved, ours, "--ema")
    both = {"student": own, "teacher": ours}
    converts("chosen", both, ours, "--key", "teacher")
    refused(both, "several state dicts", "--key", "student (56 tensors)", "teacher (56 tensors)")
    both = {"state_dict": {**prefixed(own, "student."), **prefixed(ours, "teacher.")}}
    converts("chosen-inside", both, ours, "--key", "state_dict.teacher")
    refused(both, "several state dicts", "state_dict.student (56 tensors)")
    refused(
        {"state_dict": own},
        "no averaged weights for --ema",
        "state_dict (56 tensors)",
        options=["--ema"],
    )
    refused({"state_dict": own}, "no state dict model", options=["--key", "model"])
    extra = {**prefixed(own, "model."), "criterion.weight": torch.ones(4)}
    converts(
        "criterion", {"state_dict": extra}, own, says=["left out of state_dict", "criterion.weight"]
    )
    extra["normalize.mean"] = torch.ones(1, 3, 1, 1)
    says = ["left out of state_dict", "normalize.mean"]
    converts("normalize", {"state_dict": extra}, own, says=says)
    itself = {"state_dict": {**own, **prefixed(ours, "ema.module.")}}
    converts("beside-itself", itself, own, says=["--ema takes the averages"])
    converts("beside-itself-ema", itself, ours, "--ema")


def metadata(own):
    names = ["cat", "dog", "é", "x y"]
    converts("classes", {"model": own, "classes": names}, own, classes=names)
    numbered = {name: number for number, name in reversed(list(enumerate(names)))}
    converts("class-to-idx", {"model": own, "class_to_idx": numbered}, own, classes=names)
    converts(
        "other-classes",
        {"model": own, "classes": names[1:]},
        own,
        says=["3 names of classes are left out"],
    )
    save_file(dict(own), FILE, {"format": "pt", "class_names": json.dumps(names)})
    converts("safetensors", None, own, classes=names)


def own_names(own):
    theirs = OrderedDict()
    for name, value in own.items():
        name = name.replace("fc.", "head.out.").replace("stage", "blocks.").replace(".block", ".")
        name = (
            name.replace("blocks.1", "blocks.0")
            .replace("blocks.2", "blocks.1")
            .replace("blocks.3", "blocks.2")
        )
        theirs["trunk." + name.replace("bn1.weight", "bn1.gamma")] = value
    theirs["aux.weight"] = torch.ones(3, 3)
    table = {
        "trunk.blocks.{s}.{b}.bn1.gamma": "stage{s+1}.block{b}.bn1.weight",
        "trunk.blocks.{s}.*": "stage{s+1}.block*",
        "trunk.head.out": "fc",
        "trunk.*": "*",
        "aux": "",
    }
    names = OUT / "names.json"
    names.write_text(json.dumps(table))
    converts("named", {"model": theirs}, own, "--names", names)
    if sys.version_info >= (3, 11):
        toml = OUT / "names.toml"
        toml.write_text("".join(f'"{a}" = "{b}"\n' for a, b in table.items()))
        converts("named-toml", {"model": theirs}, own, "--names", toml)
        toml.write_text("a = ")
        refused({"model": theirs}, "is no TOML", options=["--names", toml])
    refused({"model": theirs}, "unknown layout", "--names maps")
    for table, *texts in [
        ({"trunk.*": "*", "nothing.*": "*"}, 'no tensor for\n    "nothing.*"', "The file has"),
        ({"trunk.*": "fc.weight"}, "is not on both sides"),
        ({"trunk.*": "*.{n}"}, "{n} is not on both sides"),
        ({"trunk.{s+1}.*": "*"}, "belong on the right"),
        ({"trunk.blocks.{s}.{b}.conv{n}": "fc"}, "both become fc.weight"),
        ({"trunk": 3}, "must be a table"),
        ({}, "must be a table"),
        ([1], "must be a table"),
    ]:
        names.write_text(json.dumps(table))
        refused({"model": theirs}, *texts, options=["--names", names])
    names.write_text("{")
    refused({"model": theirs}, "is no JSON", options=["--names", names])
    names.write_bytes(b"\xff\xfe")
    refused({"model": theirs}, "is no text", options=["--names", names])
    refused({"model": theirs}, "cannot read", options=["--names", OUT / "no.json"])


def refusals(own, net):
    many = {f"unknown{i}.weight": torch.ones(2, 2) for i in range(30)}
    refused({**own, **many}, "and 20 more", "unknown0.weight (2, 2)")
    refused(net, "expected a state dict, got a networks.CifarResNet", "model.state_dict()")
    refused(
        {"model": net, "epoch": 3},
        "no state dict with weights",
        "model: networks.CifarResNet",
        "model.state_dict()",
    )
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    net(torch.randn(2, 3, 32, 32)).sum().backward()
    optimizer.step()
    refused(optimizer.state_dict(), "state of an optimiser, and no weights")
    refused(
        {"optimizer_state_dict": optimizer.state_dict()}, "state of an optimiser, and no weights"
    )
    refused({}, "It has nothing")
    refused({"epoch": 3}, "epoch: int")
    refused([own], "expected a state dict, got a list")
    refused(torch.ones(3), "expected a state dict, got a Tensor")
    refused({**own, 3: torch.ones(2, 2)}, "the key 3 of a state dict is a int")
    refused({**own, "a.b": "text"}, "a.b is a str, not a tensor")
    broken = {
        f"stage{s}.block1.{n}": torch.full_like(own[f"stage{s}.block1.{n}"], float("nan"))
        for s in (1, 2)
        for n in ("conv1.weight", "bn1.bias")
    }
    refused(
        {**own, **broken},
        "a NaN or an infinity",
        "stage1.block1.conv1.weight",
        "stage2.block1.bn1.bias",
    )
    large = own["fc.bias"].double() + 1e39
    refused({**own, "fc.bias": large}, "infinity, as f32", "fc.bias")
    refused(
        {**own, "fc.weight": own["fc.weight"].to(torch.int8)},
        "fc.weight is int8 (4, 16)",
        "floating-point",
    )
    refused(
        {**own, "fc.weight": own["fc.weight"].to_sparse()}, "fc.weight is float32, torch.sparse_coo"
    )
    refused({**own, "fc.weight": own["fc.weight"].to(torch.complex64)}, "fc.weight is complex64")
    refused({**own, "fc.weight": own["fc.weight"].to("meta")}, "without values")
    refused({**own, "bn.num_batches_tracked": torch.ones(2)}, "shape (2,), a counter is one number")
    refused(
        {**own, "fc.weight": torch.ones(4, 17)}, "fc.weight is (4, 17) of float32, expected (4, 16)"
    )
    refused({**own, "fc.weight": torch.tensor(1.0)}, "no network of the library")
    refused({**own, "conv.weight": torch.ones(0, 3, 3, 3)}, "no network of the library")
    refused(
        {**own, "module.fc.bias": own["fc.bias"]}, "fc.bias and module.fc.bias are both fc.bias"
    )
    wide = network(1, width=17).state_dict()
    refused(wide, "width 17: the library takes 0.01 to 16")
    cifar18 = OrderedDict(
        {
            "conv1.weight": torch.ones(8, 3, 3, 3),
            "linear.weight": torch.ones(4, 8),
            "linear.bias": torch.ones(4),
        }
    )
    cifar18 |= {f"layer{s}.0.conv1.weight": torch.ones(8, 8, 3, 3) for s in range(1, 5)}
    refused(cifar18, "four stages", "layer4.0.conv1.weight")
    refused({"arch": "resnetblur18", "state_dict": own}, "anti-aliased network (resnetblur18)")
    no_table = {**own, "stage1.block1.conv1.weight": torch.ones(3)}
    refused(no_table, "stage1.block1.conv1.weight is (3,) of float32, expected (4, 4, 3, 3)")

    torch.save(own, FILE)
    whole = FILE.read_bytes()
    for text, *said in [
        (whole[: len(whole) // 2], "finds no plain tensors"),
        (whole[:100], "finds no plain tensors"),
        (b"", "finds no plain tensors"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS", "git lfs pull"),
        (b"\n<!DOCTYPE html><html>", "web page"),
        (b"\x10\0\0\0\0\0\0\0{" + b" " * 40, "no safetensors file"),
    ]:
        FILE.write_bytes(text)
        refused(None, "in.pth", *said)
    torch.jit.save(torch.jit.script(torch.nn.Conv2d(1, 1, 1)), FILE)
    refused(None, "TorchScript program", "state_dict()")
    refused(None, "cannot read", "No such file", source=OUT / "nothing.pth")
    refused(None, "cannot read", "Is a directory", source=OUT)
    torch.save(own, FILE)
    for target, text in [
        (OUT, "it is a folder"),
        (FILE, "it is the file to read"),
        (OUT / "no" / "x", "No such file"),
    ]:
        said, done = call(FILE, target)
        assert not done and text in said, said
    for options in (["--ema", "--to-torch"], ["--ema", "--key", "a"], ["--layout", "none"]):
        said, done = call(FILE, OUT / "none.safetensors", *options)
        assert not done and said.endswith("2"), said


def round_trips():
    """What the library wrote, to PyTorch and back: values and metadata. Digests are of other
    bytes."""
    for path in sorted((OUT / "library").glob("*.safetensors")):
        there, back = OUT / "there.pth", OUT / "back" / path.name
        for source, target, options in [(path, there, ["--to-torch"]), (there, back, [])]:
            said, done = call(source, target, *options)
            assert done, f"{path.name}: {said}"
        (want, of_file), (got, metadata) = contents(path), contents(back)
        assert sorted(want) == sorted(got), path
        assert all(torch.equal(got[name], value) for name, value in want.items()), path
        of_file = {key: value for key, value in of_file.items() if not key.startswith("digest")}
        assert metadata == {"converted_from": "there.pth"} | of_file, (path, metadata, of_file)
        if path.stem == "plain":
            # PyTorch sees a state dict like any other.
            state = torch.load(there, weights_only=True)
            network(1, depth=14).load_state_dict(state)
            torch.save({"model": state, "confusion": {0: torch.ones(2, 2)}}, there)
            said, done = call(there, OUT / "kinds" / "wrapped-again.safetensors")
            assert done, said
            again = contents(OUT / "kinds" / "wrapped-again.safetensors")[1]
            assert again["class_names"] == metadata["class_names"]
            # With another output layer, the names of the old classes and its configuration go.
            state["fc.weight"], state["fc.bias"] = torch.ones(3, 16), torch.zeros(3)
            torch.save(state, there)
            said, done = call(there, OUT / "kinds" / "new-head.safetensors")
            assert (
                done
                and "not those of the configuration" in said
                and "4 names of classes are left out" in said
            ), said


def main():
    torch.set_num_threads(1)
    for folder in ("kinds", "back"):
        (OUT / folder).mkdir()
    net, other = network(1), network(2)
    own = net.state_dict()
    numbers(own)
    wrappers(own, other)
    metadata(own)
    own_names(own)
    large = network(3, "imagenet-resnet", 18, 1 / 32).state_dict()
    save_file(dict(large), FILE)
    converts("large-safetensors", None, large)
    converts("large-lightning", {"state_dict": prefixed(large, "model.")}, large)
    squeezed = network(4, "imagenet-resnet", 18, 1 / 32, squeeze_excitation=2).state_dict()
    by_convolution = mapped(
        squeezed, lambda n, v: v[..., None, None] if ".se." in n and v.dim() == 2 else v
    )
    converts("squeeze", by_convolution, squeezed)
    refusals(own, net)
    round_trips()


main()
