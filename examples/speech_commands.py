"""Spoken words from raw audio, trained at 16 kHz and tested at 8 kHz without more training.

A state space layer is a system in continuous time, sampled. At half the sampling rate its steps
are twice as long: `rate=2`, and the weights stay as they are. The ten words are those of Speech
Commands in the folder given, or else synthesized by eSpeak NG (`apt install espeak-ng`), a clear
voice that says little about real ones. It takes some minutes on two cores, under any backend:

    KERAS_BACKEND=jax python examples/speech_commands.py     # or tensorflow, or torch
    KERAS_BACKEND=jax python examples/speech_commands.py --data-dir /data/SpeechCommands
"""

import argparse
import pathlib
from typing import Any

import keras
import numpy as np

from keras_ssm.datasets import SequenceBatches, generators, speech_commands
from keras_ssm.layers import S5, SequencePooling, SSMBlock
from keras_ssm.optimizers import adamw

WORDS = speech_commands.CLASSES["sc10"]
# Samples at 16 kHz, 4 ms: how often what the first block hears is averaged for the others.
FRAME = 64


def build(rate: int, depth: int, width: int, state_size: int) -> keras.Model:
    """Audio (batch, 16000 / rate, 1) to logits of the words."""
    inputs = keras.Input((speech_commands.LENGTH // rate, 1))
    x = keras.layers.Dense(width)(inputs)
    x = SSMBlock(S5(state_size, rate=rate), gating="half_glu1", norm="batch")(x)
    # From here on, steps are equally long at both rates.
    x = keras.layers.AveragePooling1D(FRAME // rate)(x)
    x = keras.layers.Dense(4 * width)(x)
    for _ in range(depth - 1):
        ssm = S5(state_size, bidirectional=True)
        x = SSMBlock(ssm, gating="half_glu1", norm="batch", dropout=0.1)(x)
    x = SequencePooling("mean")(x)
    return keras.Model(inputs, keras.layers.Dense(len(WORDS))(x))


def main(
    data_dir: str | None,
    epochs: int,
    clips: int = 200,
    train_size: int = 1_500,
    test_size: int = 600,
    batch_size: int = 20,
    depth: int = 3,
    width: int = 16,
    state_size: int = 32,
) -> dict[str, Any]:
    """Train at 16 kHz, then test at both rates."""
    keras.utils.set_random_seed(0)

    # Data: whole numbers from files, scaled on their way into the model.
    if data_dir is None:
        data_dir = "runs/synthesised-speech"
        if not (pathlib.Path(data_dir) / "SpeechCommands").exists():
            print(f"Speaking {clips} times {len(WORDS)} words into {data_dir}")
            generators.speech.generate(data_dir, clips, WORDS)
    train, validation, test = speech_commands.load_data("sc10", data_dir=data_dir)
    x_slow, _ = speech_commands.load_data("sc10", rate=2, data_dir=data_dir)[2]
    mean, std = speech_commands.mean_and_std(train[0])

    def batched(x: np.ndarray, y: np.ndarray, limit: int, **options: Any) -> SequenceBatches:
        # The clips are sorted by word: keep all words, if not all of their clips.
        step = -(-len(x) // limit)
        return SequenceBatches(x[::step], y[::step], batch_size, mean=mean, std=std, **options)

    batches = batched(*train, train_size, shuffle=True, drop_last=True)

    model = build(1, depth, width, state_size)
    model.compile(
        # A rise to the peak in the first epoch, then a cosine to 0.
        adamw(
            learning_rate=8e-3,
            ssm_learning_rate=2e-3,
            weight_decay=0.01,
            total_steps=epochs * len(batches),
            warmup_steps=len(batches) - 1,
        ),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    history = model.fit(
        batches,
        epochs=epochs,
        validation_data=batched(*validation, test_size),
        shuffle=False,
        verbose=2,
    )

    slow_model = build(2, depth, width, state_size)
    slow_model.set_weights(model.get_weights())
    batches, slow_batches = batched(*test, test_size), batched(x_slow, test[1], test_size)
    words = np.concatenate([y for _, y in batches])
    answers = np.argmax(model.predict(batches, verbose=0), axis=-1)
    slow_answers = np.argmax(slow_model.predict(slow_batches, verbose=0), axis=-1)
    accuracy, slow_accuracy = np.mean(answers == words), np.mean(slow_answers == words)
    agreement = np.mean(answers == slow_answers)
    print(f"\nTest accuracy {accuracy:.1%} at 16 kHz, where the model was trained")
    print(f"{slow_accuracy:.1%} at 8 kHz; {agreement:.1%} of the answers are the same")
    return {
        "loss": history.history["loss"],
        "accuracy": accuracy,
        "slow_accuracy": slow_accuracy,
        "agreement": agreement,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", help="folder of Speech Commands; by default synthesized")
    parser.add_argument("--epochs", type=int, default=8)
    main(**vars(parser.parse_args()))
