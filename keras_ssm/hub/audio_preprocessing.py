"""From waveforms to padded features, for the audio models."""

from typing import Any

import keras
import keras_hub
import numpy as np
import tensorflow as tf

from keras_ssm.arguments import check_size
from keras_ssm.hub.backbone import SSMFeatureBackbone


@keras.saving.register_keras_serializable(package="keras_ssm")
class SSMAudioConverter(keras_hub.layers.AudioConverter):
    """Waveforms to `features` and `padding_mask` of the same length.

    Args:
        max_samples: length of all outputs: shorter waveforms are padded with
            zeros at the end, longer ones are cut.
        **kwargs: `name` of `keras.layers.Layer`.

    Call arguments:
        inputs: one waveform (samples,), an array (batch, samples), a list of
            waveforms of any lengths, or a `tf.RaggedTensor`.

    Returns:
        A dictionary of `features`, float32 (batch, max_samples, 1), and
        `padding_mask`, booleans (batch, max_samples); without the batch for one
        waveform.

    Raises:
        ValueError: for anything else.

    Example:

    >>> from keras_ssm import hub
    >>> converter = hub.SSMAudioConverter(max_samples=4)
    >>> converter([[0.1, 0.2], [0.3, 0.2, 0.1, 0.0, 0.5]])["features"].shape
    (2, 4, 1)
    """

    backbone_cls = SSMFeatureBackbone

    def __init__(self, max_samples: int = 16_000, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_size("max_samples", max_samples)
        self.max_samples = max_samples

    def audio_shape(self) -> tuple[int, int]:
        return self.max_samples, 1

    def call(self, inputs: Any) -> dict[str, Any]:
        # `fit` and `predict` call this in a graph of TensorFlow under every backend.
        if tf.is_tensor(inputs) or isinstance(inputs, tf.RaggedTensor):
            return self._in_graph(inputs)
        waves, batched = _waves(inputs)
        features = np.zeros((len(waves), self.max_samples, 1), "float32")
        padding_mask = np.zeros((len(waves), self.max_samples), "bool")
        for row, wave in enumerate(waves):
            wave = wave[: self.max_samples]
            features[row, : len(wave), 0] = wave
            padding_mask[row, : len(wave)] = True
        outputs = {"features": features, "padding_mask": padding_mask}
        return outputs if batched else {name: x[0] for name, x in outputs.items()}

    def _in_graph(self, inputs: Any) -> dict[str, Any]:
        waves = tf.cast(inputs, "float32")
        if waves.shape.rank == 1:
            return {name: x[0] for name, x in self._in_graph(waves[None]).items()}
        if isinstance(waves, tf.RaggedTensor):
            lengths = waves.row_lengths()
            waves = waves.to_tensor()
        else:
            lengths = tf.fill(tf.shape(waves)[:1], tf.shape(waves)[1])
        waves = waves[:, : self.max_samples]
        missing = self.max_samples - tf.shape(waves)[1]
        features = tf.ensure_shape(
            tf.pad(waves, [[0, 0], [0, missing]])[..., None], (None, self.max_samples, 1)
        )
        return {
            "features": features,
            "padding_mask": tf.sequence_mask(
                tf.minimum(tf.cast(lengths, "int32"), self.max_samples), self.max_samples
            ),
        }

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "max_samples": self.max_samples}


def _waves(inputs: Any) -> tuple[list[np.ndarray], bool]:
    """A list of waveforms, and whether a batch of them was given."""
    if keras.ops.is_tensor(inputs):
        inputs = keras.ops.convert_to_numpy(inputs)
    batched = len(inputs) > 0 and np.ndim(inputs[0]) > 0
    waves = [np.asarray(wave, "float32") for wave in (inputs if batched else [inputs])]
    if any(wave.ndim != 1 for wave in waves):
        raise ValueError(
            "expected one waveform (samples,) or several. "
            f"Received: waveforms of shapes {sorted({wave.shape for wave in waves})}"
        )
    return waves, batched


@keras.saving.register_keras_serializable(package="keras_ssm")
class SSMAudioClassifierPreprocessor(keras_hub.models.Preprocessor):
    """Waveforms to the inputs of `SSMAudioClassifier`; labels pass through.

    Args:
        audio_converter: an `SSMAudioConverter`.
        **kwargs: `name` of `keras.layers.Layer`.

    Example:

    >>> from keras_ssm import hub
    >>> converter = hub.SSMAudioConverter(max_samples=4)
    >>> preprocessor = hub.SSMAudioClassifierPreprocessor(converter)
    >>> x, y = preprocessor(np.ones((2, 3)), y=np.array([0, 1]))
    >>> int(x["padding_mask"].sum())
    6
    """

    backbone_cls = SSMFeatureBackbone
    audio_converter_cls = SSMAudioConverter

    def __init__(self, audio_converter: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.audio_converter = audio_converter

    def call(self, x: Any, y: Any = None, sample_weight: Any = None) -> Any:
        return keras.utils.pack_x_y_sample_weight(self.audio_converter(x), y, sample_weight)
