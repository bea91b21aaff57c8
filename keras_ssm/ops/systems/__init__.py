"""Discretized state space systems: tensors, and the verbs that run them.

A layer turns its weights into one of these; nothing here knows a layer. A
system is a NamedTuple of tensors, so that it passes through `jit`, and each
kind has the same verbs:

    run(u, state, where, return_state, method, resets)  a whole sequence, in every direction
    stepper()                           the form in which one step is cheapest
    state_sequence(u, state, resets)    the state after every step
    impulse_response(length, backward)  the convolution kernel, without the skip
    modal(length)                       its modes in float64 NumPy, for analysis
    exponents()                         log lam of the stored modes in complex128
    check(features)                     ValueError if its tensors do not fit together
    state_width(features, modes)        size of the flat state of one sequence

| system        | one state for              | layers                      |
|---------------|----------------------------|-----------------------------|
| `SharedState` | all channels               | S5, LRU                     |
| `Channelwise` | each channel               | S4D, DSS except for softmax |
| `Softmax`     | each channel, normalized over a length | DSS, S4D with softmax |
| `LowRank`     | each channel, A diagonal plus low rank | S4              |

Inputs u are (batch, length, features). A state is flat, (batch, state_width):
all real parts before all imaginary parts. Where steps vary in time, discretized
tensors begin with (batch, length), or (batch,) for one step.
"""

from keras_ssm.ops.systems.channelwise import Channelwise
from keras_ssm.ops.systems.low_rank import LowRank
from keras_ssm.ops.systems.modal import Modal
from keras_ssm.ops.systems.shared import SharedState
from keras_ssm.ops.systems.softmax import Softmax

__all__ = ["Channelwise", "LowRank", "Modal", "SharedState", "Softmax"]
