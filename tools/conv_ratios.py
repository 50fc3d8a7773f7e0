#!/usr/bin/env python3
"""The time of cuDNN without gates over ours, by layer, op and density.

    python3 conv_ratios.py OUTPUT

OUTPUT has the JSON lines of `conv2d_cuda --json` and of a peer that gives op, shape, batch and ms. Above 1 ours is faster.
"""

import json
import sys

OPS = {"forward": "forward", "backward-input": "grad_input", "backward-weight": "grad_weight"}


def rows(path):
    with open(path) as file:
        return [json.loads(line) for line in file if line.startswith("{")]


def ratios(rows):
    """One row for each of ours that a peer has too."""
    peers = {(r["op"], r["shape"], r["batch"]): r["ms"] for r in rows if "shape" in r}
    for row in rows:
        if "gating" not in row:
            continue
        shape = f"{row['ci']}x{row['co']}@{row['h']}k{row['k']}"
        peer = peers.get((OPS[row["op"]], shape, row["batch"]))
        if peer is not None:
            yield dict(op=row["op"], shape=shape, batch=row["batch"], gating=row["gating"], density=row["density"],
                       ours_ms=round(row["ms"], 5), cudnn_ms=peer, cudnn_over_ours=round(peer / row["ms"], 3))


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    found = list(ratios(rows(sys.argv[1])))
    for row in found:
        # Not named as in the peers' rows, so that these lines can be read again.
        print(json.dumps({"ratio_of": row.pop("op"), "layer": row.pop("shape"), **row}))
    dense = [row["cudnn_over_ours"] for row in found if row["density"] == 1]
    print(f"{len(found)} ratios to cuDNN, {min(dense, default=0)} at least with all filters live")


if __name__ == "__main__":
    main()
