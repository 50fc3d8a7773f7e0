"""The program of scripts/compare-engines.sh: installs, builds, measures in turns, prints."""

import json
import os
import subprocess
import sys
from pathlib import Path

import arguments
import build
import install
from cell import TRAINED, cells
from cores import busy, cores
from exported import export
from failure import Failure
from instruction_sets import FLAGS, described, detected, environment, processor, restricted
from layers import ROOT
from ours import Ours
from processes import objects
from roofline import Machine
from table import ABOUT, TITLES, table
from theirs import Theirs
from turns import Turns

HERE = Path(__file__).parent
TRAINS = ("pytorch",)


def note(text):
    print(text, file=sys.stderr)


def engines_of(args):
    """The Python of the folder, and for each engine that can be measured the Python that has it."""
    wanted = list(dict.fromkeys(args.engine))
    installed = [engine for engine in wanted if engine != "pytorch"]
    python, found = install.install(args.folder.absolute(), installed)
    pythons = {engine: python for engine in found}
    if "pytorch" in wanted:
        try:
            install.pytorch(args.python)
            pythons["pytorch"] = args.python
        except Failure as failure:
            note(f"pytorch is left out: {failure}")
    return python, pythons


def measured_machine(python, args):
    """The `Machine`, and the kernels that measured its peak."""
    note("measuring the machine: memory and a product of matrices")
    threads, isa = str(args.threads), args.isa or detected(processor()[1])
    # By itself OpenBLAS does not take the best set on every processor that has it.
    variables = {"OPENBLAS_NUM_THREADS": threads, **environment("peak", isa)}
    try:
        row = objects([python, HERE / "machine.py", threads], variables, args.limit)[-1]
    except Failure as failure:
        raise Failure(f"the machine cannot be measured: {failure}") from None
    return Machine(row["peak"], row["bandwidths"]), row["kernels"]


def exported_networks(args, kinds, programs, python):
    """By name. One that cannot be exported has no engines and no roofline."""
    names = [*(args.network if "networks" in kinds else []), *([TRAINED] * ("training" in kinds))]
    networks = {}
    for name in dict.fromkeys(names):
        try:
            note(f"exporting {name}")
            folder = args.folder.absolute() / "networks"
            networks[name] = export(name, programs, python, folder, args)
        except Failure as failure:
            note(str(failure))
    return networks


def heading(args, machine, kernels):
    """What the tables are of."""
    name, _ = processor()
    describe = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    commit = subprocess.run(describe, cwd=ROOT, capture_output=True, text=True).stdout.strip()
    sizes = ", ".join(f"{rate / 1e9:.0f} ({size >> 20} MiB)" for size, rate in machine.bandwidths)
    lines = [
        f"{name}, {args.threads} threads, commit {commit or 'unknown'}, f32, medians of "
        f"{args.rounds} rounds in turns; every call reads the same input.",
        "",
        "The roofline is the lower of two bounds: the dense layer's operations at the measured "
        f"peak, {machine.peak:.0f} GFLOPS (NumPy's matrix product of 2048x2048, OpenBLAS kernels "
        f"{kernels}), and every operand and result moved once at the bandwidth measured for as "
        f"large a working set, in GB/s: {sizes}. Winograd's algorithm and gates do less than "
        "the dense layer's operations, so they may pass it. Of a network the bytes are weights "
        "and images, of a step of training operations count alone, three forward passes of them.",
    ]
    return "\n".join(lines)


def titles(args, engines, flags):
    """Of columns; a star where an engine may use a better instruction set than asked for."""
    best = detected(flags)
    stars = {e: "" if restricted(e, args.isa, best) else r" \*" for e in engines}
    return {engine: TITLES[engine] + stars[engine] for engine in engines}


def sets_used(args, contestants, flags):
    """The instruction set of each program, a list."""
    best = detected(flags)
    lines = [f"- ours: {described('ours', args.isa, best, None if args.isa else best)}"]
    for engine, theirs in contestants.items():
        about = getattr(theirs, "about", None)
        if about:
            used = described(engine, args.isa, best, about["instruction_set"])
            title = titles(args, [engine], flags)[engine]
            lines.append(f"- {title} {about['version']}: {used}")
    return "\n".join(["Instruction sets:", "", *lines])


def compare(args, keep):
    _, flags = processor()
    if args.isa and not FLAGS[args.isa] <= flags:
        raise Failure(f"--isa {args.isa}: this machine lacks it")
    # Before cargo adds to it.
    if warning := busy(os.getloadavg()[0], cores()):
        note(warning)
    kinds = [kind for kind in arguments.KINDS if kind in args.what]
    names = build.needed(kinds)
    programs = build.find(args.programs.absolute(), names) if args.programs else build.build(names)
    python, pythons = engines_of(args)
    machine, kernels = measured_machine(python, args)
    networks = exported_networks(args, kinds, programs, python)

    theirs = {
        engine: Theirs(engine, pythons[engine], args, environment(engine, args.isa), networks)
        for engine in pythons
    }
    settings = {"threads": args.threads, "isa": args.isa or detected(flags)}
    keep({"kind": "machine", "processor": processor()[0], **settings, **machine._asdict()})
    print(heading(args, machine, kernels))
    for kind in kinds:
        turns = Turns(args.rounds, keep)
        able = TRAINS if kind == "training" else tuple(theirs)
        present = {engine: theirs[engine] for engine in theirs if engine in able}
        ours = Ours(programs, args, environment("ours", args.isa))
        rows = cells(kind, args)
        turns.run(rows, {"ours": ours, **present})
        text = table(kind, rows, turns, titles(args, present, flags), machine, networks)
        print(f"\n{ABOUT[kind]}:\n\n{text}", flush=True)
    print(f"\n{sets_used(args, theirs, flags)}")


def main():
    args = arguments.parser().parse_args()
    with open(args.json or os.devnull, "w", encoding="utf-8") as file:
        compare(args, lambda row: print(json.dumps(row), file=file, flush=True))


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"compare-engines.sh: {failure}")
    except OSError as error:
        sys.exit(f"compare-engines.sh: {error.filename}: {error.strerror}")
    except KeyboardInterrupt:
        sys.exit(130)
