"""The published settings of every recipe, typed in a second time.

Nothing here is computed from `keras_ssm.recipes`: the tables were typed from
the sources named below, by task, and say in words what all models of a paper
share. Where a source leaves a setting open, so does the table.

S5: the scripts in lindermanlab/S5 `bin/run_experiments` (d133f4d), all seven,
    and the defaults of `run_train.py`.
S4D: state-spaces/s4 `configs/experiment`. Read in the repository: retrieval,
    image and pathfinder (`lra/old/v3-s4-*.yaml`, 62a14bb), sc35 (`sc/s4-sc.yaml`,
    d589d98; its warm-up, initialization and step sizes are defaults of other
    files). From a table of the settings that was made from commit e757cef:
    listops, text, Path-X, scifar. That table has the rate of 0.0005 of Path-X
    for the step sizes; that of the eigenvalues has no second source.
DSS: a table of the flags in the README of ag1988/dss (777084e) and of the
    configurations they change.
LONG_S5, LONG_LRU: Benjamin-Walker/log-neural-cdes, `experiment_configs/repeats/S5` and `lru`;
    `models/S5.py`, `LRU.py` and `generate_model.py` for what no file says; 100,000 steps over
    70 % of the different series of both parts.
Scales: state-spaces/s4 `src/dataloaders/basic.py` (43f5b0c) for images, speech
    and MNIST; Pathfinder from [-1, 1] (S5, DSS) and [0, 1] (S4).
"""

# lr_factor multiplies ssm_lr; warmup in epochs.
S5 = """
task            layers width P   J  activation C_init                dropout factor ssm_lr batch epochs decay warmup config
lra-listops     8      128   16  8  half_glu2  lecun_normal          0       3      0.001  50    40     0.04  1      BfastandCdecay
lra-text        6      256   192 12 half_glu2  lecun_normal          0.1     4      0.001  50    35     0.07  0      standard
lra-retrieval   6      128   256 16 half_glu1  trunc_standard_normal 0       2      0.001  32    20     0.05  1      standard
lra-image       6      512   384 3  half_glu1  lecun_normal          0.1     4.5    0.001  50    250    0.07  1      BfastandCdecay
lra-pathfinder  6      192   256 8  half_glu1  trunc_standard_normal 0.05    5      0.0009 64    200    0.03  1      standard
lra-pathx       6      128   256 16 half_glu1  complex_normal        0       3      0.0006 32    75     0.06  1      BandCdecay
sc35            6      96    128 16 half_glu1  lecun_normal          0.1     4      0.002  16    40     0.04  1      noBCdecay
"""  # noqa: E501

S4D = """
task            layers width norm  prenorm dropout rate  dt_rate batch epochs decay steps  warmup init n_ssm dt_min
lra-listops     8      128   batch False   0       0.01  0.01    50    40     0.05  80000  1000   legs None  0.001
lra-text        6      256   batch True    0       0.01  0.01    16    32     0.05  50000  1000   legs None  0.001
lra-retrieval   6      256   batch True    0       0.01  0.01    64    20     0.05  50000  2500   legs None  0.001
lra-image       6      512   layer False   0.1     0.01  0.01    50    200    0.05  180000 900    legs 2     0.001
lra-pathfinder  6      256   batch True    0       0.004 0.001   64    200    0.03  500000 2500   legs None  0.001
lra-pathx       6      256   batch True    0       0.001 0.0005  16    50     0.05  500000 50000  legs None  0.0001
sc35            6      128   batch True    0       0.01  0.001   16    40     0.05  200000 1000   lin  2     0.001
scifar          6      512   layer False   0.1     0.01  0.001   50    200    0.05  180000 900    lin  2     0.001
"""  # noqa: E501

# The files are those of S4, whose own layer starts from "legs" in all of them.
S4 = S4D.replace(" lin ", " legs ")

DSS = """
task            layers width prenorm dropout rate   dt_rate batch epochs decay patience pooling     dt_min dt_max
lra-listops     6      128   False   0       0.01   0.02    50    50     0.01  5        mean        0.001  0.1
lra-text        4      128   True    0       0.01   0.02    50    40     0     10       last        0.001  0.1
lra-retrieval   6      256   True    0       0.002  0.001   64    25     0     20       mean        0.001  0.1
lra-image       6      512   False   0.2     0.004  0.001   50    200    0.01  10       mean        0.001  0.1
lra-pathfinder  6      256   True    0.1     0.004  0.001   100   200    0     13       last        0.001  0.1
lra-pathx       6      256   True    0       0.0005 0.0001  16    35     0     40       mean        0.0001 0.01
sc10            6      128   True    0.1     0.01   0.001   20    200    0     20       mean        0.001  0.1
"""  # noqa: E501

# steps is the epoch's: 70 % of the series, in batches of 32.
LONG_S5 = """
task                   lr      num_blocks hidden_dim ssm_dim ssm_blocks time  steps
uea:EigenWorms         0.001   2          128        256     8          True  5
uea:EthanolConcentration 0.00001 2        128        16      8          True  11
uea:Heartbeat          0.001   4          128        16      4          False 8
uea:MotorImagery       0.001   6          16         64      4          False 8
uea:SelfRegulationSCP1 0.001   6          128        16      8          False 12
uea:SelfRegulationSCP2 0.0001  2          16         64      2          True  8
"""

LONG_LRU = """
task                   lr      num_blocks hidden_dim ssm_dim time  steps
uea:EigenWorms         0.001   6          128        16      True  5
uea:EthanolConcentration 0.0001 2         128        16      False 11
uea:Heartbeat          0.0001  6          128        256     False 8
uea:MotorImagery       0.001   6          64         256     False 8
uea:SelfRegulationSCP1 0.001   2          64         16      False 12
uea:SelfRegulationSCP2 0.001   2          64         16      True  8
"""

# Tokens, the special ones counted; S5 counts two more for ListOps.
VOCABULARY = {"lra-listops": 18, "lra-text": 135, "lra-retrieval": 98}
# Where the published length is not that of the task.
SHORTER = {("lra-text", "dss"): [2048]}
SHAPES = {
    "lra-listops": [2048],
    "lra-text": [4096],
    "lra-retrieval": [2, 4000],
    "lra-image": [1024, 1],
    "lra-pathfinder": [32 * 32, 1],
    "lra-pathx": [128 * 128, 1],
    "sc10": [16_000, 1],
    "sc35": [16_000, 1],
    "scifar": [32 * 32, 3],
    "uea:EigenWorms": [17984, 6],
    "uea:EthanolConcentration": [1751, 3],
    "uea:Heartbeat": [405, 61],
    "uea:MotorImagery": [3000, 64],
    "uea:SelfRegulationSCP1": [896, 6],
    "uea:SelfRegulationSCP2": [1152, 7],
}
CLASSES = {
    "lra-listops": 10, "lra-text": 2, "lra-retrieval": 2, "lra-image": 10, "lra-pathfinder": 2,
    "lra-pathx": 2, "sc10": 10, "sc35": 35, "scifar": 10, "uea:EigenWorms": 5,
    "uea:EthanolConcentration": 4, "uea:Heartbeat": 2, "uea:MotorImagery": 2,
    "uea:SelfRegulationSCP1": 2, "uea:SelfRegulationSCP2": 2,
}  # fmt: skip
# Of pixels from 0 to 1.
IMAGE = (122.6 / 255, 61 / 255)
CIFAR10 = ([0.4914, 0.4822, 0.4465], [0.247, 0.243, 0.261])
PATHFINDER = {"dss": (0.5, 0.5), "s5": (0.5, 0.5), "s4": (0.0, 1.0), "s4d": (0.0, 1.0)}

_TORCH_LINEAR = {
    "class_name": "VarianceScaling",
    "config": {"scale": 1 / 3, "mode": "fan_in", "distribution": "uniform"},
}


def rows(table):
    """By task, the row of a table as a dict of text."""
    names, *lines = (line.split() for line in table.strip().splitlines())
    return {line[0]: dict(zip(names[1:], line[1:], strict=True)) for line in lines}


def settings(layer, task):
    """Model, optimizer, schedule, training and data of a recipe as published."""
    if task.startswith("uea:"):
        return _long(layer, task)
    table, complete = {"s5": (S5, _s5), "s4": (S4, _s4d), "s4d": (S4D, _s4d), "dss": (DSS, _dss)}[
        layer
    ]
    row = {name: _value(text) for name, text in rows(table)[task].items()}
    model, optimizer, schedule = complete(row, task)
    data = {
        "train_size": None,
        "input_shape": SHORTER.get((task, layer), SHAPES[task]),
        "num_classes": CLASSES[task],
    }
    scale = {"lra-image": IMAGE, "scifar": CIFAR10}.get(task)
    if task in ("lra-pathfinder", "lra-pathx"):
        scale = PATHFINDER[layer]
    if scale:
        data |= {"mean": _raw(scale[0]), "std": _raw(scale[1])}
    return {
        "model": model | {"depth": row["layers"], "width": row["width"]},
        "optimizer": optimizer | {"weight_decay": row["decay"]},
        "schedule": schedule,
        "training": {"epochs": row["epochs"], "batch_size": row["batch"]},
        "data": data,
    }


def _s5(row, task):
    model = {
        "state_size": row["P"], "blocks": row["J"], "gating": row["activation"],
        "C_initializer": row["C_init"], "dropout": row["dropout"], "bidirectional": True,
        "norm": "batch", "prenorm": True, "norm_epsilon": 1e-5,
        "norm_momentum": 0.9 if task in ("lra-pathfinder", "lra-pathx") else 0.95,
        "step_min": 0.0001 if task == "lra-pathx" else 0.001, "step_max": 0.1,
        "pooling": "mean", "encoder_initializer": "lecun_normal",
    }  # fmt: skip
    if task == "lra-image":
        model["clip_eigenvalues"] = True
    if task in VOCABULARY:
        more = 2 if task == "lra-listops" else 0
        model |= {"vocabulary_size": VOCABULARY[task] + more, "one_hot": True}
        model |= {"masked": "pooling", "pooling": "mean"}
    optimizer = {
        "learning_rate": row["factor"] * row["ssm_lr"],
        "ssm_learning_rate": row["ssm_lr"],
        "variant": row["config"],
    }
    if task in ("lra-text", "lra-retrieval"):
        optimizer["dt_global"] = True
    return model, optimizer, {"name": "s5", "warmup_epochs": row["warmup"]}


def _long(layer, task):
    row = {k: _value(v) for k, v in rows({"s5": LONG_S5, "lru": LONG_LRU}[layer])[task].items()}
    model = {
        "depth": row["num_blocks"], "width": row["hidden_dim"], "state_size": row["ssm_dim"],
        "gating": "glu", "norm": "batch", "norm_epsilon": 1e-5, "norm_momentum": 0.99,
        "prenorm": True, "pooling": "mean", "encoder_initializer": _TORCH_LINEAR,
    }  # fmt: skip
    if layer == "s5":
        model |= {"blocks": row["ssm_blocks"], "C_initializer": "lecun_normal", "dropout": 0.05}
        model |= {"clip_eigenvalues": True, "step_min": 0.001, "step_max": 0.1}
    else:
        model |= {"dropout": 0.1, "r_min": 0.0, "r_max": 1 - 1e-5, "max_phase": 6.28}
    steps, features = SHAPES[task]
    return {
        "model": model,
        "optimizer": {"weight_decay": 0.0} | dict.fromkeys(
            ("learning_rate", "ssm_learning_rate"), row["lr"]
        ),
        "schedule": {"name": "constant"},
        "training": {"batch_size": 32, "epochs": -(-100_000 // row["steps"])},
        "data": {
            "train_size": None, "input_shape": [steps, features + row["time"]],
            "num_classes": CLASSES[task], "scale": "none", "mixed": True, "time": row["time"],
        },
    }  # fmt: skip


def _s4(row, task):
    """What DSS and S4D have of the code of S4."""
    model = {
        "state_size": 64, "norm_epsilon": 1e-5, "norm_momentum": 0.9, "prenorm": row["prenorm"],
        "dropout": row["dropout"], "pooling": "mean", "step_min": row["dt_min"], "step_max": 0.1,
        "encoder_initializer": _TORCH_LINEAR,
    }  # fmt: skip
    if row["prenorm"]:
        model["final_norm"] = True
    if task in VOCABULARY:
        model |= {"vocabulary_size": VOCABULARY[task], "masked": "pooling"}
        model |= {"pooling": "mean", "encoder_initializer": "standard_normal"}
    optimizer = {
        "learning_rate": row["rate"],
        "ssm_learning_rate": 0.001,
        "step_learning_rate": row["dt_rate"],
    }
    return model, optimizer


def _s4d(row, task):
    model, optimizer = _s4(row, task)
    model |= {
        "bidirectional": True, "gating": "glu", "norm": row["norm"],
        "initialization": row["init"], "n_ssm": row["n_ssm"],
    }  # fmt: skip
    if task == "lra-pathfinder":
        model["pooling"] = "last"
    if task == "lra-pathx":
        optimizer["ssm_learning_rate"] = 0.0005
    schedule = {"name": "cosine", "total_steps": row["steps"], "warmup_steps": row["warmup"]}
    return model, optimizer, schedule


def _dss(row, task):
    model, optimizer = _s4(row, task)
    model |= {
        "kernel": "softmax", "separate_steps": True, "bidirectional": False, "gating": "dense",
        "norm": "batch", "pooling": row["pooling"], "step_max": row["dt_max"],
    }  # fmt: skip
    return model, optimizer, {"name": "plateau", "factor": 0.2, "patience": row["patience"]}


def _value(text):
    if text in ("True", "False", "None"):
        return {"True": True, "False": False, "None": None}[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def _raw(values):
    return [255 * value for value in values] if isinstance(values, list) else 255 * values
