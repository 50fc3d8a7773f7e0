"""Runs programs that print JSON."""

import json
import os
import subprocess

from failure import Failure, last_line


def objects(command, variables, limit):
    """The lines of stdout that are JSON objects."""
    environment = {**os.environ, **variables}
    try:
        done = subprocess.run(
            [str(word) for word in command],
            capture_output=True,
            text=True,
            env=environment,
            timeout=limit,
        )
    except subprocess.TimeoutExpired:
        raise Failure(f"not done after {limit} s") from None
    except OSError as error:
        raise Failure(f"{command[0]}: {error.strerror}") from None
    if done.returncode < 0:
        raise Failure(f"ended by signal {-done.returncode}")
    if done.returncode:
        raise Failure(last_line(done.stderr, f"status {done.returncode}"))
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
