"""Published test accuracies of the layers, each with its source.

`Lin`, `Inv` and `LegS` are initializations of S4D; that of the recipe comes
first. The Text task has no validation part: its models are chosen on the test
part.
"""

from typing import NamedTuple

_DSS = "Gupta et al. 2022 (README of ag1988/dss)"
_S4D = "Gu et al. 2022 (as later papers cite it)"
_S4 = "Gu et al. 2022, updated with S4D (as later papers cite it)"
_S5 = "Smith et al. 2023 (as later papers cite it)"
_LRU_PAPER = "Orvieto et al. 2023 (as later papers cite it)"
_LONG = "Walker et al. 2024 (as later papers cite it)"
_LRU = "rerun by Orvieto et al. 2023 (as later papers cite it)"


class Result(NamedTuple):
    """A published test accuracy.

    Attributes:
        task: name of the task.
        layer: name of the layer.
        model: name of the model in its paper.
        accuracy: percent of the test part; None where the model stays at chance.
        std: standard deviation over seeds, or None if it is not given.
        origin: whose number it is.
        zero_shot: accuracy at half the sampling rate, or None.

    Example:

    >>> results = [r for r in keras_ssm.recipes.RESULTS if (r.task, r.layer) == ("lra-image", "s5")]
    >>> results[0].model, results[0].accuracy
    ('S5', 88.0)
    """

    task: str
    layer: str
    model: str
    accuracy: float | None
    std: float | None
    origin: str
    zero_shot: float | None = None


RESULTS: tuple[Result, ...] = (
    Result("lra-listops", "dss", "DSS-softmax", 60.6, None, _DSS),
    Result("lra-listops", "lru", "LRU", 60.2, 0.8, _LRU_PAPER),
    Result("lra-listops", "s4", "S4-LegS", 59.60, 0.07, _S4),
    Result("lra-listops", "s4d", "S4D-LegS", 60.47, 0.34, _S4D),
    Result("lra-listops", "s4d", "S4D-Inv", 60.18, 0.35, _S4D),
    Result("lra-listops", "s4d", "S4D-Lin", 60.52, 0.51, _S4D),
    Result("lra-listops", "s4d", "S4D", 60.2, 0.3, _LRU),
    Result("lra-listops", "s5", "S5", 62.15, 0.23, _S5),
    Result("lra-listops", "s5", "S5", 58.5, 0.3, _LRU),
    Result("lra-text", "dss", "DSS-softmax", 84.8, None, _DSS),
    Result("lra-text", "lru", "LRU", 89.4, 0.1, _LRU_PAPER),
    Result("lra-text", "s4", "S4-LegS", 86.82, 0.13, _S4),
    Result("lra-text", "s4d", "S4D-LegS", 86.18, 0.43, _S4D),
    Result("lra-text", "s4d", "S4D-Inv", 87.34, 0.20, _S4D),
    Result("lra-text", "s4d", "S4D-Lin", 86.97, 0.23, _S4D),
    Result("lra-text", "s4d", "S4D", 86.4, 0.0, _LRU),
    Result("lra-text", "s5", "S5", 89.31, 0.15, _S5),
    Result("lra-text", "s5", "S5", 86.2, 0.1, _LRU),
    Result("lra-retrieval", "dss", "DSS-softmax", 87.8, None, _DSS),
    Result("lra-retrieval", "lru", "LRU", 89.9, 0.1, _LRU_PAPER),
    Result("lra-retrieval", "s4", "S4-LegS", 90.90, 0.15, _S4),
    Result("lra-retrieval", "s4d", "S4D-LegS", 89.46, 0.14, _S4D),
    Result("lra-retrieval", "s4d", "S4D-Inv", 91.09, 0.01, _S4D),
    Result("lra-retrieval", "s4d", "S4D-Lin", 90.96, 0.09, _S4D),
    Result("lra-retrieval", "s4d", "S4D", 89.5, 0.0, _LRU),
    Result("lra-retrieval", "s5", "S5", 91.40, 0.05, _S5),
    Result("lra-retrieval", "s5", "S5", 88.9, 0.0, _LRU),
    Result("lra-image", "dss", "DSS-softmax", 85.7, None, _DSS),
    Result("lra-image", "lru", "LRU", 89.0, 0.1, _LRU_PAPER),
    Result("lra-image", "s4", "S4-LegS", 88.65, 0.23, _S4),
    Result("lra-image", "s4d", "S4D-LegS", 88.19, 0.26, _S4D),
    Result("lra-image", "s4d", "S4D-Inv", 87.83, 0.37, _S4D),
    Result("lra-image", "s4d", "S4D-Lin", 87.93, 0.34, _S4D),
    Result("lra-image", "s4d", "S4D", 91.5, 0.2, _LRU),
    Result("lra-image", "s5", "S5", 88.00, 0.22, _S5),
    Result("lra-image", "s5", "S5", 88.8, 0.1, _LRU),
    Result("lra-pathfinder", "dss", "DSS-softmax", 84.6, None, _DSS),
    Result("lra-pathfinder", "lru", "LRU", 95.1, 0.1, _LRU_PAPER),
    Result("lra-pathfinder", "s4", "S4-LegS", 94.20, 0.25, _S4),
    Result("lra-pathfinder", "s4d", "S4D-LegS", 93.06, 1.24, _S4D),
    Result("lra-pathfinder", "s4d", "S4D-Inv", 93.78, 0.25, _S4D),
    Result("lra-pathfinder", "s4d", "S4D-Lin", 93.96, 0.60, _S4D),
    Result("lra-pathfinder", "s4d", "S4D", 94.2, 0.3, _LRU),
    Result("lra-pathfinder", "s5", "S5", 95.33, 0.26, _S5),
    Result("lra-pathfinder", "s5", "S5", 95.7, 0.1, _LRU),
    Result("lra-pathx", "dss", "DSS-softmax", 87.8, None, _DSS),
    Result("lra-pathx", "lru", "LRU", 94.2, 0.4, _LRU_PAPER),
    Result("lra-pathx", "s4", "S4-LegS", 96.35, None, _S4),
    Result("lra-pathx", "s4d", "S4D-LegS", 91.95, None, _S4D),
    Result("lra-pathx", "s4d", "S4D-Inv", 92.80, None, _S4D),
    Result("lra-pathx", "s4d", "S4D-Lin", None, None, _S4D),
    Result("lra-pathx", "s4d", "S4D", 97.5, 0.0, _LRU),
    Result("lra-pathx", "s5", "S5", 98.58, 0.17, _S5),
    Result("lra-pathx", "s5", "S5", 96.0, 0.1, _LRU),
    Result("sc35", "s4", "S4-LegS", 96.08, 0.15, _S4, 91.32),
    Result("sc35", "s4d", "S4D-Lin", 96.25, 0.03, _S4D, 91.58),
    Result("sc35", "s4d", "S4D-LegS", 95.83, 0.14, _S4D, 91.08),
    Result("sc35", "s4d", "S4D-Inv", 96.18, 0.27, _S4D, 91.80),
    Result("sc35", "s5", "S5", 96.52, None, _S5, 94.53),
    Result("sc10", "dss", "DSS-softmax", 97.7, None, _DSS),
    Result("scifar", "s4", "S4-LegS", 91.80, 0.43, _S4),
    Result("scifar", "s4d", "S4D-Lin", 90.42, 0.03, _S4D),
    Result("scifar", "s4d", "S4D-LegS", 89.92, 1.69, _S4D),
    Result("scifar", "s4d", "S4D-Inv", 90.69, 0.06, _S4D),
    Result("scifar", "s5", "S5", 90.10, None, _S5),
    Result("smnist", "s5", "S5", 99.65, None, _S5),
    Result("uea:EigenWorms", "lru", "LRU", 87.8, 2.8, _LONG),
    Result("uea:EigenWorms", "s5", "S5", 81.1, 3.7, _LONG),
    Result("uea:EthanolConcentration", "lru", "LRU", 21.5, 2.1, _LONG),
    Result("uea:EthanolConcentration", "s5", "S5", 24.1, 4.3, _LONG),
    Result("uea:Heartbeat", "lru", "LRU", 78.4, 6.7, _LONG),
    Result("uea:Heartbeat", "s5", "S5", 77.7, 5.5, _LONG),
    Result("uea:MotorImagery", "lru", "LRU", 48.4, 5.0, _LONG),
    Result("uea:MotorImagery", "s5", "S5", 47.7, 5.5, _LONG),
    Result("uea:SelfRegulationSCP1", "lru", "LRU", 82.6, 3.4, _LONG),
    Result("uea:SelfRegulationSCP1", "s5", "S5", 89.9, 4.6, _LONG),
    Result("uea:SelfRegulationSCP2", "lru", "LRU", 51.2, 3.6, _LONG),
    Result("uea:SelfRegulationSCP2", "s5", "S5", 50.5, 2.6, _LONG),
)

# Trainable parameters of the models of the published settings, a complex one
# counted twice.
PARAMETERS = {
    ("lra-listops", "dss"): 205_578,
    ("lra-listops", "s4"): 599_562,
    ("lra-listops", "s4d"): 534_026,
    ("lra-listops", "s5"): 188_490,
    ("lra-text", "dss"): 152_450,
    ("lra-text", "s4"): 1_322_754,
    ("lra-text", "s4d"): 1_224_450,
    ("lra-text", "s5"): 1_321_154,
    ("lra-retrieval", "dss"): 888_322,
    ("lra-retrieval", "s4"): 1_575_682,
    ("lra-retrieval", "s4d"): 1_477_378,
    ("lra-retrieval", "s5"): 772_098,
    ("lra-image", "dss"): 1_991_434,
    ("lra-image", "s4"): 3_565_834,
    ("lra-image", "s4d"): 3_565_066,
    ("lra-image", "s5"): 5_133_706,
    ("lra-pathfinder", "dss"): 601_346,
    ("lra-pathfinder", "s4"): 1_288_706,
    ("lra-pathfinder", "s4d"): 1_190_402,
    ("lra-pathfinder", "s5"): 1_113_602,
    ("lra-pathx", "dss"): 601_346,
    ("lra-pathx", "s4"): 1_288_706,
    ("lra-pathx", "s4d"): 1_190_402,
    ("lra-pathx", "s5"): 694_018,
    ("sc35", "s4"): 306_851,
    ("sc35", "s4d"): 306_083,
    ("sc35", "s5"): 283_523,
    ("sc10", "dss"): 203_786,
    ("scifar", "s4"): 3_566_858,
    ("scifar", "s4d"): 3_566_090,
    ("uea:EigenWorms", "lru"): 251_557,
    ("uea:EigenWorms", "s5"): 200_325,
    ("uea:EthanolConcentration", "lru"): 84_324,
    ("uea:EthanolConcentration", "s5"): 76_212,
    ("uea:Heartbeat", "lru"): 999_682,
    ("uea:Heartbeat", "s5"): 158_306,
    ("uea:MotorImagery", "lru"): 453_186,
    ("uea:MotorImagery", "s5"): 17_490,
    ("uea:SelfRegulationSCP1", "lru"): 25_890,
    ("uea:SelfRegulationSCP1", "s5"): 226_322,
    ("uea:SelfRegulationSCP2", "lru"): 26_018,
    ("uea:SelfRegulationSCP2", "s5"): 5_650,
}
