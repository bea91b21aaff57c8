"""Text classification."""

import keras
import keras_hub

from keras_ssm.hub.backbone import SSMBackbone
from keras_ssm.hub.head import Head
from keras_ssm.hub.presets import WholePreset
from keras_ssm.hub.text_preprocessing import SSMTextClassifierPreprocessor


@keras.saving.register_keras_serializable(package="keras_ssm")
class SSMTextClassifier(Head, WholePreset, keras_hub.models.TextClassifier):
    """Classifier of strings: backbone, mean over the tokens, linear head.

    Args:
        backbone: an `SSMBackbone`.
        num_classes: number of outputs.
        preprocessor: an `SSMTextClassifierPreprocessor`, or None to give token
            ids and padding masks.
        activation: of the outputs; None gives logits.
        dropout: rate before the head.
        **kwargs: `name` of `keras.Model`.

    Raises:
        ValueError: for another backbone, or `num_classes` that is not positive.

    Example:

    >>> from keras_ssm import hub
    >>> classifier = hub.SSMTextClassifier(
    ...     hub.SSMBackbone(256, depth=1, width=8, state_size=8),
    ...     num_classes=2,
    ...     preprocessor=hub.SSMTextClassifierPreprocessor(hub.SSMByteTokenizer(), 32),
    ... )
    >>> history = classifier.fit(["good", "bad"], np.array([1, 0]), verbose=0)
    >>> classifier.predict(["good", "bad", "not good"], verbose=0).shape
    (3, 2)
    """

    backbone_cls = SSMBackbone
    preprocessor_cls = SSMTextClassifierPreprocessor
