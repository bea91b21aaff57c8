"""What does spotting spoken words cost on a small device, in float and in 8 bits?

    keras-ssm train sc10 --layer s5 --scale small --out runs/accuracies/sc10-s5-jax
    python benchmarks/keywords.py runs/accuracies/sc10-s5-jax --json docs/results/keywords.json

Takes a trained model of raw samples that streams, and trains two more on the same clips, an S5 and
a GRU that read what such models usually read, log spectra of windows of 20 ms every 10 ms. The
width of each is the smallest one whose validation accuracy reaches that of the run. All are
written as streams, in float and in 8 bits, and every file hears all of the test part in its own
runtime, one call after another. The time of a call includes the spectra where there are any.
"""

import argparse
import datetime
import os
import pathlib
import tempfile
import time
from typing import Any

import keras
import measure
import numpy as np
import records
import results

import keras_ssm
from keras_ssm import optimizers, recipes
from keras_ssm.cli import run_folder
from keras_ssm.layers import S5, SequencePooling, SSMBlock
from keras_ssm.layers.scales import length_scales

# Samples between two calls, 10 ms at 8 kHz, and samples under the window of a spectrum.
HOP, WINDOW, RATE = 80, 160, 8000
WIDTHS = (16, 32, 64, 128)
EPOCHS, BATCH = 30, 20
# Of timing, 100 calls each.
ROUNDS = 20
FORMATS = {"onnx": ".onnx", "litert": ".tflite"}


def clips(data: recipes.Data, part: str, recipe: recipes.Recipe) -> tuple[np.ndarray, np.ndarray]:
    """All scaled clips of a part, as the run's model reads them, and their words."""
    batches = recipes.batches(data, part, recipe)
    pairs = [batches[k] for k in range(len(batches))]
    return tuple(np.concatenate([pair[k] for pair in pairs]) for k in (0, 1))


def spectra(samples: np.ndarray) -> np.ndarray:
    """Log power of windows that end at every hop, (clips, hops, bands); silence before a clip."""
    padded = np.pad(samples[..., 0], ((0, 0), (WINDOW - HOP, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW, axis=1)[:, ::HOP]
    power = np.abs(np.fft.rfft(windows * np.hanning(WINDOW), axis=-1)) ** 2
    return np.log(power + 1e-3).astype("float32")


def reader(kind: str, width: int, features: int, steps: int, classes: int) -> keras.Model:
    """Two layers or blocks that read spectra forward, and the mean over the steps."""
    inputs = keras.Input((steps, features))
    x = keras.layers.BatchNormalization()(inputs)
    if kind == "s5":
        x = keras.layers.Dense(width)(x)
    for _ in range(2):
        if kind == "s5":
            x = SSMBlock(S5(width, **length_scales("s5", steps)))(x)
        else:
            x = keras.layers.GRU(width, return_sequences=True)(x)
    return keras.Model(inputs, keras.layers.Dense(classes)(SequencePooling("mean")(x)))


def trained(kind: str, parts: dict[str, Any], target: float) -> tuple[keras.Model, int]:
    """The narrowest reader whose validation accuracy reaches `target`, or the best of all."""
    (x, y), validation = parts["train"], parts["validation"]
    best: tuple[Any, int, float] = (None, 0, 0.0)
    for width in WIDTHS:
        keras.utils.set_random_seed(0)
        model = reader(kind, width, x.shape[-1], x.shape[1], int(y.max()) + 1)
        updates = EPOCHS * -(-len(x) // BATCH)
        model.compile(
            optimizers.adamw(keras.optimizers.schedules.CosineDecay(0.004, updates)),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "best.weights.h5")
            keep = keras.callbacks.ModelCheckpoint(
                path, "val_accuracy", save_best_only=True, save_weights_only=True
            )
            model.fit(x, y, BATCH, EPOCHS, 0, [keep], validation_data=validation)
            model.load_weights(path)
        found = accuracy(model.predict(validation[0], verbose=0), validation[1])
        print(f"{kind}, width {width}: {found:.4f} of the validation part, {target:.4f} wanted")
        if found > best[2]:
            best = model, width, found
        if found >= target:
            break
    return best[:2]


def accuracy(logits: np.ndarray, words: np.ndarray) -> float:
    """Share of the clips whose most probable word is right."""
    return float(np.mean(np.argmax(logits, -1) == words))


def cell(
    model: keras.Model, path: pathlib.Path, int8: bool, test: Any, samples: int | None
) -> dict[str, Any]:
    """Size, state, accuracy and real-time factor of a file of so many samples, or of a spectrum."""
    chunk = samples if samples and samples > 1 else None
    artefact = keras_ssm.export.step(model, path, chunk=chunk, int8=int8)
    stream = keras_ssm.export.load(path)
    sound, words = test
    calls = spectra(sound)
    if samples:
        calls = sound.reshape(len(sound), -1, *([] if chunk is None else [chunk]), 1)
    stream.reset(len(calls))
    for call in np.moveaxis(calls, 1, 0):
        logits = stream.step(call)
    stream.reset(1)
    state = sum(value.nbytes for value in stream.states.values())
    rounds = []
    for _ in range(ROUNDS):
        durations = []
        for start in range(100):
            heard = sound[:1, start : start + WINDOW]
            begin = time.perf_counter()
            stream.step(calls[:1, start] if samples else spectra(heard)[:, -1])
            durations.append(time.perf_counter() - begin)
        rounds.append(float(np.median(durations)))
    return {
        "bytes": artefact.size,
        "state_bytes": state,
        "correct": int(np.sum(np.argmax(logits, -1) == words)),
        "count": len(words),
        # Seconds of work for a second of sound, in the best round: the machine is shared.
        "real_time": min(rounds) * RATE / (samples or HOP),
    }


def main() -> None:
    """Train the GRU, write and try all files, print the table and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=pathlib.Path, help="folder of a run of sc10, small, forward")
    parser.add_argument("--json", type=pathlib.Path, help="where all results are written to")
    options = parser.parse_args()
    recipe = run_folder.read_config(options.run)["recipe"]
    data = recipes.load_data(recipe)
    sound = {part: clips(data, part, recipe) for part in ("train", "validation", "test")}
    model = run_folder.load_model(options.run)
    target = accuracy(model.predict(sound["validation"][0], verbose=0), sound["validation"][1])
    heard = {part: (spectra(x), y) for part, (x, y) in sound.items()}
    models = [(f"{recipe['layer']}, one sample a call", model, 1)]
    models += [(f"{recipe['layer']}, {HOP} samples a call", model, HOP)]
    for kind in ("s5", "gru"):
        one, width = trained(kind, heard, target)
        models.append((f"{kind} of width {width}, a spectrum a call", one, None))
    cells: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, one, samples in models:
            for form, suffix in FORMATS.items():
                for int8 in (False, True):
                    path = pathlib.Path(folder) / f"{len(cells)}{suffix}"
                    found = cell(one, path, int8, sound["test"], samples)
                    cells.append({"model": name, "format": form, "int8": int8, **found})
                    print(cells[-1], flush=True)
        for name, one, samples in models[1:]:
            x, y = (sound if samples else heard)["test"]
            for int8 in (False, True):
                if int8:
                    one.quantize("int8")
                right = int(np.sum(np.argmax(one.predict(x, 20, verbose=0), -1) == y))
                found = {"correct": right, "count": len(y)}
                cells.append({"model": name, "format": "keras", "int8": int8, **found})
                print(cells[-1], flush=True)
    record = {
        "command": f"python benchmarks/keywords.py {options.run}",
        "date": datetime.date.today().isoformat(),
        "machine": measure.machine(),
        "cells": cells,
    }
    print(results.keywords(record))
    if options.json:
        records.save(options.json.parent, options.json.stem, record)


if __name__ == "__main__":
    main()
