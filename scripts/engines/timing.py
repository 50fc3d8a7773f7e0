"""The time of a call."""

import statistics
import time

RUNS = 9


def median_seconds(call, run):
    """Seconds of one call, the median of 9 runs of about `run` seconds each, after a warm-up as
    long as one."""
    start, calls = time.perf_counter(), 0
    while calls < 2 or time.perf_counter() - start < run:
        call()
        calls += 1
    repeats = max(1, round(run * calls / (time.perf_counter() - start)))
    seconds = []
    for _ in range(RUNS):
        start = time.perf_counter()
        for _ in range(repeats):
            call()
        seconds.append((time.perf_counter() - start) / repeats)
    return statistics.median(seconds)
