"""What the classifiers of text and of audio share."""

from typing import Any

import keras

from keras_ssm.arguments import check_size
from keras_ssm.layers import SequencePooling


class Head:
    """Mixin of a keras-hub task: mean over the valid steps of its backbone, linear head."""

    backbone_cls: Any

    def __init__(
        self,
        backbone: Any,
        num_classes: int,
        preprocessor: Any = None,
        activation: Any = None,
        dropout: float = 0.1,
        **kwargs: Any,
    ) -> None:
        check_size("num_classes", num_classes)
        check_backbone(backbone, self.backbone_cls)
        dtype = backbone.dtype_policy
        self.backbone = backbone
        self.preprocessor = preprocessor
        self.pooling = SequencePooling("mean", dtype=dtype, name="pooling")
        self.output_dropout = keras.layers.Dropout(dropout, dtype=dtype, name="classifier_dropout")
        self.output_dense = keras.layers.Dense(
            num_classes, activation=activation, dtype=dtype, name="logits"
        )
        inputs = backbone.input
        x = self.pooling(backbone(inputs), mask=inputs["padding_mask"])
        outputs = self.output_dense(self.output_dropout(x))
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)  # type: ignore[call-arg]
        self.num_classes = num_classes
        self.activation = keras.activations.get(activation)
        self.dropout = dropout

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),  # type: ignore[misc]
            "num_classes": self.num_classes,
            "activation": keras.activations.serialize(self.activation),
            "dropout": self.dropout,
        }


def check_backbone(backbone: Any, kind: type) -> None:
    """Raise ValueError unless `backbone` is a `kind`."""
    if not isinstance(backbone, kind):
        raise ValueError(f"`backbone` must be a {kind.__name__}. Received: backbone={backbone!r}")
