"""State space layers for Keras, their base class and cell, and the layers built around them."""

from keras_ssm.layers.base import SSM
from keras_ssm.layers.block import SSMBlock
from keras_ssm.layers.cells import SSMCell
from keras_ssm.layers.dss import DSS
from keras_ssm.layers.gating import Gating
from keras_ssm.layers.lru import LRU
from keras_ssm.layers.names import layer_class, layer_name, make_layer
from keras_ssm.layers.norm import UnmaskedBatchNormalization
from keras_ssm.layers.pooling import SequencePooling
from keras_ssm.layers.s4 import S4
from keras_ssm.layers.s4d import S4D
from keras_ssm.layers.s5 import S5
from keras_ssm.layers.scales import length_scales, time_scales
from keras_ssm.layers.tokens import OneHotDense

__all__ = [
    "DSS",
    "LRU",
    "S4",
    "S4D",
    "S5",
    "SSM",
    "Gating",
    "OneHotDense",
    "SSMBlock",
    "SSMCell",
    "SequencePooling",
    "UnmaskedBatchNormalization",
    "layer_class",
    "layer_name",
    "length_scales",
    "make_layer",
    "time_scales",
]
