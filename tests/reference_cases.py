"""Recorded numbers of every layer, block and model, which a change of their inside must keep.

A case is a small model with random weights, its inputs, and what it makes of
them: outputs and states in every way of running it, or the losses of ten
training steps. `reference/<case>.npz` holds the three, recorded under JAX in
float32:

    weights/<path>     by their path in the model, such as weights/block_0/ssm/B
    inputs/<name>
    outputs/<name>

`KERAS_BACKEND=jax python tests/reference_cases.py` records the cases that have
no file yet, `python tests/reference_cases.py CASE ...` those named again. How a
model is built stands in `LAYERS` and in the functions `*_cases` below it, and
nowhere else; a weight that moves is mapped in `assign`.
"""

import pathlib
import sys
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import conftest  # noqa: F401  (its settings of the backend belong to the numbers)
import keras
import numpy as np
from keras import ops

from keras_ssm import models
from keras_ssm.layers import DSS, S4D, S5, SSMBlock
from keras_ssm.optimizers import adamw

FOLDER = pathlib.Path(__file__).parent / "reference"
BATCH, LENGTH, SHORT, FEATURES, CLASSES, TOKENS = 2, 33, 16, 3, 4, 7
STEPS = {"step_min": 0.02, "step_max": 0.1}


class Case(NamedTuple):
    """A model, its inputs, and what is computed of them.

    Attributes:
        build: makes the model, whose weights have the same paths every time.
        inputs: makes the inputs from the model and a random generator.
        run: from the model and its inputs to the named outputs.
        trains: whether `run` needs gradients.
        hub: whether the model needs keras-hub.
    """

    build: Callable[[], Any]
    inputs: Callable[[Any, np.random.Generator], dict[str, np.ndarray]]
    run: Callable[[Any, dict[str, np.ndarray]], dict[str, Any]]
    trains: bool = False
    hub: bool = False


# Layers: name -> how it is made, the optimizer's variant that trains it.

LAYERS: dict[str, tuple[Callable[..., Any], str]] = {
    "dss_softmax_length": (lambda **k: DSS(8, kernel="softmax", length=40, **k), "standard"),
    "dss_softmax": (lambda **k: DSS(8, kernel="softmax", **k), "standard"),
    "dss_exp": (
        lambda **k: DSS(8, kernel="exp", channels=2, bidirectional=True, **k),
        "standard",
    ),
    "dss_exp_forward": (lambda **k: DSS(8, kernel="exp-re-im", channels=2, **k), "standard"),
    "dss_clip": (lambda **k: DSS(8, kernel="clip", separate_steps=False, **k), "standard"),
    "dss_clip_no_scale": (lambda **k: DSS(8, kernel="clip-no-scale", **k), "standard"),
    "s4d_zoh": (lambda **k: S4D(8, n_ssm=1, channels=2, **k), "standard"),
    "s4d_bilinear": (
        lambda **k: S4D(8, discretization="bilinear", parametrization={"train_B": False}, **k),
        "BandCdecay",
    ),
    "s4d_dss": (lambda **k: S4D(8, discretization="softmax", length=40, **k), "standard"),
    "s4d_real": (
        lambda **k: S4D(8, initialization="real", parametrization={"real_valued": True}, **k),
        "BfastandCdecay",
    ),
    "s4d_bidirectional": (lambda **k: S4D(8, bidirectional=True, **k), "standard"),
    "s4d_chunk": (lambda **k: S4D(8, method="chunk", **k), "noBCdecay"),
    "s4d_transforms": (
        lambda **k: S4D(
            8,
            initialization="legs",
            parametrization={
                "real": "softplus",
                "imag": "exp",
                "step": "softplus",
                "tie_step": False,
            },
            **k,
        ),
        "standard",
    ),
    "s5_zoh": (lambda **k: S5(8, blocks=2, bidirectional=True, **k), "standard"),
    "s5_zoh_forward": (lambda **k: S5(8, blocks=2, **k), "standard"),
    "s5_bilinear": (lambda **k: S5(8, discretization="bilinear", **k), "BandCdecay"),
    "s5_no_conjugates": (lambda **k: S5(8, conjugate_symmetry=False, **k), "BfastandCdecay"),
    "s5_clip": (lambda **k: S5(8, clip_eigenvalues=True, **k), "noBCdecay"),
}
# No state: of two directions, or normalised over the length of each input.
STATELESS = {"dss_softmax", "dss_exp", "s4d_bidirectional", "s5_zoh"}

# Two modes with Re Lambda > 0: a softmax kernel runs them backwards, the others clip them.
GROWING = ("dss_softmax", "dss_clip", "s5_clip")


def layer(kind: str, **options: Any) -> Any:
    return LAYERS[kind][0](name="ssm", **STEPS, **options)


def layer_cases() -> dict[str, Case]:
    def case(kind: str) -> Case:
        has_state = kind not in STATELESS

        def build() -> Any:
            built = layer(kind, return_state=has_state)
            built.build((None, None, FEATURES))
            return built

        return Case(build, layer_inputs, run_with_state if has_state else run_without_state)

    return {f"layer_{kind}": case(kind) for kind in LAYERS}


def layer_inputs(model: Any, rng: np.random.Generator) -> dict[str, np.ndarray]:
    inputs = {
        "u": rng.standard_normal((BATCH, LENGTH, FEATURES)).astype("float32"),
        "short": rng.standard_normal((BATCH, SHORT, FEATURES)).astype("float32"),
        "mask": rng.random((BATCH, LENGTH)) < 0.6,
        "time_steps": rng.uniform(0.3, 2.0, (BATCH, LENGTH)).astype("float32"),
    }
    if getattr(model, "return_state", False):
        state = rng.standard_normal((BATCH, model.state_width)).astype("float32")
        if model.state_width % 2:
            state[:, -1] = 5  # a softmax state counts its steps last
        inputs["state"] = state
    return inputs


def run_without_state(model: Any, inputs: dict[str, np.ndarray]) -> dict[str, Any]:
    u, mask, time_steps = inputs["u"], inputs["mask"], inputs["time_steps"]
    return {
        "y": model(u),
        "short/y": model(inputs["short"]),
        "mask/y": model(u, mask=mask),
        "time_steps/y": model(u, time_steps=time_steps),
        "rate/y": model(u, rate=2.0),
        "all/y": model(u, mask=mask, time_steps=time_steps, rate=2.0),
    }


def run_with_state(model: Any, inputs: dict[str, np.ndarray]) -> dict[str, Any]:
    u, mask, time_steps = inputs["u"], inputs["mask"], inputs["time_steps"]
    start = inputs["state"]
    whole = {
        "whole": model(u),
        "short": model(inputs["short"]),
        "mask": model(u, mask=mask),
        "time_steps": model(u, time_steps=time_steps),
        "initial_state": model(u, initial_state=start),
        "rate": model(u, rate=2.0),
        "all": model(u, mask=mask, time_steps=time_steps, initial_state=start, rate=2.0),
        "steps": loop(model.step, inputs["short"], model.get_initial_state(BATCH)),
        "varying_steps": loop(
            lambda u_k, state, dt: model.step(u_k, state, time_steps=dt, rate=2.0),
            u[:, :5],
            start,
            time_steps,
        ),
    }
    return {
        f"{name}/{part}": value
        for name, pair in whole.items()
        for part, value in zip(("y", "state"), pair, strict=True)
    }


def loop(step: Any, u: np.ndarray, state: Any, *steps: np.ndarray) -> tuple[Any, Any]:
    """Outputs (batch, length, ...) and last state of a step, one after the other."""
    y = []
    for k in range(u.shape[1]):
        y_k, state = step(u[:, k], state, *(each[:, k] for each in steps))
        y.append(numpy(y_k))
    return np.stack(y, axis=1), state


# Blocks.

BLOCK_LAYERS = {
    "gelu": "s5_zoh_forward",
    "dense": "dss_exp",
    "glu": "s4d_bilinear",
    "full_glu": "s5_bilinear",
    "half_glu1": "s5_no_conjugates",
    "half_glu2": "s4d_real",
}


def block(kind: str, gating: str, **options: Any) -> Any:
    options = {"norm": "layer", "prenorm": True, "residual": True, "use_mask": True, **options}
    # Three features may be nearly equal; a large epsilon keeps a norm from magnifying rounding.
    made = SSMBlock(layer(kind), gating=gating, name="block_0", norm_epsilon=0.05, **options)
    made.build((None, None, FEATURES))
    return made


def block_cases() -> dict[str, Case]:
    cases = {
        f"block_{gating}_{'prenorm' if prenorm else 'postnorm'}": Case(
            lambda gating=gating, kind=kind, prenorm=prenorm: block(kind, gating, prenorm=prenorm),
            layer_inputs,
            run_block,
        )
        for gating, kind in BLOCK_LAYERS.items()
        for prenorm in (True, False)
    }
    for prenorm in (True, False):
        cases[f"block_batch_norm_{'prenorm' if prenorm else 'postnorm'}"] = Case(
            lambda prenorm=prenorm: block(
                "s5_bilinear", "half_glu1", norm="batch", prenorm=prenorm, norm_momentum=0.95
            ),
            layer_inputs,
            run_batch_norm,
        )
    cases["block_without_mask"] = Case(
        lambda: block("s4d_zoh", "glu", norm=None, residual=False, use_mask=False),
        layer_inputs,
        run_block,
    )
    return cases


def run_block(model: Any, inputs: dict[str, np.ndarray]) -> dict[str, Any]:
    u, mask = ops.convert_to_tensor(inputs["u"]), inputs["mask"]
    outputs = {"y": model(u), "short/y": model(inputs["short"]), "mask/y": model(u, mask=mask)}
    if model.ssm.bidirectional:
        return outputs
    start = model.get_initial_state(BATCH)
    y, state = model.advance(u, start, mask)
    y_steps, state_steps = loop(model.step, u[:, :5], start)
    return {
        **outputs,
        "advance/y": y,
        "advance/state": state,
        "steps/y": y_steps,
        "steps/state": state_steps,
    }


def run_batch_norm(model: Any, inputs: dict[str, np.ndarray]) -> dict[str, Any]:
    outputs = {f"inference/{name}": value for name, value in run_block(model, inputs).items()}
    outputs["training/y"] = model(inputs["u"], training=True)
    outputs["training/mask/y"] = model(inputs["u"], mask=inputs["mask"], training=True)
    moving = {path: w for path, w in weights(model).items() if "moving" in path}
    return {**outputs, **{f"training/{path}": numpy(w) for path, w in moving.items()}}


# Models.

SIZES = {"depth": 1, "width": 4, "state_size": 8, **STEPS}
FEATURES_IN, TOKENS_IN = (None, FEATURES), (None,)


def classifiers() -> dict[str, Callable[[], Any]]:
    def model(layer: str, input_shape: tuple[int | None, ...], **options: Any) -> Any:
        return lambda: models.classifier(CLASSES, input_shape, layer, **{**SIZES, **options})

    tokens = {"vocabulary_size": TOKENS}
    return {
        "dss_plain": model("dss", FEATURES_IN, pooling="mean", final_norm=True, kernel="softmax"),
        "dss_masked": model(
            "dss", TOKENS_IN, **tokens, masked=True, pooling="mean", kernel="exp"
        ),
        "dss_mask_pooling": model(
            "dss", FEATURES_IN, masked="pooling", pooling="last", bidirectional=True, kernel="exp"
        ),
        "s4d_plain": model("s4d", TOKENS_IN, **tokens, pooling=None, block={"prenorm": False}),
        "s4d_masked": model(
            "s4d", FEATURES_IN, masked=True, pooling="all_mean", block={"norm": "batch"},
            final_norm=True,
        ),
        "s4d_mask_pooling": model(
            "s4d", TOKENS_IN, **tokens, masked="pooling", pooling="mean", block={"norm": "batch"},
            final_norm=True, bidirectional=True,
        ),
        "s5_plain": model(
            "s5", FEATURES_IN, depth=2, pooling="last", block={"gating": "full_glu"}, blocks=2
        ),
        "s5_masked": model(
            "s5", TOKENS_IN, **tokens, one_hot=True, masked=True, pooling="mean",
            final_norm=True, bidirectional=True,
        ),
        "s5_mask_pooling": model(
            "s5", TOKENS_IN, **tokens, one_hot=True, masked="pooling", pooling="mean",
            block={"norm": "batch", "prenorm": False, "gating": "half_glu2"},
        ),
    }  # fmt: skip


def retrievals() -> dict[str, Callable[[], Any]]:
    options = {**SIZES, "vocabulary_size": TOKENS, "masked": True, "pooling": "mean"}
    return {
        "s5": lambda: models.retrieval(2, (2, None), "s5", **options, one_hot=True),
        "s4d": lambda: models.retrieval(2, (2, None), "s4d", **options, final_norm=True),
    }


def backbone(layer: str) -> Any:
    from keras_ssm import hub

    return hub.SSMBackbone(
        TOKENS, layer=layer, depth=1, width=4, state_size=8, ssm_options=dict(STEPS)
    )


def language_model(layer: str) -> Any:
    from keras_ssm import hub

    return hub.SSMCausalLM(backbone(layer))


def streamed(kind: str) -> Any:
    """A model of one layer, one block and a running mean, which streams."""
    inputs = keras.Input((None, FEATURES))
    x = layer(kind)(keras.layers.Dense(FEATURES, name="encoder")(inputs))
    x = block(kind, "glu")(x)
    return keras.Model(inputs, keras.layers.Dense(CLASSES, name="head")(x))


def model_cases() -> dict[str, Case]:
    cases = {
        f"classifier_{name}": Case(build, model_inputs, run_model)
        for name, build in classifiers().items()
    }
    for name, build in retrievals().items():
        cases[f"retrieval_{name}"] = Case(build, model_inputs, run_model)
    for name in ("dss", "s4d", "s5"):
        cases[f"hub_{name}_backbone"] = Case(
            lambda name=name: backbone(name), hub_inputs, run_backbone, hub=True
        )
        cases[f"hub_{name}_causal_lm"] = Case(
            lambda name=name: language_model(name), hub_inputs, run_language_model, hub=True
        )
    for kind in ("dss_softmax_length", "dss_clip", "s4d_bilinear", "s5_zoh_forward"):
        cases[f"streaming_{kind}"] = Case(
            lambda kind=kind: streamed(kind), model_inputs, run_streaming
        )
    cases["streaming_pooled"] = Case(
        lambda: models.classifier(
            CLASSES,
            FEATURES_IN,
            "s4d",
            **SIZES,
            pooling="mean",
            block={"norm": "batch"},
            final_norm=True,
        ),
        model_inputs,
        run_streaming,
    )
    return cases


def model_inputs(model: Any, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Sequences or tokens (or pairs of documents) of two lengths, padded with 0."""
    shape, dtype = model.inputs[0].shape, model.inputs[0].dtype
    size = (BATCH, *(LENGTH if n is None else n for n in shape[1:]))
    x = rng.standard_normal(size) if "float" in dtype else rng.integers(1, TOKENS, size)
    if shape[1] == 2:
        x[0, 1, LENGTH - 7 :] = x[1, 0, LENGTH - 12 :] = 0
    else:
        x[1, LENGTH - 9 :] = 0
    return {"x": x.astype(dtype)}


def run_model(model: Any, inputs: dict[str, np.ndarray]) -> dict[str, Any]:
    return {"y": model(inputs["x"], training=False)}


def hub_inputs(model: Any, rng: np.random.Generator) -> dict[str, np.ndarray]:
    mask = rng.random((BATCH, LENGTH)) < 0.7
    return {
        "token_ids": rng.integers(0, TOKENS, (BATCH, LENGTH)).astype("int32"),
        "padding_mask": mask.astype("int32"),
    }


def run_backbone(model: Any, inputs: dict[str, np.ndarray]) -> dict[str, Any]:
    return {"y": model(inputs, training=False)}


def run_language_model(model: Any, inputs: dict[str, np.ndarray]) -> dict[str, Any]:
    cache = model.prefill(inputs["token_ids"], ops.cast(inputs["padding_mask"], "bool"))
    logits, hidden, cache_after = model.call_with_cache(inputs["token_ids"][:, 0], cache)
    return {
        "logits": model(inputs, training=False),
        "cache": cache,
        "next/logits": logits,
        "next/hidden": hidden,
        "next/cache": cache_after,
    }


def run_streaming(model: Any, inputs: dict[str, np.ndarray]) -> dict[str, Any]:
    machine = models.streaming(model)
    machine.reset(BATCH)
    return {"y": np.stack([numpy(machine.step(inputs["x"][:, k])) for k in range(10)], axis=1)}


# Ten training steps.


def optimizer(variant: str) -> Any:
    """Large rates, so that ten steps move every weight and the loss with it."""
    return adamw(2e-2, 1e-2, weight_decay=0.05, variant=variant, step_learning_rate=5e-3)


def trained(kind: str) -> Any:
    """A layer inside a small model."""
    inputs = keras.Input((SHORT, FEATURES))
    x = layer(kind)(keras.layers.Dense(FEATURES, name="encoder")(inputs))
    x = keras.layers.GlobalAveragePooling1D(name="pooling")(x)
    return keras.Model(inputs, keras.layers.Dense(CLASSES, name="head")(x))


def training_cases() -> dict[str, Case]:
    cases = {
        f"training_layer_{kind}": Case(
            lambda kind=kind: trained(kind), training_inputs, training(variant), trains=True
        )
        for kind, (_, variant) in LAYERS.items()
    }
    for name in ("dss_plain", "s4d_mask_pooling", "s5_masked"):
        cases[f"training_classifier_{name}"] = Case(
            classifiers()[name], training_inputs, training("standard"), trains=True
        )
    cases["training_retrieval_s5"] = Case(
        retrievals()["s5"], training_inputs, training("standard"), trains=True
    )
    cases["training_hub_s5_causal_lm"] = Case(
        lambda: language_model("s5"),
        lambda model, rng: {
            **hub_inputs(model, rng),
            "labels": rng.integers(0, TOKENS, (BATCH, LENGTH)).astype("int32"),
        },
        training("standard"),
        trains=True,
        hub=True,
    )
    return cases


def training_inputs(model: Any, rng: np.random.Generator) -> dict[str, np.ndarray]:
    if model.inputs[0].shape[1] == SHORT:
        x = rng.standard_normal((BATCH, SHORT, FEATURES)).astype("float32")
    else:
        x = model_inputs(model, rng)["x"]
    labels = rng.integers(0, model.outputs[0].shape[-1], BATCH)
    return {"x": x, "labels": labels.astype("int32")}


def training(variant: str) -> Callable[[Any, dict[str, np.ndarray]], dict[str, Any]]:
    def run(model: Any, inputs: dict[str, np.ndarray]) -> dict[str, Any]:
        x = {name: value for name, value in inputs.items() if name != "labels"}
        x = x.get("x", x)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optimizer(variant), loss, run_eagerly=EAGER)
        losses = []
        for _ in range(10):
            # Of train_on_batch, the loss is a running mean: restarted for every batch.
            model.reset_metrics()
            losses.append(float(np.ravel(model.train_on_batch(x, inputs["labels"]))[0]))
        return {"losses": np.array(losses, "float32")}

    return run


# What all cases share.

EAGER = keras.backend.backend() != "jax"


def cases() -> dict[str, Case]:
    return {**layer_cases(), **block_cases(), **model_cases(), **training_cases()}


def numpy(x: Any) -> np.ndarray:
    return np.array(ops.convert_to_numpy(ops.stop_gradient(ops.convert_to_tensor(x))))


def weights(model: Any) -> dict[str, Any]:
    """The weights by path; whatever a layer is called, a state space layer is "ssm"."""
    found = {}
    for weight in model.weights:
        parts = ["ssm" if part in ("dss", "s4d", "s5") else part for part in weight.path.split("/")]
        assert "/".join(parts) not in found, f"two weights have the path {weight.path}"
        found["/".join(parts)] = weight
    return found


def assign(model: Any, values: dict[str, np.ndarray]) -> None:
    """Give a model its recorded weights by path."""
    own = weights(model)
    assert own.keys() == values.keys(), (
        f"weights missing in the record: {sorted(own.keys() - values.keys())}, "
        f"in the model: {sorted(values.keys() - own.keys())}"
    )
    for path, weight in own.items():
        assert tuple(weight.shape) == values[path].shape, (path, weight.shape, values[path].shape)
        weight.assign(values[path])


def random_weights(model: Any, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Initial values, moved away from zero and from each other."""
    values = {}
    for path, weight in weights(model).items():
        name = path.split("/")[-1]
        value = numpy(weight) + 0.2 * rng.standard_normal(weight.shape)
        if name == "moving_variance":
            value = np.abs(value) + 0.1
        elif name == "embeddings":
            value = 0.5 * rng.standard_normal(weight.shape)
        elif name == "Lambda_re":
            value = numpy(weight) + 0.1 * rng.uniform(-1, 1, weight.shape)
        values[path] = value.astype("float32")
    return values


def record(name: str, case: Case) -> None:
    seed = zlib.crc32(name.encode())
    rng = np.random.default_rng(seed)
    keras.utils.set_random_seed(seed)
    model = case.build()
    values = random_weights(model, rng)
    if any(kind in name for kind in GROWING):
        for path, value in values.items():
            if path.endswith("Lambda_re"):
                value[1:3] = [0.2, 0.35]
    assign(model, values)
    inputs = case.inputs(model, rng)
    outputs = {key: numpy(value) for key, value in case.run(model, inputs).items()}
    for key, value in outputs.items():
        assert np.all(np.isfinite(value)), (name, key)
    arrays = {"weights": values, "inputs": inputs, "outputs": outputs}
    np.savez_compressed(
        FOLDER / f"{name}.npz",
        **{f"{kind}/{key}": value for kind, part in arrays.items() for key, value in part.items()},
    )


def read(name: str) -> dict[str, dict[str, np.ndarray]]:
    """The `weights`, `inputs` and `outputs` of a recorded case."""
    found: dict[str, dict[str, np.ndarray]] = {"weights": {}, "inputs": {}, "outputs": {}}
    with np.load(FOLDER / f"{name}.npz") as arrays:
        for key in arrays.files:
            kind, path = key.split("/", 1)
            found[kind][path] = arrays[key]
    return found


if __name__ == "__main__":
    assert keras.backend.backend() == "jax", "the numbers are those of JAX"
    FOLDER.mkdir(exist_ok=True)
    for name, case in cases().items():
        if name in sys.argv[1:] or not (sys.argv[1:] or (FOLDER / f"{name}.npz").exists()):
            record(name, case)
            print(name, flush=True)
