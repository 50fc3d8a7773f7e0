"""Markdown tables."""

import math

from layers import named
from roofline import bound, bound_name, layer_cost, network_cost, training_cost

TITLES = {
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
    "mnn": "MNN",
    "ncnn": "ncnn",
    "pytorch": "PyTorch",
}
ABOUT = {
    "layers": (
        "Convolutions, 10^9 operations of the dense layer a second; gated: half of the filters"
    ),
    "networks": (
        "Networks, images a second; gated: half of the inner filters, in groups of 16, the gater "
        "included"
    ),
    "training": "Steps of training, images a second; gated: with the paper's gater",
}


def number(value, digits=3):
    """Three digits that count, or `-`."""
    if value is None:
        return "-"
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:.0f}"
    return f"{value:.{digits}g}"


def ratio(value, base):
    """Rounded down: 0.997 is not yet as fast."""
    return f"{math.floor(100 * value / base) / 100:.2f}" if value is not None and base else "-"


def best(rates):
    """The name and rate of the fastest; both None where nothing was measured."""
    measured = {name: rate for name, rate in rates.items() if rate is not None}
    name = max(measured, key=measured.get, default=None)
    return name, measured.get(name)


def markdown(header, rows):
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def limit(cell, machine, networks):
    """The roofline in the units of the cell, and what decides it."""
    if cell.kind == "layers":
        cost = layer_cost(named(cell.name), cell.batch)
        units = cost.operations / 1e9
    else:
        network = networks.get(cell.name)
        if network is None:
            return None, "-"
        units = cell.batch
        if cell.kind == "networks":
            cost = network_cost(network.macs, network.weights, 3 * 32 * 32, cell.batch)
        else:
            cost = training_cost(network.macs, cell.batch)
    return bound(cost, machine, units), bound_name(cost, machine)


def table(kind, cells, turns, engines, machine, networks):
    """One kind of measurement; `turns` has the medians, `engines` the titles of columns."""
    columns = ["batch", "ours", "ours gated", *engines.values()]
    columns += ["best engine", "ours / best", "gated / best", "roofline", "bound by"]
    rows = []
    for cell in cells:
        ours, gated = turns.median(cell, "ours"), turns.median(cell, "ours", "gated")
        rates = {engine: turns.median(cell, engine) for engine in engines}
        engine, rate = best(rates)
        roof, by = limit(cell, machine, networks)
        row = [cell.name, str(cell.batch), number(ours), number(gated)]
        row += [number(value) for value in rates.values()]
        row += [engines.get(engine, "-"), ratio(ours, rate), ratio(gated, rate)]
        rows.append([*row, number(roof), by])
    return markdown(["layer" if kind == "layers" else "network", *columns], rows)
