"""Upper bounds by arithmetic and by bytes.

A bound is that of the dense computation as written: Winograd's algorithm, which multiplies less,
and gates, which leave work out, may pass it.
"""

from typing import NamedTuple

F32 = 4


class Machine(NamedTuple):
    """What was measured of the machine."""

    # 10^9 operations a second.
    peak: float
    # (bytes of a working set, bytes a second), sizes ascending.
    bandwidths: list

    def bandwidth(self, size):
        """Bytes a second of a working set of `size` bytes: that of the next larger one measured."""
        for measured, rate in self.bandwidths:
            if size <= measured:
                return rate
        return self.bandwidths[-1][1]


class Cost(NamedTuple):
    """What one call has to do at least."""

    # Two for each multiply-accumulate.
    operations: float
    # Each operand and each result moved once.
    size: float


def layer_cost(layer, batch):
    pixels = layer.side**2
    taps = layer.channels * layer.filters * layer.kernel**2
    maps = batch * pixels * (layer.channels + layer.filters)
    return Cost(2.0 * batch * pixels * taps, F32 * (maps + taps))


def network_cost(macs, weights, image_len, batch):
    """Images and weights are read once; what layers hand on may stay in caches."""
    return Cost(2.0 * macs * batch, F32 * (weights + batch * image_len))


def training_cost(macs, batch):
    """The forward pass and two gradients as dear; the bytes depend on what is kept."""
    return Cost(6.0 * macs * batch, 0.0)


def least_seconds(cost, machine):
    arithmetic = cost.operations / (1e9 * machine.peak)
    return max(arithmetic, cost.size / machine.bandwidth(cost.size))


def bound(cost, machine, units):
    """The most `units` a second, where a call has so many."""
    return units / least_seconds(cost, machine)


def bound_name(cost, machine):
    """Which of the two decides."""
    arithmetic = cost.operations / (1e9 * machine.peak)
    return "arithmetic" if least_seconds(cost, machine) == arithmetic else "bytes"
