"""What did the benchmarks of layers, lengths and steps find? Tables and a picture.

    python benchmarks/report.py [--results runs/speed] [--plot docs/images/speed.png]

prints Markdown for everything that the results folder holds: a table for each
shape, the ratios, the streaming steps, and the times against the length, which
are drawn as well.
"""

import argparse
import pathlib

import plot
import records
import tables


def main() -> None:
    """Print the tables and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=pathlib.Path, default=pathlib.Path("runs/speed"))
    parser.add_argument("--plot", type=pathlib.Path, default=pathlib.Path("docs/images/speed.png"))
    options = parser.parse_args()
    layers, lengths, steps = (
        records.load(options.results, script) for script in ("layers", "lengths", "steps")
    )
    if not layers + lengths + steps:
        raise SystemExit(f"no results in {options.results}")
    print(tables.machines(layers + lengths + steps))
    if layers:
        results = tables.merged(layers)
        print(f"\n### Ratios\n\n{tables.ratios(results)}")
        for shape in tables.shapes(results):
            print(f"\n### Layers at B x H x N x L = {shape}\n\n{tables.layers(results, shape)}")
    if steps:
        print(f"\n### Streaming steps\n\n{tables.steps(steps)}")
    if lengths:
        results = tables.merged(lengths)
        print(f"\n### Lengths\n\n{tables.lengths(results)}")
        plot.draw(results, options.plot)
        print(f"\nPicture: {options.plot}")


if __name__ == "__main__":
    main()
