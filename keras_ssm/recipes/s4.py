"""S4 as its code trains it (state-spaces/s4 e757cef).

The configurations are those in which the S4D recipes change the layer: here the
layer is their own, S4-LegS, diagonal plus low rank from the HiPPO matrix "legs".
The low-rank part trains with the eigenvalues.

Different here: the layer norm of the Image and CIFAR-10 models has a scale and
a shift for every feature, where the code has one of each for all.
"""

from typing import Any

from keras_ssm.recipes import s4d

RECIPES: dict[str, dict[str, Any]] = {
    task: {**recipe, "model": {**recipe["model"], "initialization": "legs"}}
    for task, recipe in s4d.RECIPES.items()
}
SOURCE = s4d.SOURCE
