"""What layers made of other layers have in common: parts keep what Keras gave them."""

from typing import Any

import keras
from keras import ops

# Entries of a part's config that the outer layer decides, by the part's own arguments.
_DECIDED = ("name", "units", "axis", "epsilon", "momentum", "rate")


class Composite(keras.layers.Layer):
    """Base of layers with parts, which stay as they were made when the layer is saved or cloned.

    A part that was frozen, quantized, given LoRA, a dtype policy or a
    regularizer by itself keeps it: its config is in the outer layer's, under
    `parts`. Setting `trainable=False` in the constructor freezes all parts,
    including those that `build` makes.
    """

    _saved_parts: dict[str, Any] | None = None

    def part(self, name: str, layer: keras.layers.Layer) -> Any:
        """A part under the name it has in configs; what a config has kept of it is restored."""
        saved = (self._saved_parts or {}).get(name)
        if saved is not None and saved["class_name"] == type(layer).__name__:
            kept = {k: v for k, v in saved["config"].items() if k not in _DECIDED}
            own = layer.get_config()
            layer = type(layer).from_config({**own, **kept})
        if not self.trainable:
            layer.trainable = False
        return layer

    def _parts(self) -> dict[str, keras.layers.Layer]:
        """The parts that exist and that `part` has made, by name."""
        return {}

    def reset_state(self) -> None:
        """Return stateful parts to the zero state."""
        for part in self._layers:
            if hasattr(part, "reset_state"):
                part.reset_state()

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        parts = {
            name: {"class_name": type(part).__name__, "config": part.get_config()}
            for name, part in self._parts().items()
        }
        return {**config, "parts": parts} if parts else config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        config = dict(config)
        parts = config.pop("parts", None)
        layer = cls(**config)
        layer._saved_parts = parts
        return layer


def as_tensor(x: Any) -> Any:
    """A tensor of what may be a NumPy array; None stays None."""
    return None if x is None else ops.convert_to_tensor(x)
