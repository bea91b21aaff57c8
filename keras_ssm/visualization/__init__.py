"""Pictures of what layers are and what they have learned, with matplotlib (`keras-ssm[plot]`).

Every `plot_*` function takes a built layer (or a block or cell around one), a
model, whose layers are drawn side by side, or a dictionary of them by label,
before and after training for instance. It draws into `ax`, or into a Figure of
its own, never pyplot's, and returns the Figure. Colors of text and lines
follow matplotlib's style, a dark one for instance. `plot` draws all pictures of
a model into files.
"""

from keras_ssm.visualization.memory import plot_memory
from keras_ssm.visualization.modes import plot_eigenvalues, plot_time_scales, plot_unit_disc
from keras_ssm.visualization.pictures import plot
from keras_ssm.visualization.responses import (
    plot_frequency_response,
    plot_kernel_map,
    plot_kernels,
)
from keras_ssm.visualization.states import plot_states

__all__ = [
    "plot",
    "plot_eigenvalues",
    "plot_frequency_response",
    "plot_kernel_map",
    "plot_kernels",
    "plot_memory",
    "plot_states",
    "plot_time_scales",
    "plot_unit_disc",
]
