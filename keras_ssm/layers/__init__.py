"""State space layers for Keras: DSS, S4D, S5, their cells, and what stands around them."""

from keras_ssm.layers.block import SSMBlock
from keras_ssm.layers.cells import DSSCell, S4DCell, S5Cell
from keras_ssm.layers.dss import DSS
from keras_ssm.layers.gating import Gating
from keras_ssm.layers.norm import UnmaskedBatchNormalization
from keras_ssm.layers.pooling import SequencePooling
from keras_ssm.layers.s4d import S4D
from keras_ssm.layers.s5 import S5
from keras_ssm.layers.tokens import OneHotDense

__all__ = [
    "DSS",
    "S4D",
    "S5",
    "DSSCell",
    "Gating",
    "OneHotDense",
    "S4DCell",
    "S5Cell",
    "SSMBlock",
    "SequencePooling",
    "UnmaskedBatchNormalization",
]
