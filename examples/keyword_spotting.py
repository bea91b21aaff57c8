"""Recognize a spoken word while it is spoken, 20 ms at a time, with a state of constant size.

The model is trained on whole clips. `keras_ssm.models.streaming` then runs it chunk by chunk with
the same weights, and after the last chunk the logits are those of the whole clip. The words are
those of Speech Commands in the folder given, or else synthesized by eSpeak NG (`apt install
espeak-ng`). It takes a few minutes on two cores, under any backend:

    KERAS_BACKEND=jax python examples/keyword_spotting.py     # or tensorflow, or torch
    KERAS_BACKEND=jax python examples/keyword_spotting.py --data-dir /data/SpeechCommands
"""

import argparse
import pathlib
import time
from typing import Any

import keras
import numpy as np

import keras_ssm
from keras_ssm.datasets import generators, speech_commands
from keras_ssm.layers import S5, SequencePooling, SSMBlock

WORDS = speech_commands.CLASSES["sc10"]
# Samples at 16 kHz.
CHUNK = 320


def heard(audio: np.ndarray) -> np.ndarray:
    """Loudness in decibels, over 50, of each frequency in a chunk: (..., 320) to (..., 161).

    Of one chunk alone, so that nothing has to be kept between chunks.
    """
    spectrum = np.abs(np.fft.rfft(audio * np.hanning(CHUNK).astype("float32")))
    return 20 * np.log10(spectrum + 1) / 50


def build(depth: int, width: int, state_size: int) -> keras.Model:
    """Chunks (batch, length, 161) to logits of the words. Causal, since it has to stream."""
    inputs = keras.Input((None, CHUNK // 2 + 1))
    x = keras.layers.Dense(width)(inputs)
    for _ in range(depth):
        # step_max = 1: the fastest modes forget within a few chunks.
        ssm = S5(state_size, step_min=0.01, step_max=1.0)
        x = SSMBlock(ssm, gating="half_glu1", dropout=0.1)(x)
    x = SequencePooling("mean")(x)
    return keras.Model(inputs, keras.layers.Dense(len(WORDS))(x))


def main(
    data_dir: str | None,
    epochs: int,
    clips: int = 200,
    limit: int = 5_000,
    depth: int = 2,
    width: int = 64,
    state_size: int = 64,
) -> dict[str, Any]:
    """Train on whole clips, then listen to the test clips chunk by chunk."""
    keras.utils.set_random_seed(0)

    # Data.
    if data_dir is None:
        data_dir = "runs/synthesised-speech"
        if not (pathlib.Path(data_dir) / "SpeechCommands").exists():
            print(f"Speaking {clips} times {len(WORDS)} words into {data_dir}")
            generators.speech.generate(data_dir, clips, WORDS)
    parts = speech_commands.load_data("sc10", data_dir=data_dir)
    # The clips are sorted by word: keep all words, if not all of their clips.
    steps = [-(-len(x) // limit) for x, _ in parts]
    (x_train, y_train), (x_validation, y_validation), (x_test, y_test) = (
        (heard(x[::step].reshape(-1, 50, CHUNK)), y[::step])
        for (x, y), step in zip(parts, steps, strict=True)
    )

    model = build(depth, width, state_size)
    model.compile(
        keras_ssm.optimizers.adamw(learning_rate=4e-3, ssm_learning_rate=1e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    validation = (x_validation, y_validation)
    history = model.fit(x_train, y_train, 20, epochs=epochs, validation_data=validation, verbose=2)
    whole = model.predict(x_test, verbose=0)
    accuracy = float(np.mean(np.argmax(whole, axis=-1) == y_test))
    print(f"\nTest accuracy of whole clips {accuracy:.1%}")

    # All test clips side by side, like that many microphones.
    machine = keras_ssm.models.streaming(model)
    machine.reset(batch_size=len(x_test))
    for k in range(x_test.shape[1]):
        streamed = machine.step(x_test[:, k])
    error = float(np.max(np.abs(keras.ops.convert_to_numpy(streamed) - whole)))
    print(f"Largest difference between streamed and whole logits {error:.1e}")

    # One microphone, from sound to answer.
    def listen(chunk: np.ndarray) -> np.ndarray:
        return keras.ops.convert_to_numpy(keras.ops.softmax(machine.step(heard(chunk))))[0]

    audio = parts[2][0][0].reshape(-1, 1, CHUNK)
    machine.reset(batch_size=1)
    listen(audio[0])  # compiles
    machine.reset(batch_size=1)
    latencies = []
    print(f"\nSomeone says '{WORDS[y_test[0]]}':")
    for k, chunk in enumerate(audio):
        start = time.perf_counter()
        guesses = listen(chunk)
        latencies.append(1000 * (time.perf_counter() - start))
        if k % 5 == 4:
            best = guesses.argmax()
            print(f"{20 * (k + 1):5} ms  {WORDS[best]:6} {guesses[best]:4.0%}")
    latency = float(np.median(latencies))
    print(f"{latency:.2f} ms of work for a chunk of 20 ms; the slowest {max(latencies):.2f} ms")
    return {"loss": history.history["loss"], "accuracy": accuracy, "error": error}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", help="folder of Speech Commands; by default synthesized")
    parser.add_argument("--epochs", type=int, default=10)
    main(**vars(parser.parse_args()))
