"""A watch over the state space layers of a model while it trains."""

from typing import Any

import keras
import numpy as np

from keras_ssm import analysis
from keras_ssm.callbacks.finite import not_finite


class SSMMonitor(keras.callbacks.Callback):
    """Logs step sizes and eigenvalues of the state space layers, and stops training at NaN.

    For a layer with the path `block_0/s5`, the logs get

        block_0/s5/step_min, step_median, step_max    step sizes dt
        block_0/s5/max_abs_lambda                     largest |lam|, 1 being no decay
        block_0/s5/unstable                           share of modes with |lam| > 1

    as `keras_ssm.analysis.modes` gives them. A softmax kernel is bounded, so
    none of its modes is unstable, even where |lam| > 1.

    Keras hands one dictionary of logs from callback to callback: put this one
    before those that are to write its numbers (`CSVLogger`, `TensorBoard`,
    `EarlyStopping`, ...). Keras' own `History` comes last by itself.

    Raises:
        ValueError: from `fit`, for a model without state space layers.
        FloatingPointError: from `fit`, at the end of an epoch, if a weight holds
            NaN or infinity; names those weights, and what the layers' logs were
            an epoch earlier, when all was well.

    Example:

    >>> inputs = keras.Input((None, 2))
    >>> model = keras.Model(inputs, keras_ssm.layers.S5(4, name="s5")(inputs))
    >>> monitor, logs = keras_ssm.callbacks.SSMMonitor(), {}
    >>> monitor.set_model(model)  # as `model.fit(x, y, callbacks=[monitor])` does
    >>> monitor.on_train_begin()
    >>> monitor.on_epoch_end(0, logs)
    >>> logs["s5/unstable"]
    0.0
    """

    def __init__(self) -> None:
        super().__init__()
        self._before: dict[str, float] = {}

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        if not analysis.ssm_layers(self.model):
            raise ValueError(
                "expected a model with state space layers. "
                f"Received: {self.model.name!r}, which has none"
            )
        self._before = self._numbers()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        bad = not_finite(self.model)
        if bad:
            before = ", ".join(f"{name} {value:.4g}" for name, value in self._before.items())
            more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
            raise FloatingPointError(
                f"expected finite weights, found NaN or infinity in {', '.join(bad[:3])}{more} "
                f"at the end of epoch {epoch + 1}; before it: {before}"
            )
        self._before = self._numbers()
        if logs is not None:
            logs.update(self._before)

    def _numbers(self) -> dict[str, float]:
        numbers = {}
        for path, layer in analysis.ssm_layers(self.model).items():
            steps, modes = analysis.step_sizes(layer), analysis.modes(layer)
            for name, value in (
                ("step_min", np.min(steps)),
                ("step_median", np.median(steps)),
                ("step_max", np.max(steps)),
                ("max_abs_lambda", np.max(np.abs(modes.lam))),
                ("unstable", np.mean(modes.unstable)),
            ):
                numbers[f"{path}/{name}"] = float(value)
        return numbers
