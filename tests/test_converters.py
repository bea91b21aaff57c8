"""What the converters take and refuse; that they are exact is shown on every golden fixture."""

import importlib

import keras
import numpy as np
import pytest
from golden_cases import Case, names
from keras import ops

from keras_ssm import converters
from keras_ssm.converters.rules import FAMILIES
from keras_ssm.layers import DSS, LRU, S4D, S5, SSMBlock


def built(layer):
    layer.build((None, None, 3))
    return layer


def values(layer):
    return [ops.convert_to_numpy(w) for w in layer.weights]


def assert_same(before, layer):
    for old, new in zip(before, values(layer), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.pop("D"), r"5 arrays; 1 missing: 'D' \(for .*D\)\. Nothing was loaded"),
        (lambda p: p.update(P=np.ones(3)), r"7 arrays; 1 unknown: 'P'\. Nothing"),
        (
            lambda p: p.update(D=np.ones(4)),
            r"1 of another shape: 'D' \(for .*D\) expected \(3,\), received \(4,\)",
        ),
        (
            lambda p: p.update(B=p["B"].transpose(1, 0, 2)),
            r"'B' \(for .*B\) expected \(4, 3, 2\), received \(3, 4, 2\)",
        ),
        (
            lambda p: (p.pop("D"), p.update(P=1.0, B=np.ones(3))),
            "1 missing: 'D' .*1 of another shape: 'B' .*1 unknown: 'P'",
        ),
        (lambda p: p.clear(), "Received: 0 arrays; 6 missing: 'Lambda_re' .* and 2 more"),
        (lambda p: p.update(D=np.array(["a", "b", "c"])), "'D' of dtype <U1"),
        (lambda p: p.update(D=np.ones(3, complex)), "'D' of dtype complex128"),
        (lambda p: p.update({"params": {"D": np.ones(3)}}), "every name once.*'D' twice"),
    ],
)
def test_what_does_not_fit_changes_nothing_and_is_named(change, message):
    layer = built(S5(8, name="mine"))
    before, parameters = values(layer), converters.export_official(built(S5(8)))
    change(parameters)
    with pytest.raises(ValueError, match=message):
        converters.load_official(layer, parameters)
    assert_same(before, layer)


def test_the_error_names_the_layer_and_the_official_module():
    with pytest.raises(ValueError, match="'mine' takes the 6 arrays of the official S5SSM"):
        converters.load_official(built(S5(8, name="mine")), {})


def test_the_low_rank_term_of_s4_is_refused():
    parameters = converters.export_official(built(S4D(8)))
    parameters["kernel.P"] = np.zeros((1, 3, 4, 2))
    with pytest.raises(ValueError, match=r"1 unknown: 'kernel.P'"):
        converters.load_official(built(S4D(8)), parameters)


def test_a_layer_the_minimal_s4d_cannot_express_is_refused():
    layer = built(S4D(8))
    layer.B.assign(2 * ops.convert_to_numpy(layer.B))
    for target, message in (
        (layer, "has B = 1"),
        (built(S4D(8, n_ssm=1)), "n_ssm=1, features=3"),
        (built(S4D(8, discretization="bilinear")), "discretization='zoh'.*'bilinear'"),
        (built(S4D(8, parametrization={"step": "softplus"})), "parametrization=.*'softplus'"),
        (built(SSMBlock(S4D(8), "dense")), "minimal S4D has gating='glu'.*'dense'"),
        (built(S5(8)), "`minimal` is a form of S4D"),
    ):
        with pytest.raises(ValueError, match=message):
            converters.export_official(target, minimal=True)


@pytest.mark.parametrize("minimal", [None, True])
def test_loading_the_minimal_s4d_sets_its_input_matrix_to_one(minimal):
    layer = built(S4D(8, B_initializer="complex_normal"))
    source = built(S4D(8))
    converters.load_official(layer, converters.export_official(source, minimal=True), minimal)
    np.testing.assert_array_equal(ops.convert_to_numpy(layer.B)[..., 0], 1)
    np.testing.assert_array_equal(ops.convert_to_numpy(layer.B)[..., 1], 0)
    np.testing.assert_array_equal(*(ops.convert_to_numpy(z.C) for z in (layer, source)))


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (lambda: SSMBlock(DSS(8), gating="gelu"), "DSS has gating='dense' or 'glu'.*'gelu'"),
        (lambda: SSMBlock(DSS(8), gating="exact_gelu"), "DSS has gating='dense' or 'glu'"),
        (lambda: SSMBlock(S4D(8), gating="gelu"), "S4Block has gating='glu' or 'dense' or 'ex"),
        (lambda: SSMBlock(S5(8), gating="glu"), "SequenceLayer has gating='gelu' or 'full_glu'"),
        (lambda: SSMBlock(S5(8), norm=None), "SequenceLayer has norm='layer' or 'batch'.*=None"),
        (lambda: SSMBlock(S5(8), residual=False), "SequenceLayer has residual=True"),
        (lambda: LRU(8), "must be a layer DSS, S4, S4D, S5.*target=<LRU"),
        (lambda: SSMBlock(LRU(8)), "must be a layer DSS, S4, S4D, S5.*target=<LRU"),
    ],
)
def test_what_no_official_module_computes_is_refused(block, message):
    with pytest.raises(ValueError, match=message):
        converters.export_official(built(block()))


def test_targets_that_are_no_layer_or_not_built_are_refused():
    with pytest.raises(ValueError, match=r"must be a layer DSS, S4, S4D, S5.*target='s5'"):
        converters.export_official("s5")
    with pytest.raises(ValueError, match=r"must be built. Received: 'mine'"):
        converters.load_official(S5(8, name="mine"), {"D": np.ones(3)})
    with pytest.raises(ValueError, match=r"mapping from official names.*Received: str"):
        converters.load_official(built(S5(8)), "checkpoint.pt")
    with pytest.raises(ValueError, match=r"A layer has one layout, None.*'example'"):
        converters.export_official(built(S5(8)), layout="example")
    with pytest.raises(ValueError, match=r"`layout` of this block.*'example'"):
        converters.export_official(built(SSMBlock(S4D(8))), layout="example")


def test_weights_that_are_not_plain_are_refused():
    block = built(SSMBlock(S4D(8)))
    parameters = converters.export_official(block)
    block.gate.out1.enable_lora(2)
    for convert in (
        converters.export_official,
        lambda block: converters.load_official(block, parameters),
    ):
        with pytest.raises(ValueError, match="quantized layers and layers with LoRA"):
            convert(block)


def test_weights_without_an_official_counterpart_are_refused():
    class Doubled(S5):
        def build(self, input_shape):
            super().build(input_shape)
            self.extra = self.add_parameter("extra", (3,), "ones")

    with pytest.raises(ValueError, match=r"S5SSM has no counterpart of .*extra"):
        converters.export_official(built(Doubled(8)))


def test_a_stateful_layer_converts_and_keeps_its_state():
    layer = S5(8, stateful=True)
    layer.build((2, None, 3))
    parameters = converters.export_official(layer)
    assert set(parameters) == {"Lambda_re", "Lambda_im", "log_step", "B", "C", "D"}
    converters.load_official(layer, parameters)


BLOCKS = {
    "S4Block without final activation": lambda: SSMBlock(S4D(8), gating="exact_gelu"),
    "S4Block": lambda: SSMBlock(S4D(8), norm="batch"),
    "S4Block without norm": lambda: SSMBlock(S4D(8), norm=None),
    "DSS": lambda: SSMBlock(DSS(4), norm="layer"),
    "DSS without norm": lambda: SSMBlock(DSS(4), norm=None),
    "S5": lambda: SSMBlock(S5(8), norm="batch"),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_comes_back_bit_for_bit(name):
    source, target = built(BLOCKS[name]()), built(BLOCKS[name]())
    rng = np.random.default_rng(0)
    for weight in source.weights:
        weight.assign(rng.uniform(0.1, 1, weight.shape).astype("float32"))
    layouts = [None] if name == "S5" else [None, "sequence"]
    for layout in layouts:
        kept = [] if target.norm is None else values(target.norm_layer)
        parameters = converters.export_official(source, layout=layout)
        converters.load_official(target, parameters)
        again = converters.export_official(target, layout=layout)
        assert set(again) == set(parameters)
        for key, value in parameters.items():
            np.testing.assert_array_equal(again[key], value, err_msg=key)
        if layout is None and name != "S5" and kept:
            assert_same(kept, target.norm_layer)  # the official module has none
    for a, b in zip(source.weights, target.weights, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(a), ops.convert_to_numpy(b), a.path)


def test_a_block_without_final_activation_has_the_names_of_its_convolution_alone():
    parameters = converters.export_official(built(BLOCKS["S4Block without final activation"]()))
    kernel = {f"layer.kernel.{name}" for name in ("inv_dt", "B", "C", "A_real", "A_imag")}
    assert set(parameters) == {*kernel, "layer.D"}


def test_batches_that_torch_counts_are_taken_and_left():
    block = built(BLOCKS["S4Block"]())
    parameters = converters.export_official(block, layout="sequence")
    counted = {**parameters, "norm.norm.num_batches_tracked": np.array(7)}
    converters.load_official(block, counted)


@pytest.mark.parametrize("prefix", ["module.", "model._orig_mod."])
def test_what_all_names_begin_with_is_dropped(prefix):
    source, target = built(S4D(8)), built(S4D(8))
    parameters = {prefix + k: v for k, v in converters.export_official(source).items()}
    converters.load_official(target, parameters)
    assert_same(values(source), target)


def test_flax_collections_nested_dotted_and_of_a_training_state_are_taken():
    source = built(BLOCKS["S5"]())
    source.norm_layer.moving_mean.assign(np.arange(3.0))
    dotted = converters.export_official(source)
    assert "batch_stats.norm.mean" in dotted
    nested = converters.flax_variables(dotted)
    assert set(nested) == {"params", "batch_stats"}
    state = {**nested, "step": np.array(3), "opt_state": {"0": {"mu": np.ones(2)}}}
    below = {k: {"model": v} for k, v in nested.items()}
    for variables in (dotted, nested, state, below, {**nested["params"], **dotted}):
        if variables.keys() & {"seq"}:
            with pytest.raises(ValueError, match="every name once"):
                converters.load_official(built(BLOCKS["S5"]()), variables)
            continue
        target = built(BLOCKS["S5"]())
        converters.load_official(target, variables)
        assert_same(values(source), target)


NOT_THERE = "the package that makes these tensors or files is not installed"


def torch_parameter(array, dtype):
    torch = pytest.importorskip("torch", reason=NOT_THERE)
    return torch.nn.Parameter(torch.tensor(array).to(getattr(torch, dtype)))


TENSORS = {
    "torch": torch_parameter,
    "jax": lambda array, dtype: pytest.importorskip("jax.numpy", reason=NOT_THERE).asarray(
        array, dtype
    ),
    "ml_dtypes": lambda array, dtype: array.astype(
        getattr(pytest.importorskip("ml_dtypes", reason=NOT_THERE), dtype, dtype)
    ),
}


@pytest.mark.parametrize("kind", TENSORS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_tensors_of_frameworks_are_taken(kind, dtype):
    source = built(S4D(8))
    for weight in source.weights:  # numbers that bfloat16 holds
        weight.assign(np.arange(np.prod(weight.shape)).reshape(weight.shape) / 8)
    parameters = converters.export_official(source)
    target = built(S4D(8))
    tensors = {k: TENSORS[kind](v, dtype) for k, v in parameters.items()}
    converters.load_official(target, tensors)
    assert_same(values(source), target)


def saved_torch(path, arrays):
    torch = importlib.import_module("torch")
    state = {f"net.{k}": torch.tensor(v) for k, v in arrays.items()}
    torch.save({"state_dict": state, "epoch": 3, "optimizer_states": [{"a": 1}]}, path)


def saved_safetensors(path, arrays):
    importlib.import_module("safetensors.numpy").save_file(arrays, path)


def saved_msgpack(path, arrays):
    """As `flax.serialization.to_bytes` of a training state."""
    msgpack = importlib.import_module("msgpack")

    def extension(array):
        packed = msgpack.packb((array.shape, array.dtype.name, array.tobytes()), use_bin_type=True)
        return msgpack.ExtType(1, packed)

    state = {"step": 3, "opt_state": {}, "params": arrays}
    with open(path, "wb") as file:
        file.write(msgpack.packb(state, default=extension, strict_types=True))


WRITERS = {
    "model.ckpt": ("torch", saved_torch),
    "model.safetensors": ("safetensors", saved_safetensors),
    "model.msgpack": ("msgpack", saved_msgpack),
    "model.npz": ("numpy", lambda path, arrays: np.savez(path, **arrays)),
}


@pytest.mark.parametrize("name", WRITERS)
def test_checkpoint_files_of_every_format_are_read(name, tmp_path):
    package, write = WRITERS[name]
    pytest.importorskip(package, reason=NOT_THERE)
    source, target = built(S5(8)), built(S5(8))
    write(tmp_path / name, converters.export_official(source))
    converters.load_official(target, converters.read_checkpoint(tmp_path / name))
    assert_same(values(source), target)


@pytest.mark.backend_free
def test_bfloat16_in_files_is_read(tmp_path):
    torch = pytest.importorskip("torch", reason=NOT_THERE)
    save_file = pytest.importorskip("safetensors.torch", reason=NOT_THERE).save_file
    numbers = torch.tensor([[1.5, -2.0, 3.0]], dtype=torch.bfloat16)
    save_file({"D": numbers}, tmp_path / "a.safetensors")
    torch.save({"D": numbers}, tmp_path / "a.pt")
    for name in ("a.safetensors", "a.pt"):
        found = converters.read_checkpoint(tmp_path / name)["D"]
        np.testing.assert_array_equal(found, np.array([[1.5, -2, 3]], "float32"))


class Harmful:
    def __reduce__(self):
        return print, ("code of a checkpoint ran",)


@pytest.mark.backend_free
def test_no_code_of_a_file_runs(tmp_path, capsys):
    torch = pytest.importorskip("torch", reason=NOT_THERE)
    torch.save({"D": torch.ones(3), "config": Harmful()}, tmp_path / "a.ckpt")
    np.savez(tmp_path / "a.npz", D=np.array([Harmful()], dtype=object))
    with pytest.raises(ValueError, match="tensors, numbers and strings alone"):
        converters.read_checkpoint(tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match="archive of plain arrays"):
        converters.read_checkpoint(tmp_path / "a.npz")
    assert "ran" not in capsys.readouterr().out


@pytest.mark.backend_free
@pytest.mark.parametrize("name", [*WRITERS, "model.pth"])
def test_files_that_are_not_of_their_format_are_refused(name, tmp_path):
    pytest.importorskip(WRITERS.get(name, ("torch",))[0], reason=NOT_THERE)
    for content in (b"", b"neither", bytes(range(256)) * 8):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match="Received: "):
            converters.read_checkpoint(tmp_path / name)


@pytest.mark.backend_free
def test_paths_and_packages_that_are_not_there_are_named(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"must end in one of.*'\.npz'.*model\.h5"):
        converters.read_checkpoint(tmp_path / "model.h5")
    with pytest.raises(ValueError, match="no checkpoint file at this path"):
        converters.read_checkpoint(tmp_path / "model.npz")
    monkeypatch.setitem(__import__("sys").modules, "msgpack", None)
    (tmp_path / "model.msgpack").write_bytes(b"")
    with pytest.raises(ValueError, match="needs the package 'msgpack': `pip install msgpack`"):
        converters.read_checkpoint(tmp_path / "model.msgpack")


def test_a_family_is_what_a_class_and_its_subclasses_convert_by():
    class Mine(S4D):
        pass

    assert {S4D, DSS, S5} <= set(FAMILIES)
    assert set(converters.export_official(built(Mine(8)))) == set(
        converters.export_official(built(S4D(8)))
    )


# Options.


def test_official_names_of_initial_values_become_ours_or_are_left_to_the_parameters():
    assert converters.layer_options("s4d", {"init": "diag-lin"}) == {"initialization": "lin"}
    assert converters.layer_options("s4d", {"init": "fout"}) == {"initialization": "fourier"}
    assert converters.layer_options("s4d", {"init": "foud"}) == {}
    both = {"init": ["legs", "diag-inverse"]}
    assert converters.layer_options("s4d", both) == {"initialization": ["legs", "inv"]}
    assert converters.layer_options("dss", {"Lambda_init": "randn"}) == {"initialization": "random"}
    for family, option in (("s4d", {"init": "diag-lni"}), ("dss", {"Lambda_init": "legs"})):
        with pytest.raises(ValueError, match="Initial eigenvalues of the official"):
            converters.layer_options(family, option)


@pytest.mark.parametrize("family", ["dss", "s4d", "s5"])
@pytest.mark.parametrize(
    "name", ["activation", "epsilon", "mode", "dics", "N", "L", "notes", "prenorm", "", "D_state"]
)
def test_names_that_are_not_of_the_layer_are_refused(family, name):
    for value in (None, False, 1e-6, "gelu"):
        with pytest.raises(ValueError, match=f"Received: {name}="):
            converters.layer_options(family, {name: value})


def test_what_leaves_the_function_alone_is_ignored():
    ignored = {"d_model": 8, "lr": 0.001, "transposed": False, "verbose": True}
    assert converters.layer_options("dss", {**ignored, "l_max": 1, "hyper_act": None}) == {}
    assert converters.layer_options("s4d", {**ignored, "B_scale": 2.0, "dt_fast": False}) == {}
    assert converters.layer_options("s5", {"H": 8, "V": np.eye(2)}) == {}
    with pytest.raises(ValueError, match=r"\['dss', 's4d', 's5', 's4'\].*family='s6'"):
        converters.layer_options("s6", {})


@pytest.mark.parametrize(("family", "name"), [("s4d", "l_max"), ("dss", "max_kernel_length")])
def test_a_kernel_length_is_taken_where_it_cuts_nothing(family, name):
    for value, length in ((None, None), (0, 100), (100, 100), (128, 100)):
        assert converters.layer_options(family, {name: value}, length=length) == {}
    for value, length in ((99, 100), (100, None), (-1, 100), (1e9, 100), (True, 1), ("9", 1)):
        with pytest.raises(ValueError, match=f"'{name}' is left out.*{name}={value!r}, length"):
            converters.layer_options(family, {name: value}, length=length)


def test_the_options_of_the_records_are_official_arguments():
    """Every name in the fixtures is one that the official constructor takes."""
    seen = {key for name in names() for key in Case(name).official_arguments()}
    assert {"d_state", "ssm_size", "l_max", "B_scale", "hyper_act"} <= seen
    assert not seen & {"N", "J", "H", "L", "B", "mode", "activation"}


def test_keras_saves_a_converted_block(tmp_path):
    """Weights that were assigned are the weights that are saved."""
    source, target = built(BLOCKS["S5"]()), built(BLOCKS["S5"]())
    converters.load_official(target, converters.export_official(source))
    inputs = keras.Input((None, 3))
    model = keras.Model(inputs, target(inputs))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for a, b in zip(loaded.weights, model.weights, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(a), ops.convert_to_numpy(b))
