"""The learning curve of a training run as a picture."""

import os
from collections.abc import Callable, Sequence

from keras_ssm.callbacks import Row
from keras_ssm.files import replacing


def plot(path: str | os.PathLike, rows: Sequence[Row], title: str = "") -> None:
    """Draw loss and accuracy over the epochs in a PNG file.

    Args:
        path: path of the PNG file.
        rows: rows of a `CSVHistory`, with `loss`, `accuracy` and both with `val_`.
        title: title above the picture.

    Raises:
        ImportError: if matplotlib is not installed.

    Example:

    >>> from keras_ssm.cli import learning_curve
    >>> row = {"loss": 0.7, "val_loss": 0.8, "accuracy": 0.6, "val_accuracy": 0.5}
    >>> learning_curve.plot("learning-curve.png", [{"epoch": 1, **row}, {"epoch": 2, **row}])
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError as error:
        raise ImportError(
            "the learning curve is drawn by matplotlib, which is not installed. "
            'Install it with `pip install "keras-ssm[plot]"`.'
        ) from error
    # A Figure of its own, not pyplot: the user's backend and figures stay as they are.
    figure = Figure(figsize=(9, 4), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    epochs = [row["epoch"] for row in rows]
    scales: dict[str, Callable[[float], float]] = {
        "loss": lambda value: value,
        "accuracy": lambda value: 100 * value,
    }
    for axes, (name, scale) in zip(figure.subplots(1, 2), scales.items(), strict=True):
        for key, label in ((name, "training, with dropout"), (f"val_{name}", "validation")):
            axes.plot(epochs, [scale(row[key]) for row in rows], marker=".", label=label)
        axes.set_xlabel("epoch")
        axes.set_ylabel("accuracy (%)" if name == "accuracy" else "cross-entropy (nats)")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend()
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)
