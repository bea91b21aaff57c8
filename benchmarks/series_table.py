"""How good are the layers on real time series, beside GRU, dilated convolutions and MiniRocket?

    pip install "keras-ssm[jax,series]" pyts numba
    KERAS_BACKEND=jax OMP_NUM_THREADS=1 python benchmarks/series_table.py

Every network gets as many updates and as many tries at learning rate and scale. Those with
the smallest loss on a part of the training data are taken; with them, every seed trains on all
training data, and what it is after the last update is tested. The test part is read for
nothing else. Every cell is a file in `runs/series-table`, so that the command goes on where
it was stopped; at the end all of them are written to `--json`, and the tables are printed.
"""

import argparse
import datetime
import functools
import pathlib
import time
from typing import Any, NamedTuple

import keras
import measure
import numpy as np
import records
import results
from peers import minirocket
from scipy.special import log_softmax
from series_models import NETWORKS, SSMS, Network, Split

from keras_ssm.datasets import series

SEEDS = (0, 1, 2)
UPDATES = 400
# Learning rate, and what the series are scaled by: what is trained on, or each by itself.
TRIES = ((0.003, "train"), (0.01, "train"), (0.01, "series"))
MODELS = (*NETWORKS, "minirocket")


class Problem(NamedTuple):
    """How a set is read.

    Attributes:
        held_out: share of the training part on which settings are chosen.
        merged: so many steps in a row are replaced by their mean.
    """

    held_out: float
    merged: int = 1


PROBLEMS = {
    "JapaneseVowels": Problem(0.2),
    "BasicMotions": Problem(0.3),
    "ArrowHead": Problem(0.3, merged=2),
    "PLAID": Problem(0.2, merged=8),
    "ACSF1": Problem(0.3, merged=8),
    # Two series of every class.
    "PigCVP": Problem(0.5, merged=20),
}


def load(name: str, held_out: float = 0.0, scale: str = "train") -> tuple[Split, ...]:
    """Training, validation and test part."""
    parts = series.load_data(name, validation_fraction=held_out, scale=scale)
    return tuple(merged(Split(*part), PROBLEMS[name].merged) for part in parts)


def merged(split: Split, size: int) -> Split:
    """Means of `size` steps in a row, for a fraction of the cost; steps left over are lost."""
    count, length, features = split.x.shape
    whole = length // size
    x = split.x[:, : whole * size].reshape(count, whole, size, features).mean(axis=2)
    return Split(x, split.y, split.lengths // size)


@functools.lru_cache(maxsize=1)
def compiled(name: str, model: str) -> Network:
    """A network for the series of a set."""
    return Network(model, load(name)[0], len(series.classes(name)))


def chosen(name: str, model: str, updates: int) -> dict[str, Any]:
    """The settings with the smallest loss on a part of the training data, and all losses."""
    network, losses = compiled(name, model), []
    for rate, scale in TRIES:
        train, held_out, _ = load(name, PROBLEMS[name].held_out, scale)
        network.fit(train, rate, updates, seed=0)
        found = log_softmax(network.logits(held_out), axis=1)
        losses.append(-float(np.mean(found[np.arange(len(held_out.y)), held_out.y])))
    return {"settings": TRIES[int(np.argmin(losses))], "losses": losses}


def cell(
    name: str, model: str, seed: int, settings: tuple[float, str] | None, updates: int
) -> dict[str, Any]:
    """Right answers on the test part of a model that was trained on all training data."""
    if settings is None:
        train, _, test = load(name)
        found, weights = minirocket.predictions(train.x, train.y, test.x, seed)
    else:
        rate, scale = settings
        train, _, test = load(name, scale=scale)
        network = compiled(name, model)
        network.fit(train, rate, updates, seed)
        found, weights = network.logits(test).argmax(axis=1), network.model.count_params()
    return {
        "correct": int(np.sum(found == test.y)),
        "count": len(test.y),
        "weights": weights,
        "train": len(train.y),
        "steps": train.x.shape[1],
        "features": train.x.shape[2],
        "classes": len(series.classes(name)),
        "merged": PROBLEMS[name].merged,
    }


def main() -> None:
    """Fill in what is missing, then write the file and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--updates", type=int, default=UPDATES)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/series-table"))
    parser.add_argument("--json", type=pathlib.Path, help="where the whole table is written to")
    options = parser.parse_args()

    def stored(kind: Any, key: dict[str, Any], *arguments: Any) -> dict[str, Any]:
        """What `kind` gives, from its file if there is one."""
        name = "-".join(str(part) for part in (kind.__name__, *key.values()))
        path = options.out / f"{name}.json"
        if not path.exists():
            start = time.process_time()
            record = {**key, **kind(*key.values(), *arguments, options.updates)}
            record["seconds"] = round(time.process_time() - start, 1)
            records.save(options.out, name, record)
            print(record, flush=True)
        return records.read(path)

    choices, cells = [], []
    for name in options.sets:
        for model in options.models:
            key = {"set": name, "model": model}
            settings = None
            if model in NETWORKS:
                choices.append(stored(chosen, key))
                settings = choices[-1]["settings"]
            cells += [stored(cell, {**key, "seed": seed}, settings) for seed in SEEDS]
    record = {
        "command": "python benchmarks/series_table.py",
        "date": datetime.date.today().isoformat(),
        "machine": measure.machine(),
        "updates": options.updates,
        "backend": keras.backend.backend(),
        "tries": TRIES,
        "ours": [model for model in options.models if model in SSMS],
        "chosen": choices,
        "cells": cells,
    }
    print(results.series(record))
    if options.json:
        records.save(options.json.parent, options.json.stem, record)


if __name__ == "__main__":
    main()
