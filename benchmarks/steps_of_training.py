"""How long is a training step of a whole classifier, how long the first, how much memory?

Four blocks of 128 features: ours with S5 in both directions and with S4D;
peers in a block of plain Keras parts: both layers in their textbook form,
`keras.layers.GRU` and `LSTM`, and attention. Models of all backends that are
compared with each other wait in processes of their own and take a step in
turn, so that ratios hold on a machine that is used by others as well. Then the
parts of a step, in turn within one process for each backend.

    python benchmarks/steps_of_training.py [--backends jax torch] [--cases s5 s5-textbook]
        [--sizes 8,2048 2,16384] [--depth 4] [--width 128] [--state 64] [--rounds 7]
        [--out runs/speed]
"""

import argparse
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))  # for `python -m`

import catalogue
import isolated
import measure
import records
import tables
import workers

LIMIT = 300.0  # seconds for a step, and for all parts
SIZES = ["8,2048", "2,16384"]


def main() -> None:
    """Measure, write one JSON file for each process, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    known = (*catalogue.TRAINED, *catalogue.TRAINED_PEERS)
    add("--backends", nargs="+", choices=catalogue.BACKENDS, default=catalogue.BACKENDS)
    add("--cases", nargs="+", choices=known, default=known, metavar="CASE")
    add("--sizes", nargs="+", type=parse_size, default=SIZES, metavar="B,L")
    add("--depth", type=int, default=4)
    add("--width", type=int, default=128)
    add("--state", type=int, default=64, help="N of the shapes")
    add("--rounds", type=int, default=7, help="steps of each model")
    add("--no-parts", action="store_true", help="whole steps alone")
    add("--out", type=pathlib.Path, default=pathlib.Path("runs/speed"))
    options = parser.parse_args()
    sizes = [parse_size(s) if isinstance(s, str) else s for s in options.sizes]
    sizes = [catalogue.Training(*s, options.depth, options.width, options.state) for s in sizes]
    for size in sizes:
        for group in groups(options.backends, options.cases, size):
            together(group, size, options.rounds, options.out)
    for size in () if options.no_parts else sizes:
        for backend in options.backends:
            for case in catalogue.TRAINED:
                if case in options.cases:
                    parts(backend, case, size, options.rounds, options.out)
    print(tables.training(records.load(options.out, "training")))
    print(tables.parts(records.load(options.out, "parts")))


def parse_size(text: str) -> tuple[int, int]:
    """Batch and length from `B,L`."""
    B, _, L = text.partition(",")
    if not (B.isdecimal() and L.isdecimal() and int(B) and int(L)):
        raise argparse.ArgumentTypeError(f"expected B,L, received {text!r}")
    return int(B), int(L)


def groups(
    backends: list[str], cases: list[str], size: catalogue.Training
) -> list[list[tuple[str, str]]]:
    """What is compared: a layer on all backends with its textbook form, then with other peers."""
    found = []
    for case in catalogue.TRAINED:
        if case in cases:
            found.append([(b, c) for c in (case, f"{case}-textbook") for b in backends])
    # Peers whose steps at greater length would take minutes, or more memory than there is.
    others = [c for c in ("gru", "lstm", "attention") if c in cases and size.L <= 4096]
    found += [[(b, c) for c in ("s5", *others)] for b in backends if others and "s5" in cases]
    return [[(b, c) for b, c in group if c in cases] for group in found]


def together(
    group: list[tuple[str, str]], size: catalogue.Training, rounds: int, out: pathlib.Path
) -> None:
    """Start a model of each kind, let them take a step in turn, and write their records."""
    name = f"{group[0][1]}-{'-'.join(sorted({backend for backend, _ in group}))}"
    running = {}
    for backend, case in group:
        worker = workers.Worker("training_process.py", [case, *size], backend, LIMIT)
        running[backend, case] = worker
        print(f"{backend}  {case}  {size}: {worker.ready}", flush=True)
    results = {key: {**worker.ready, "times_s": []} for key, worker in running.items()}
    for _ in range(rounds):
        for key, worker in running.items():
            if "skipped" not in results[key]:
                answer = worker.ask("step")
                if "skipped" in answer:
                    results[key]["skipped"] = answer["skipped"]
                else:
                    results[key]["times_s"].append(answer["seconds"])
    machine = measure.machine()
    for (backend, case), worker in running.items():
        result = results[backend, case]
        if "skipped" not in result:
            result |= worker.ask("done")
        worker.close()
        key = {"script": "training", "backend": backend, "case": case, "size": size}
        records.save(
            out,
            f"training-{backend}-{case}-{size}-in-{name}",
            {**key, "group": name, **result, "machine": machine},
        )


def parts(
    backend: str, case: str, size: catalogue.Training, rounds: int, out: pathlib.Path
) -> None:
    """Measure the parts of a step and write the record."""
    result = isolated.run("parts_process.py", [case, *size, rounds], backend, LIMIT)
    print(f"parts  {backend}  {case}  {size}: {result}", flush=True)
    key = {"script": "parts", "backend": backend, "case": case, "size": size}
    records.save(
        out, f"parts-{backend}-{case}-{size}", {**key, **result, "machine": measure.machine()}
    )


if __name__ == "__main__":
    main()
