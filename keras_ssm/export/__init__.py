"""Files for other runtimes: whole models, and models that run step by step with a constant state.

A file is run in its own runtime and compared with the model before it is kept.
`load` opens it with NumPy and that runtime alone; where Keras is not wanted at
all, it is `keras_ssm_runner.load`.
"""

from keras_ssm.export.artefacts import model, step
from keras_ssm.export.formats import Artefact
from keras_ssm_runner import Sequence, Stream, load

__all__ = ["Artefact", "Sequence", "Stream", "load", "model", "step"]
