"""State space models for keras-hub: backbones, classifiers and text generation.

Imported on demand, `import keras_ssm.hub`: the rest of the package does not
need keras-hub. The import also registers the classes, so that keras-hub's own
`CausalLM.from_preset` and `Backbone.from_preset` find them.
"""

try:
    import keras_hub  # noqa: F401
except ImportError as error:
    raise ImportError(
        "keras_ssm.hub builds on keras-hub, which is not installed or does not import. "
        'Install it with `pip install "keras-ssm[hub]"`.'
    ) from error

from keras_ssm.hub.audio_classifier import SSMAudioClassifier
from keras_ssm.hub.audio_preprocessing import SSMAudioClassifierPreprocessor, SSMAudioConverter
from keras_ssm.hub.backbone import SSMBackbone, SSMFeatureBackbone
from keras_ssm.hub.causal_lm import SSMCausalLM
from keras_ssm.hub.text_classifier import SSMTextClassifier
from keras_ssm.hub.text_preprocessing import (
    SSMByteTokenizer,
    SSMCausalLMPreprocessor,
    SSMTextClassifierPreprocessor,
)

__all__ = [
    "SSMAudioClassifier",
    "SSMAudioClassifierPreprocessor",
    "SSMAudioConverter",
    "SSMBackbone",
    "SSMByteTokenizer",
    "SSMCausalLM",
    "SSMCausalLMPreprocessor",
    "SSMFeatureBackbone",
    "SSMTextClassifier",
    "SSMTextClassifierPreprocessor",
]
