"""The cores of this process, and whether others want them."""

import os


def cores():
    """How many it may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def busy(load, count):
    """A warning if other programs take a tenth of the machine or more, by the load average."""
    if load < 0.1 * count:
        return None
    return (
        f"warning: the load average is {load:.1f}: on a busy machine figures mean little, those of "
        "engines whose threads wait by spinning least"
    )
