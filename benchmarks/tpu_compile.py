"""What would each layer's forward and backward cost a TPU v5e in memory traffic and temporaries?

Compiles the gradients of input and all weights for a TPU, which takes the
TPU's compiler (libtpu) and no TPU, and prints the compiler's own account
beside the textbook forms': S5 by `jax.lax.associative_scan` over complex
numbers, S4D by the (features, modes, length) tensor of powers and an FFT.
Accessed is what all operations read and write, in the main memory or the chip's
fast one (128 MiB); temporaries are what has to lie in the main memory.
Everything is float32; the textbook forms multiply at JAX's default precision.

    python benchmarks/tpu_compile.py [--cases s5 s5-textbook] [--shape 8,128,64,4096]
"""

# ruff: noqa: TID251

import argparse
import importlib.metadata
import importlib.util
import os
import sys
from typing import Any, NamedTuple

import catalogue

# A TPU that is described, not found, in a process that computes on the CPU; any number of such
# processes may run at once. JAX and libtpu read this when they are imported.
os.environ.update(
    KERAS_BACKEND="jax",
    JAX_PLATFORMS="cpu",
    TPU_SKIP_MDS_QUERY="1",
    TPU_ACCELERATOR_TYPE="v5litepod-4",
    TPU_WORKER_HOSTNAMES="localhost",
    TPU_WORKER_ID="0",
    ALLOW_MULTIPLE_LIBTPU_LOAD="1",
)

TOPOLOGY = "v5e:2x2"  # the smallest one of this kind; the code is for one of its four chips
SHAPE = catalogue.Shape(8, 128, 64, 4096)
TEXTBOOK = {
    "s5-textbook": ("s5", "s5-time-steps"),
    "s4d-textbook": ("s4d", "s4d-chunk", "dss"),
}
CASES = [case for textbook, ours in TEXTBOOK.items() for case in (textbook, *ours)]


class Cost(NamedTuple):
    """Bytes read and written, of temporaries, and of everything at the worst moment."""

    traffic: float
    temporaries: float
    peak: float


def missing() -> str | None:
    """What to install, if there is no compiler for TPUs."""
    if importlib.util.find_spec("libtpu"):
        return None
    return (
        f'The TPU compiler is missing: pip install "jax[tpu]=={importlib.metadata.version("jax")}"'
    )


def cost(name: str, shape: catalogue.Shape) -> Cost:
    """What the compiler says of the gradients of sum(y g), by the input and all weights."""
    import cases
    import jax
    from jax.experimental import topologies

    device = topologies.get_topology_desc(platform="tpu", topology_name=TOPOLOGY).devices[0]
    sharding = jax.sharding.SingleDeviceSharding(device)
    case = cases.build(name, shape)

    def loss(weights: Any, x: Any, g: Any, extra: Any) -> Any:
        return (case.function(weights, x, **extra) * g).sum()

    arguments = jax.tree.map(
        lambda z: jax.ShapeDtypeStruct(z.shape, z.dtype, sharding=sharding),
        (case.weights, case.x, case.x, case.extra),
    )
    program = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(*arguments).compile()
    memory = program.memory_analysis()
    return Cost(
        program.cost_analysis()["bytes accessed"],
        memory.temp_size_in_bytes,
        memory.peak_memory_in_bytes,
    )


def row(name: str, shape: catalogue.Shape, textbook: Cost | None) -> tuple[str, Cost | None]:
    """A line of the table, and the cost, if the case compiles."""
    try:
        result = cost(name, shape)
    except Exception as error:  # the answer to the question, whatever it is
        reason = f"{type(error).__name__}: {error}".splitlines()[0].replace("|", "/")
        return f"| {name} | {reason} | | | |", None
    megabytes = f"{result.temporaries / 1e6:.0f} | {result.peak / 1e6:.0f}"
    ratio = f"{textbook.traffic / result.traffic:.2f}" if textbook else ""
    return f"| {name} | {result.traffic / 1e9:.2f} | {megabytes} | {ratio} |", result


def main() -> int:
    """Print a Markdown table; 1 if a case does not compile, 2 if there is no compiler."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=CASES)
    parser.add_argument(
        "--shape", type=catalogue.parse_shape, default=SHAPE, metavar="B,H,N,L", help=str(SHAPE)
    )
    options = parser.parse_args()
    if to_install := missing():
        print(to_install, file=sys.stderr)
        return 2
    versions = {name: importlib.metadata.version(name) for name in ("jax", "libtpu", "keras")}
    print(
        f"TPU {TOPOLOGY}, shape {options.shape};", " ".join(f"{k} {v}" for k, v in versions.items())
    )
    print("| layer | accessed, GB | temporaries, MB | peak, MB | textbook / layer |")
    print("|---|---|---|---|---|")
    compiles = True
    for textbook, ours in TEXTBOOK.items():
        reference = None
        for name in (textbook, *ours):
            if name in options.cases:
                line, result = row(name, options.shape, reference)
                print(line, flush=True)
                compiles = compiles and result is not None
                reference = result if name == textbook else reference
    return 0 if compiles else 1


if __name__ == "__main__":
    sys.exit(main())
