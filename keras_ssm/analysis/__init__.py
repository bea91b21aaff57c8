"""What a layer is, in numbers: modes, impulse and frequency responses, memory, state space form.

Everything takes a built state space layer, or a block or cell around one, under
any backend, and computes in float64 NumPy from its discretized weights;
`summary` and `ssm_layers` take a model.
"""

from keras_ssm.analysis.memory import energy_within, memory_length
from keras_ssm.analysis.responses import frequency_response, impulse_response, response_magnitude
from keras_ssm.analysis.spectrum import Modes, modes, ssm_layers, step_sizes
from keras_ssm.analysis.statespace import StateSpace, to_statespace
from keras_ssm.analysis.table import summary
from keras_ssm.analysis.trajectory import states

__all__ = [
    "Modes",
    "StateSpace",
    "energy_within",
    "frequency_response",
    "impulse_response",
    "memory_length",
    "modes",
    "response_magnitude",
    "ssm_layers",
    "states",
    "step_sizes",
    "summary",
    "to_statespace",
]
