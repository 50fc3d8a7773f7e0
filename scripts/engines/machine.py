"""Measures this machine for the rooflines: python machine.py THREADS. Needs numpy.

The peak is the best rate of NumPy's matrix product in f32, 2048 x 2048 (OpenBLAS, which takes
its threads and instruction set from variables). The bandwidths are those of c = a + b, three
arrays together being the working set, in one process for each thread at the same time; as in
STREAM, what a write fetches first is not counted. The last line of stdout is a JSON object.
"""

import ctypes
import json
import multiprocessing
import sys
import time
from pathlib import Path

import numpy

MIB = 1 << 20
SIZES = [1 * MIB, 4 * MIB, 16 * MIB, 64 * MIB, 256 * MIB]
RUNS = 5
SECONDS = 0.05


def peak():
    side = 2048
    random = numpy.random.default_rng(0)
    a, b = (random.standard_normal((side, side), dtype=numpy.float32) for _ in range(2))
    out = numpy.empty_like(a)
    best = float("inf")
    for _ in range(RUNS + 1):
        start = time.perf_counter()
        numpy.matmul(a, b, out=out)
        best = min(best, time.perf_counter() - start)
    return 2 * side**3 / best / 1e9


def add(size, barrier, rates):
    """Adds in arrays of `size` bytes together for a while, and hands in the bytes a second."""
    a, b, c = (numpy.ones(size // 12, dtype=numpy.float32) for _ in range(3))
    for _ in range(RUNS):
        barrier.wait()
        start, calls = time.perf_counter(), 0
        while calls == 0 or time.perf_counter() - start < SECONDS:
            numpy.add(a, b, out=c)
            calls += 1
        rates.put(3 * a.nbytes * calls / (time.perf_counter() - start))
        # None starts the next run before all have handed in.
        barrier.wait()


def bandwidth(size, threads):
    """The best sum of the rates of a run."""
    barrier, rates = multiprocessing.Barrier(threads + 1), multiprocessing.Queue()
    each = (size // threads, barrier, rates)
    processes = [multiprocessing.Process(target=add, args=each) for _ in range(threads)]
    for process in processes:
        process.start()
    best = 0.0
    for _ in range(RUNS):
        barrier.wait()
        best = max(best, sum(rates.get() for _ in processes))
        barrier.wait()
    for process in processes:
        process.join()
    return best


def kernels():
    """The name that OpenBLAS has for the kernels it chose, such as SkylakeX."""
    for file in (Path(numpy.__file__).parents[1] / "numpy.libs").glob("*openblas*"):
        library = ctypes.CDLL(str(file))
        for symbol in ("scipy_openblas_get_corename64_", "openblas_get_corename"):
            if function := getattr(library, symbol, None):
                function.restype = ctypes.c_char_p
                return function().decode()
    return "unknown"


def main():
    threads = int(sys.argv[1])
    bandwidths = [(size, bandwidth(size, threads)) for size in SIZES]
    print(json.dumps({"peak": peak(), "kernels": kernels(), "bandwidths": bandwidths}))


if __name__ == "__main__":
    main()
