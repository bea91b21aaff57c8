"""How long does one streaming step take, of our layers and of Keras' recurrent cells?

One sequence, the output of every step read before the next one, the state fed
back. Rounds go through all cases in turn; tables take the best round.

    python benchmarks/steps.py [--backends jax torch] [--width 128] [--state 64]
        [--steps 2000] [--rounds 3] [--out runs/speed]
"""

import argparse
import pathlib

import catalogue
import isolated
import measure
import records
import tables

LIMIT = 120.0  # seconds for all steps of a round


def main() -> None:
    """Measure, write one JSON file for each process, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--backends", nargs="+", choices=catalogue.BACKENDS, default=catalogue.BACKENDS
    )
    parser.add_argument("--width", type=int, default=128, help="features, and units of a cell")
    parser.add_argument("--state", type=int, default=64, help="N of the shapes")
    parser.add_argument("--steps", type=int, default=2000, help="steps in one round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/speed"))
    options = parser.parse_args()
    machine = measure.machine()
    for number in range(options.rounds):
        for backend in options.backends:
            for case in catalogue.STEPS:
                sizes = [options.width, options.state]
                arguments = [case, *sizes, options.steps]
                result = isolated.run("step_process.py", arguments, backend, LIMIT)
                key = {"script": "steps", "backend": backend, "case": case, "sizes": sizes}
                records.save(
                    options.out,
                    f"steps-{backend}-{case}-{options.width}x{options.state}-{number}",
                    {**key, "round": number, **result, "machine": machine},
                )
                print(f"round {number}  {backend}  {case}: {result}", flush=True)
    print(tables.steps(records.load(options.out, "steps")))


if __name__ == "__main__":
    main()
