"""Classification of raw waveforms."""

from typing import Any

import keras
import keras_hub

from keras_ssm.hub.audio_preprocessing import SSMAudioClassifierPreprocessor
from keras_ssm.hub.backbone import SSMFeatureBackbone
from keras_ssm.hub.head import Head
from keras_ssm.hub.presets import WholePreset


@keras.saving.register_keras_serializable(package="keras_ssm")
class SSMAudioClassifier(Head, WholePreset, keras_hub.models.Task):
    """Classifier of raw waveforms: backbone, mean over the samples, linear head.

    keras-hub has no base class for this task, so this one builds on its `Task`;
    the defaults of `compile` are those of its `TextClassifier`.

    Args:
        backbone: an `SSMFeatureBackbone`.
        num_classes: number of outputs.
        preprocessor: an `SSMAudioClassifierPreprocessor`, or None to give
            features and padding masks.
        activation: of the outputs; None gives logits.
        dropout: rate before the head.
        **kwargs: `name` of `keras.Model`.

    Raises:
        ValueError: for another backbone, or `num_classes` that is not positive.

    Example:

    >>> from keras_ssm import hub
    >>> classifier = hub.SSMAudioClassifier(
    ...     hub.SSMFeatureBackbone(1, depth=1, width=8, state_size=8),
    ...     num_classes=2,
    ...     preprocessor=hub.SSMAudioClassifierPreprocessor(hub.SSMAudioConverter(100)),
    ... )
    >>> waves = np.random.default_rng(0).normal(size=(4, 80)).astype("float32")
    >>> history = classifier.fit(waves, np.array([0, 1, 0, 1]), verbose=0)
    >>> classifier.predict(waves, verbose=0).shape
    (4, 2)
    """

    backbone_cls = SSMFeatureBackbone
    preprocessor_cls = SSMAudioClassifierPreprocessor

    def compile(
        self, optimizer: Any = "auto", loss: Any = "auto", *, metrics: Any = "auto", **kwargs: Any
    ) -> None:
        if optimizer == "auto":
            optimizer = keras.optimizers.Adam(5e-5)
        if loss == "auto":
            from_logits = self.output_dense.activation != keras.activations.softmax
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits)
        if metrics == "auto":
            metrics = [keras.metrics.SparseCategoricalAccuracy()]
        super().compile(optimizer=optimizer, loss=loss, metrics=metrics, **kwargs)
