"""Which layers and operations of Keras treat every time step by itself.

Time is axis 1 of a sequence, (batch, length, ...). A layer or operation treats
steps by themselves if it is elementwise, or acts on the axes behind time alone;
what is not known to do so is refused.
"""

from collections.abc import Callable
from typing import Any

import keras

from keras_ssm.layers import Gating, OneHotDense, UnmaskedBatchNormalization

# Gives the reason why a layer looks beyond one step, or None, from the layer and the node
# of the graph in which it is called.
Check = Callable[[Any, Any], str | None]


def along(axis: Any, rank: int) -> str | None:
    """The reason why acting on `axis` of a sequence is not acting on steps alone."""
    if axis is None:
        return "it acts over all axes, time included"
    axes = [a % rank for a in (axis if isinstance(axis, (list, tuple)) else [axis])]
    return f"it acts along time (axis={axis})" if any(a < 2 for a in axes) else None


def misaligned(node: Any, sequences: set[int]) -> str | None:
    """The reason why operands do not meet step by step when they are broadcast."""
    operands = [x for x in (*_flat(node), *vars(node.operation).values()) if _is_array(x)]
    rank = max(len(x.shape) for x in operands)
    for x in operands:
        if id(x) in sequences:
            if len(x.shape) != rank:
                return f"a sequence of shape {tuple(x.shape)} meets an operand of {rank} axes"
        elif rank - len(x.shape) <= 1 and x.shape[1 - rank] != 1:
            return f"an operand of shape {tuple(x.shape)} differs from step to step"
    return None


def _flat(node: Any) -> list[Any]:
    return keras.tree.flatten((node.arguments.args, node.arguments.kwargs))


def _is_array(x: Any) -> bool:
    return hasattr(x, "shape") and len(x.shape) > 0


def _rank(node: Any) -> int:
    return max(len(x.shape) for x in node.input_tensors)


def _first(node: Any) -> Any:
    return node.input_tensors[0]


# Layers.


def _always(layer: Any, node: Any) -> None:
    return None


def _features(layer: Any, node: Any) -> str | None:
    """Check of layers that act on the last axis, which must not be time."""
    return along(-1, _rank(node))


def _axis(layer: Any, node: Any) -> str | None:
    return along(layer.axis, _rank(node))


def _normalization(layer: Any, node: Any) -> str | None:
    return None if layer.axis is None else _axis(layer, node)


def _einsum_dense(layer: Any, node: Any) -> str | None:
    operands, result = layer.equation.replace(" ", "").split("->")
    sequence, kernel = operands.split(",")
    if sequence.startswith("..."):
        letters = len(sequence) - 3
        return along(-letters, _rank(node)) if result.startswith("...") else "its axes move"
    return _letters([(sequence, True), (kernel, False)], result)


def _prelu(layer: Any, node: Any) -> str | None:
    return None if layer.alpha.shape[0] == 1 else "its slopes differ from step to step"


def _reshape(layer: Any, node: Any) -> str | None:
    before, after = _first(node).shape, node.outputs[0].shape
    if len(after) < 2 or None in before[2:] or None in after[2:]:
        return "it does not keep the time axis"
    same = _product(before[2:]) == _product(after[2:])
    return None if same else "it does not keep the time axis"


def _permute(layer: Any, node: Any) -> str | None:
    return None if layer.dims[0] == 1 else "it moves the time axis"


def _product(sizes: Any) -> int:
    product = 1
    for size in sizes:
        product *= size
    return product


def _letters(operands: list[tuple[str, bool]], result: str) -> str | None:
    """The reason why an einsum over operands, each a sequence or not, mixes steps."""
    starts = {letters[:2] for letters, is_sequence in operands if is_sequence}
    if "." in result or len(starts) != 1:
        return "its equation does not keep batch and time in front"
    (start,) = starts
    others = "".join(
        letters[2:] if is_sequence else letters.replace(start[0], "")
        for letters, is_sequence in operands
    )
    if len(start) < 2 or not result.startswith(start) or start[1] in others:
        return "its equation does not keep batch and time in front"
    return None


L = keras.layers
_ELEMENTWISE_MERGES = (L.Add, L.Average, L.Maximum, L.Minimum, L.Multiply, L.Subtract)
LAYERS: dict[type, Check] = {
    **dict.fromkeys((Gating, L.Dense), _features),
    **dict.fromkeys(
        (
            OneHotDense,
            L.Activation,
            L.ActivityRegularization,
            L.AlphaDropout,
            L.Discretization,
            L.Dropout,
            L.ELU,
            L.Embedding,
            L.GaussianDropout,
            L.GaussianNoise,
            L.Identity,
            L.LeakyReLU,
            L.Masking,
            L.ReLU,
            L.Rescaling,
            L.ReversibleEmbedding,
            L.SpatialDropout1D,
            L.TimeDistributed,
            *_ELEMENTWISE_MERGES,
        ),
        _always,
    ),
    **dict.fromkeys(
        (
            UnmaskedBatchNormalization,
            L.BatchNormalization,
            L.Concatenate,
            L.LayerNormalization,
            L.RMSNormalization,
            L.Softmax,
            L.UnitNormalization,
        ),
        _axis,
    ),
    L.EinsumDense: _einsum_dense,
    L.Normalization: _normalization,
    L.PReLU: _prelu,
    L.Permute: _permute,
    L.Reshape: _reshape,
}

# Functions of `keras.activations` that look at all of the last axis.
OVER_FEATURES = ("glu", "log_softmax", "softmax", "sparsemax")


def layer_reason(layer: Any, node: Any, sequences: set[int]) -> str | None:
    """Why a layer of Keras does not treat every step by itself, or None."""
    check = unchanged(LAYERS, layer)
    if check is None:
        return "it is not known to treat every time step by itself: see `models.register_step`"
    if isinstance(layer, _ELEMENTWISE_MERGES):
        return misaligned(node, sequences)
    if any(id(x) not in sequences for x in node.input_tensors):
        return "it joins a sequence with what has no time axis"
    return check(layer, node)


def unchanged(table: dict[type, Any], operation: Any) -> Any:
    """The entry of the nearest class, or None if the operation has a `call` of its own."""
    for cls in type(operation).__mro__:
        if cls in table:
            return table[cls] if _call(type(operation)) is _call(cls) else None
    return None


def _call(cls: Any) -> Any:
    return cls.call


# Operations, by the name of their class.

_ELEMENTWISE = """
    Absolute Add Angle Arccos Arccosh Arcsin Arcsinh Arctan Arctan2 Arctanh BitwiseAnd
    BitwiseInvert BitwiseLeftShift BitwiseNot BitwiseOr BitwiseRightShift BitwiseXor Cast Cbrt Ceil
    Celu Clip Conjugate Copy Cos Cosh Deg2rad Divide DivideNoNan Elu Equal Erf Erfc Erfinv Exp Exp2
    Expm1 Fabs Floor FloorDivide Fmax Fmin Fmod FullLike Gelu Greater GreaterEqual HardShrink
    HardSigmoid HardSilu HardTanh Heaviside Hypot Imag Isclose Isfinite Isinf Isnan Isneginf
    Isposinf Isreal LeakyRelu LeftShift Less LessEqual Log Log10 Log1p Log2 LogSigmoid Logaddexp
    Logaddexp2 LogicalAnd LogicalNot LogicalOr LogicalXor Maximum Minimum Mod Multiply NanToNum
    Negative NotEqual OnesLike Power Rad2deg Real Reciprocal Relu Relu6 RightShift Round Rsqrt
    SaturateCast Selu Sigmoid Sign Signbit Silu Sin Sinc Sinh SoftShrink Softplus Softsign
    SparsePlus SparseSigmoid Sqrt Square Squareplus StopGradient Subtract Tan Tanh TanhShrink
    Threshold TrueDivide Trunc Where ZerosLike
"""
# Those with an argument `axis`, counted in their input, and (the second) in their output.
_ON_AXIS = """
    All Amax Amin Any Argmax Argmin Argsort Concatenate CountNonzero Cumprod Cumsum Flip Glu
    LayerNorm LogSoftmax Logsumexp Max Mean Median Min Normalize Prod Ptp RMSNorm Roll Softmax
    Sort Sparsemax Split Squeeze Std Sum Var
"""
_ON_NEW_AXIS = "ExpandDims OneHot Stack"
ELEMENTWISE, ON_AXIS, ON_NEW_AXIS = (
    frozenset(names.split()) for names in (_ELEMENTWISE, _ON_AXIS, _ON_NEW_AXIS)
)
# All operands of these have a time axis, or steps would meet what is not a step.
_JOINS = frozenset({"Concatenate", "Stack"})


def operation_reason(operation: Any, node: Any, sequences: set[int]) -> str | None:
    """Why an operation of `keras.ops` does not treat every step by itself, or None."""
    name, tensors = type(operation).__name__, node.input_tensors
    if not type(operation).__module__.startswith("keras."):
        return "it is not an operation of Keras"
    if name in ELEMENTWISE:
        return misaligned(node, sequences)
    if name in ON_AXIS or name in ON_NEW_AXIS:
        if name in _JOINS and any(id(x) not in sequences for x in _flat(node)):
            return "it joins a sequence with what has no time axis"
        rank = len(node.outputs[0].shape) if name in ON_NEW_AXIS else _rank(node)
        return along(operation.axis, rank)
    special = {
        "Einsum": _einsum,
        "GetItem": _get_item,
        "Matmul": _matmul,
        "Reshape": lambda operation, node, sequences: _reshape(operation, node),
        "Take": _take,
        "Transpose": _transpose,
    }.get(name)
    if special is None:
        return "it is not known to treat every time step by itself"
    if id(tensors[0]) not in sequences and name not in ("Einsum", "Take"):
        return "its first operand is not a sequence"
    return special(operation, node, sequences)


def _einsum(operation: Any, node: Any, sequences: set[int]) -> str | None:
    operands, _, result = operation.subscripts.replace(" ", "").partition("->")
    letters = operands.split(",")
    if not result or "." in operands:
        return "its equation does not keep batch and time in front"
    given = [x for x in _flat(node) if _is_array(x)]
    is_sequence = [id(x) in sequences for x in given]
    return _letters(list(zip(letters, is_sequence, strict=True)), result)


def slices(key: Any) -> tuple[Any, ...]:
    """The key of a slice as a tuple whose first two entries are those of batch and time."""
    key = tuple(key) if isinstance(key, (list, tuple)) else (key,)
    front = key[: key.index(Ellipsis)] if Ellipsis in key else key
    everything = slice(None)
    return (*front, everything, everything)[: max(2, len(front))]


def _get_item(operation: Any, node: Any, sequences: set[int]) -> str | None:
    batch, time, *_ = slices(_key(node))
    if batch != slice(None):
        return "it selects from the batch"
    if time == slice(None):
        return None
    return f"it selects steps ({time!r}), and only all of them or the last one can be known"


def takes_last_step(operation: Any, node: Any) -> bool:
    """Whether an operation is `h[:, -1]` or `h[:, -1:]`, whatever it does to later axes."""
    if type(operation).__name__ != "GetItem":
        return False
    batch, time, *_ = slices(_key(node))
    last = isinstance(time, (int, slice)) and time in (-1, slice(-1, None))
    return batch == slice(None) and last


def _key(node: Any) -> Any:
    return node.arguments.kwargs.get("key", node.arguments.args[-1])


def _matmul(operation: Any, node: Any, sequences: set[int]) -> str | None:
    a, b = (x for x in _flat(node) if _is_array(x))
    if id(b) in sequences:
        both = len(a.shape) == len(b.shape) >= 4
        return None if both else "it multiplies sequences as matrices"
    if len(a.shape) < 3 or len(b.shape) > 2:
        return "it multiplies a sequence as a matrix"
    return None


def _take(operation: Any, node: Any, sequences: set[int]) -> str | None:
    table, _ = (x for x in _flat(node) if _is_array(x))
    looks_up = operation.axis == 0 and id(table) not in sequences
    return None if looks_up else "it takes from a sequence"


def _transpose(operation: Any, node: Any, sequences: set[int]) -> str | None:
    kept = operation.axes is not None and tuple(operation.axes)[:2] == (0, 1)
    return None if kept else "it moves the time axis"
