"""The golden fixtures as layers: which official call each records, and what is left out."""

import json
import math
import pathlib

import numpy as np

import keras_ssm
from keras_ssm import converters, layers

FOLDER = pathlib.Path(__file__).parent / "golden"
FAMILIES = ("dss", "s4dmin", "s4d", "s5", "s5layer")
LAYERS = {"dss": layers.DSS, "s4dmin": layers.S4D, "s4d": layers.S4D, "s5": layers.S5}
LAYERS["s5layer"] = layers.S5

# Fixtures of options that are left out; the converter refuses each by this name.
REFUSED = {
    "dss__layer_hyper_bi_L16": "hyper_act",
    "dss__layer_maxk5_bi_L16": "max_kernel_length",
    "s4d__bandlimit0.3_L16": "bandlimit",
    "s4d__dt_exp_fast1_L16": "dt_fast",
    "s4d__dt_relu_fast1_L16": "dt_fast",
    "s4d__lmax5_L16": "l_max",
    "s4d__lmax5_bi_L16": "l_max",
    "s4d__rate2_lmax16_L16": "l_max",
    "s4d__swap_channels_L16": "swap_channels",
}

# exp(L dt Lambda) - 1 is zero up to rounding, and what the official code makes of it is that
# rounding: float32 of the official code itself is off by a factor of 16 there.
FLOAT64_ONLY = ("dss__softmax_resonance_L16",)

# There, float64 results are decided by rounding too: a denominator of 1e-15 to 1e-14, rounding
# noise, is divided by the constant 1e-7 of the official kernel.
LOOSER = {"dss__softmax_resonance_L16": 1e-6}

# What the records call N and J.
OFFICIAL_NAMES = {"N": "d_state", "J": "blocks"}

# Of the record: sizes, and arguments of the call, of the block and of `S4Block`.
NOT_OF_THE_LAYER = {
    *("H", "L", "B", "rate", "training", "mode"),
    *("activation", "prenorm", "batchnorm", "postact", "final_act"),
}


def names():
    """All fixtures that hold a layer's output."""
    files = sorted(p.stem for family in FAMILIES for p in FOLDER.glob(f"{family}__*.npz"))
    return [name for name in files if "__init_" not in name or name.startswith("s4d__init_")]


class Case:
    """One fixture: its arrays, and the layer or block of ours that must reproduce them."""

    def __init__(self, name):
        self.name = name
        self.family = name.split("__")[0]
        with np.load(FOLDER / f"{name}.npz") as arrays:
            self.arrays = {key: arrays[key] for key in arrays.files}
        self.config = json.loads(str(self.arrays.pop("meta")))["cfg"]
        self.minimal = self.family == "s4dmin"
        self.channels_last = self.family in ("s5", "s5layer") or not self.config.get(
            "transposed", True
        )
        self.glu_activation = self.config.get("activation") == "glu"

    def official_arguments(self):
        """The arguments of the official layer, without those of its block and of the call."""
        named = {OFFICIAL_NAMES.get(key, key): value for key, value in self.config.items()}
        return {key: value for key, value in named.items() if key not in NOT_OF_THE_LAYER}

    def layer_options(self):
        family = {"s4dmin": "s4d", "s5layer": "s5"}.get(self.family, self.family)
        length = math.ceil(self.config["L"] * self.config.get("rate", 1))
        options = converters.layer_options(family, self.official_arguments(), length)
        if "rate" in self.config:
            options["rate"] = self.config["rate"]
        if self.minimal:
            options.setdefault("parametrization", {})["train_B"] = False
        if self.glu_activation:
            options["channels"] = 2
        return options

    def build(self, dtype, **options):
        """The layer or block with the official weights, in float32 or float64."""
        features = self.config["H"]
        options = {**self.layer_options(), **options}
        target = LAYERS[self.family](**options, dtype=dtype)
        if self.family == "s5layer":
            batch = self.config["batchnorm"]
            target = layers.SSMBlock(
                target,
                gating=self.config["activation"],
                norm="batch" if batch else "layer",
                prenorm=self.config["prenorm"],
                norm_epsilon=1e-5 if batch else 1e-6,
                norm_momentum=0.95,
                dtype=dtype,
            )
        elif any("output_linear" in key for key in self.arrays):
            gating = "glu"
            if self.family == "dss" and self.config.get("postact") is None:
                gating = "dense"
            if self.config.get("final_act") == "id":
                gating = "dense"
            target = layers.SSMBlock(target, gating, norm=None, residual=False, dtype=dtype)
        target.build((None, None, features))
        keras_ssm.converters.load_official(target, self.parameters(), self.minimal)
        return target

    def parameters(self):
        found = {}
        for key, value in self.arrays.items():
            for prefix in ("param.", "buffer."):
                if key.startswith(prefix):
                    found[key.removeprefix(prefix)] = value
            if key.startswith("batch_stats."):
                found[key] = value
        return found

    def sequence(self, key):
        """An array of sequences as (batch, length, features)."""
        value = self.arrays[key]
        return value if self.channels_last else np.swapaxes(value, 1, 2)

    def ssm(self, target):
        return target.ssm if isinstance(target, layers.SSMBlock) else target
