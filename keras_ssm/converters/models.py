"""Whole official models: what surrounds their blocks, and under which names.

| layout       | official model                                                       |
|--------------|----------------------------------------------------------------------|
| `"example"`  | `S4Model` of `example.py`, in state-spaces/s4 and ag1988/dss          |
| `"sequence"` | `SequenceModel` with encoder and decoder, as `train.py` of both saves |
| None         | `BatchClassificationModel`, `RetrievalModel` of lindermanlab/S5       |
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import keras

from keras_ssm.converters.rules import (
    Conversion,
    Family,
    Rule,
    family_of,
    flax_dense,
    joined,
    torch_linear,
    torch_norm,
)
from keras_ssm.layers import OneHotDense, SSMBlock

LAYOUTS = ("example", "sequence")


class _Parts(NamedTuple):
    """The layers with weights of `models.classifier`, or of `models.retrieval` with `hidden`."""

    encoder: Any
    blocks: list[Any]
    norm: Any
    hidden: Any
    head: Any


def model_conversion(model: Any, minimal: bool, layout: str | None) -> Conversion:
    """The conversion of a model of `models.classifier` or `models.retrieval`."""
    parts = _parts(model)
    families = {family_of(block.ssm, minimal) for block in parts.blocks}
    if len(families) > 1:
        layers = [type(block.ssm).__name__ for block in parts.blocks]
        raise ValueError(
            f"An official model has blocks of one kind. Received: {layers} in {model.name!r}"
        )
    family = families.pop()
    if family.container == "flax":
        check_layout(layout, "S5 models have one layout, None.", ())
        return _s5_model(parts, family)
    check_layout(layout, f"`layout` must be None or one of {list(LAYOUTS)}.", LAYOUTS)
    build = _sequence if layout == "sequence" else _example
    return build(parts, family)


def residual_block(block: Any, family: Family) -> Conversion:
    """`SequenceResidualBlock`: the official module under `layer`, and the norm."""
    module = family.block(block)._replace(kept=()).under("layer.")
    norm = [] if block.norm_layer is None else [torch_norm("norm.norm", block.norm_layer)]
    return joined("SequenceResidualBlock", [module, *norm])


def check_layout(layout: str | None, expected: str, known: Iterable[str]) -> None:
    """Raise ValueError unless `layout` is None or known."""
    if layout is not None and layout not in known:
        raise ValueError(f"{expected} Received: layout={layout!r}")


def _parts(model: Any) -> _Parts:
    outer = {layer.name: layer for layer in model.layers}
    inner = outer
    if isinstance(outer.get("encoder"), keras.Model):
        inner = {layer.name: layer for layer in outer["encoder"].layers}
    blocks = [layer for layer in inner.values() if isinstance(layer, SSMBlock)]
    encoder, head = inner.get("encoder"), outer.get("head")
    if not blocks or encoder is None or head is None:
        raise ValueError(
            "`target` must be a model of `models.classifier` or `models.retrieval`: layers "
            "'encoder', 'block_0', 'block_1', ... and 'head'. "
            f"Received: a model {model.name!r} with layers {list(inner)}"
        )
    return _Parts(encoder, blocks, inner.get("norm"), outer.get("hidden"), head)


def _example(parts: _Parts, family: Family) -> Conversion:
    name = "S4Model of example.py"
    elsewhere = "; layout='sequence' has"
    if parts.hidden is not None:
        raise ValueError(f"The {name} reads one sequence, not pairs{elsewhere} a pair's head.")
    if parts.norm is not None:
        raise ValueError(f"The {name} has no norm after its last block{elsewhere} one.")
    encoder = _torch_encoder("encoder", parts.encoder)
    if len(encoder) == 1:
        raise ValueError(f"The {name} has a dense encoder{elsewhere} an embedding.")
    found = [Conversion(name, encoder)]
    for index, block in enumerate(parts.blocks):
        if block.norm != "layer":
            raise ValueError(
                f"The {name} has norm='layer'{elsewhere} 'batch' too. "
                f"Received: norm={block.norm!r} in {block.name!r}"
            )
        module = family.block(block)._replace(kept=())
        found.append(module.under(f"s4_layers.{index}."))
        found.append(torch_norm(f"norms.{index}", block.norm_layer))
    found.append(Conversion(name, torch_linear("decoder", parts.head)))
    return joined(name, found)


def _sequence(parts: _Parts, family: Family) -> Conversion:
    name = "SequenceModel"
    found = [Conversion(name, _torch_encoder("encoder.0", parts.encoder))]
    for index, block in enumerate(parts.blocks):
        found.append(residual_block(block, family).under(f"model.layers.{index}."))
    first = parts.blocks[0]
    if (parts.norm is not None) != (first.prenorm and first.norm is not None):
        raise ValueError(
            f"The {name} has a norm after its last block where prenorm=True, and only there. "
            f"Received: prenorm={first.prenorm}, norm={first.norm!r}, "
            f"final_norm={parts.norm is not None}"
        )
    if parts.norm is not None:
        found.append(torch_norm("model.norm.norm", parts.norm))
    if parts.hidden is None:
        head = torch_linear("decoder.0.output_transform", parts.head)
    else:
        head = torch_linear("decoder.0.retrieval.classifier.0", parts.hidden)
        head += torch_linear("decoder.0.retrieval.classifier.2", parts.head)
    return joined(name, [*found, Conversion(name, head)])


def _torch_encoder(name: str, encoder: Any) -> list[Rule]:
    if isinstance(encoder, keras.layers.Embedding):
        return [Rule(f"{name}.weight", [encoder.embeddings])]
    if isinstance(encoder, keras.layers.Dense):
        return torch_linear(name, encoder)
    raise ValueError(
        "The official models of DSS and S4 have a dense encoder or an embedding without bias. "
        f"Received: {type(encoder).__name__}, of one_hot=True"
    )


def _s5_model(parts: _Parts, family: Family) -> Conversion:
    name = "BatchClassificationModel" if parts.hidden is None else "RetrievalModel"
    if not isinstance(parts.encoder, (keras.layers.Dense, OneHotDense)):
        raise ValueError(
            f"The {name} of S5 has a dense encoder, for tokens too: one_hot=True. "
            f"Received: {type(parts.encoder).__name__}"
        )
    if parts.norm is not None:
        raise ValueError(f"The {name} of S5 has no norm after its last block. Received: one")
    found = [Conversion(name, flax_dense("encoder.encoder", parts.encoder))]
    for index, block in enumerate(parts.blocks):
        found.append(family.block(block).under(f"encoder.layers_{index}."))
    if parts.hidden is None:
        head = flax_dense("decoder", parts.head)
    else:
        head = flax_dense("decoder.layer1", parts.hidden)
        head += flax_dense("decoder.layer2", parts.head)
    return joined(name, [*found, Conversion(name, head)])
