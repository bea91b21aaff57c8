"""What did the benchmarks find? The page docs/speed.md, its numbers, and a picture.

    python benchmarks/report.py [--results runs/speed] [--docs docs]

collects the records of `steps_of_training.py`, `layers.py`, `steps.py` and
`lengths.py` in speed.json, and writes speed.md from it, and images/speed.png of
times against lengths if there are any. Without results, it writes the page
anew from the numbers that are there.
"""

import argparse
import json
import pathlib

import page
import plot
import records
import tables


def main() -> None:
    """Write the numbers, the page and the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=pathlib.Path, default=pathlib.Path("runs/speed"))
    parser.add_argument("--docs", type=pathlib.Path, default=pathlib.Path("docs"))
    options = parser.parse_args()
    found, numbers = records.load(options.results), options.docs / "speed.json"
    if found:
        lines = ",\n".join(json.dumps(record) for record in found)
        numbers.write_text(f"[\n{lines}\n]\n")
    if not numbers.exists():
        raise SystemExit(f"no results in {options.results}, and no {numbers}")
    known = json.loads(numbers.read_text())
    (options.docs / "speed.md").write_text(page.page(known))
    lengths = [record for record in known if record["script"] == "lengths"]
    if lengths:
        plot.draw(tables.merged(lengths), options.docs / "images" / "speed.png")


if __name__ == "__main__":
    main()
