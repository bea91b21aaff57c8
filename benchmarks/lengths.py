"""How does the time of a layer grow with the length of its input?

One sequence of 64 features, lengths in powers of 4, every case on every
backend. A case that was skipped at one length (more than 16 GiB, or 20 seconds
for a call) is not tried at longer ones.

    python benchmarks/lengths.py [--backends jax torch] [--cases s5 lstm]
        [--lengths 256 1024] [--repeats 5] [--out runs/speed]
"""

import argparse
import pathlib

import catalogue
import records
import sweep
import tables

B, H, N = 1, 64, 64
LENGTHS = [256, 1024, 4096, 16384, 65536]
LIMIT = 20.0  # seconds for a call


def main() -> None:
    """Measure, write one JSON file for each process, print the times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    catalogue.add_arguments(parser)
    parser.add_argument("--lengths", nargs="+", type=int, default=LENGTHS)
    parser.add_argument("--repeats", type=int, default=5, help="calls of one case")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/speed"))
    options = parser.parse_args()
    pairs = {(b, c) for b in options.backends for c in options.cases}
    for L in sorted(options.lengths):
        entries = sweep.plan(options.backends, options.cases, [catalogue.Shape(B, H, N, L)])
        entries = [entry for entry in entries if entry[:2] in pairs]
        measured = sweep.sweep("lengths", entries, 1, options.repeats, LIMIT, options.out)
        pairs = {entry[:2] for entry in measured}
    print(tables.lengths(tables.merged(records.load(options.out, "lengths"))))


if __name__ == "__main__":
    main()
