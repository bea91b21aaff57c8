"""Data sets made by algorithms, most of them in the layouts of the official archives.

Nothing here imports Keras, so that worker processes start fast.
"""

from keras_ssm.datasets.generators import listops, pathfinder, pendulum, speech

__all__ = ["listops", "pathfinder", "pendulum", "speech"]
