"""Where does the time of one case go, operation by operation?

    python benchmarks/operations.py BACKEND CASE B,H,N,L [--calls 5] [--top 15]

prints what the framework's own profiler saw of forward with backward, in
milliseconds for one call: XLA's fusions on JAX (a name says what it does, and
`ynn_fusion` is a matrix product), operations on TensorFlow and PyTorch. Equal
kinds are added up. Operations that run side by side count each, so that the sum may be more
than the call takes, and TensorFlow's profiler slows it down.
"""

# ruff: noqa: TID251

import argparse
import collections
import gzip
import json
import os
import pathlib
import re
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import catalogue

Event = tuple[str, float]  # name and milliseconds


def _jax(run: Callable[[], None]) -> Iterator[Event]:
    import jax

    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder, create_perfetto_trace=True):
            run()
        (path,) = pathlib.Path(folder).rglob("perfetto_trace.json.gz")
        trace = json.loads(gzip.decompress(path.read_bytes()))
    events = trace["traceEvents"] if isinstance(trace, dict) else trace
    for event in events:
        # XLA's operations are named like identifiers; Python's frames and the runtime's are not.
        if event.get("ph") == "X" and re.fullmatch(r"[a-z][\w.-]*", event["name"]):
            yield re.sub(r"\.\d+$", "", event["name"]), event["dur"] / 1e3


def _tensorflow(run: Callable[[], None]) -> Iterator[Event]:
    import tensorflow as tf
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    with tempfile.TemporaryDirectory() as folder:
        with tf.profiler.experimental.Profile(folder):
            run()
        (path,) = pathlib.Path(folder).rglob("*.xplane.pb")
        space = xplane_pb2.XSpace.FromString(path.read_bytes())
    for plane in space.planes:
        for line in plane.lines:
            for event in line.events:
                # An operation is named `scope/name:Type`.
                name = plane.event_metadata[event.metadata_id].name
                if found := re.fullmatch(r"[\w/]+:(\w+)", name):
                    yield found[1], event.duration_ps / 1e9


def _torch(run: Callable[[], None]) -> Iterator[Event]:
    import torch

    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        run()
    for event in profiler.events():
        yield event.name, event.self_cpu_time_total / 1e3


PROFILERS = {"jax": _jax, "tensorflow": _tensorflow, "torch": _torch}


def profile(backend: str, call: Callable[[], Any], calls: int) -> tuple[float, list[Any]]:
    """Milliseconds of a call unprofiled, and (name, count, milliseconds) of operations."""
    import measure

    for _ in range(2):
        measure.seconds(call)
    plain = min(measure.repeated(call, calls, budget=60.0))

    def run() -> None:
        for _ in range(calls):
            measure.synchronise(call())

    totals: dict[str, list[float]] = collections.defaultdict(list)
    for name, milliseconds in PROFILERS[backend](run):
        totals[name].append(milliseconds)
    rows = [(name, len(ms) / calls, sum(ms) / calls) for name, ms in totals.items()]
    return 1e3 * plain, sorted(rows, key=lambda row: -row[2])


def main() -> None:
    """Profile one case and print the operations that take longest."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("backend", choices=catalogue.BACKENDS)
    parser.add_argument("case", choices=catalogue.NAMES)
    parser.add_argument("shape", type=catalogue.parse_shape, metavar="B,H,N,L")
    parser.add_argument("--calls", type=int, default=5)
    parser.add_argument("--top", type=int, default=15, help="operations to print")
    options = parser.parse_args()
    os.environ["KERAS_BACKEND"] = options.backend
    from cases import build
    from compiled import compiled

    _, both = compiled(build(options.case, options.shape))
    plain, rows = profile(options.backend, both, options.calls)
    print(f"{options.case} on {options.backend} at {options.shape}: {plain:.1f} ms a call\n")
    print("| operation | calls | ms |\n| --- | ---: | ---: |")
    for name, count, milliseconds in rows[: options.top]:
        print(f"| {name} | {count:.0f} | {milliseconds:.1f} |")


if __name__ == "__main__":
    main()
