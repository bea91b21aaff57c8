"""Convert weights and options of the official code to these layers and models, and back.

| target | official module |
|--------|-----------------|
| `DSS`                 | ag1988/dss `DSS` without its output layer |
| `S4D`                 | state-spaces/s4 `FFTConv` with `SSMKernelDiag` |
| `S4D`, `minimal=True` | state-spaces/s4 `models/s4/s4d.py`, without its output layer |
| `S4`                  | state-spaces/s4 `FFTConv` with `SSMKernelDPLR` |
| `S5`                  | lindermanlab/S5 `S5SSM` |
| `SSMBlock`            | `DSS`, `S4Block`, minimal `S4D`, `SequenceLayer` of S5 |
| `SSMBlock`, `layout="sequence"` | `SequenceResidualBlock` around the first three |
| `models.classifier`   | `S4Model` of `example.py`, `BatchClassificationModel` of S5 |
| `models.classifier`, `models.retrieval`, `layout="sequence"` | `SequenceModel` of `train.py` |
| `models.retrieval`    | `RetrievalModel` of S5 |

Commits read: ag1988/dss 777084e, state-spaces/s4 e757cef, lindermanlab/S5 3c18fdb.
"""

# Each of these enters its layer in `rules.FAMILIES`.
from keras_ssm.converters import dss, s4, s4d, s5  # noqa: F401
from keras_ssm.converters.checkpoint import read_checkpoint
from keras_ssm.converters.official import (
    export_official,
    flax_variables,
    load_official,
    official_rules,
)
from keras_ssm.converters.options import layer_options

__all__ = [
    "export_official",
    "flax_variables",
    "layer_options",
    "load_official",
    "official_rules",
    "read_checkpoint",
]
