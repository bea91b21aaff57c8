"""How long does one layer take, forward and backward, how long its first call, how much memory?

Every case runs on every backend at every shape, each time in a process of its
own. The rounds go through all cases in turn, so that a noisy minute does not
hit one case only; tables take the minimum and the median over all rounds. A
case that needs more than 16 GiB, or three minutes for a call, is skipped.

    python benchmarks/layers.py [--backends jax torch] [--cases s4d s4d-textbook]
        [--shapes 8,128,64,2048] [--repeats 5] [--rounds 2] [--out runs/speed]
"""

import argparse
import pathlib

import catalogue
import records
import sweep
import tables

SHAPES = [
    catalogue.Shape(8, 128, 64, 2048),
    catalogue.Shape(8, 128, 64, 4096),
    catalogue.Shape(2, 128, 64, 16384),
    catalogue.Shape(16, 256, 64, 1024),
]
LIMIT = 180.0  # seconds for a call


def main() -> None:
    """Measure, write one JSON file for each process, print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    catalogue.add_arguments(parser)
    parser.add_argument(
        "--shapes", nargs="+", type=catalogue.parse_shape, default=SHAPES, metavar="B,H,N,L"
    )
    parser.add_argument("--repeats", type=int, default=5, help="calls in one round")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/speed"))
    options = parser.parse_args()
    entries = sweep.plan(options.backends, options.cases, options.shapes)
    sweep.sweep("layers", entries, options.rounds, options.repeats, LIMIT, options.out)
    print(tables.ratios(tables.merged(records.load(options.out, "layers"))))


if __name__ == "__main__":
    main()
