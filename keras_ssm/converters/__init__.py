"""From the official implementations to these layers and back: parameters and options."""

from keras_ssm.converters.options import layer_options
from keras_ssm.converters.parameters import export_official, load_official, official_rules

__all__ = ["export_official", "layer_options", "load_official", "official_rules"]
