"""One test, one backend: every test carries the name of the backend its process runs.

Keras is imported by the tests, not here, so that a worker can be given its
backend by the environment. Tests marked `training` need gradients, which the
numpy backend does not have; tests marked `backend_free` read files or compute
with NumPy only: where several backends are tested at once, the lightest runs
them for all. Tests marked `artefact` wait for converters, minutes in all: they
are run by `make test-export`, which sets KERAS_SSM_ARTEFACTS.
"""

import gc
import os
import sys

import pytest

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Small tensors gain nothing from threads, and the backends are tested side by side.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Compiling is the cost of these tests, and what it optimises is not what they are about.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true "
    "--xla_cpu_use_fusion_emitters=false",
)
BACKEND = os.environ["KERAS_BACKEND"]


def pytest_configure(config):
    config.addinivalue_line("markers", "training: needs gradients; not run on the numpy backend")
    config.addinivalue_line("markers", "backend_free: uses no backend; run on the numpy backend")
    config.addinivalue_line("markers", "many_steps: trains for long; see `step_by_step`")
    config.addinivalue_line("markers", "artefact: writes files for other runtimes; see below")


def pytest_collection_modifyitems(config, items):
    left_out = {"training"} if BACKEND == "numpy" else set()
    if not os.environ.get("KERAS_SSM_ARTEFACTS"):
        left_out.add("artefact")
    if BACKEND != "numpy" and hasattr(config, "workerinput"):
        left_out.add("backend_free")
    deselected = [item for item in items if left_out & {mark.name for mark in item.iter_markers()}]
    config.hook.pytest_deselected(items=deselected)
    items[:] = [item for item in items if item not in deselected]


@pytest.fixture(autouse=True, params=[BACKEND])
def backend(request):
    """Name of the running backend, in the id of every test; a fixed seed for each."""
    import keras

    keras.utils.set_random_seed(0)
    return request.param


@pytest.fixture(autouse=True, scope="session")
def shapes_without_warnings():
    """On NumPy, Keras infers shapes by a call with memory as it is, which may hold any number."""
    if BACKEND != "numpy":
        yield
        return
    import numpy as np
    from keras.src import backend

    inferred = backend.compute_output_spec

    def quiet(*args, **kwargs):
        with np.errstate(all="ignore"):
            return inferred(*args, **kwargs)

    backend.compute_output_spec = quiet
    yield
    backend.compute_output_spec = inferred


@pytest.fixture(autouse=True, scope="module")
def forgotten_programs():
    """JAX keeps every compiled program, in memory maps of which a process may have 65,530."""
    yield
    if BACKEND == "jax" and "jax" in sys.modules:
        sys.modules["jax"].clear_caches()
        gc.collect()


@pytest.fixture
def step_by_step(backend, request):
    """TensorFlow without graphs: it would compile for minutes what is small here.

    Not for tests marked `many_steps`, which take longer than compiling.
    """
    if backend != "tensorflow" or request.node.get_closest_marker("many_steps"):
        yield
        return
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def float32_afterwards():
    """For tests that set a dtype policy for everything."""
    import keras

    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture
def full_disk():
    """A context in which no file can grow beyond `room` bytes, as on a disk that is full."""
    resource = pytest.importorskip("resource", reason="no limits on this system")

    class FullDisk:
        room = 1 << 18

        def __enter__(self):
            self.limits = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.room, self.limits[1]))

        def __exit__(self, *error):
            resource.setrlimit(resource.RLIMIT_FSIZE, self.limits)

    return FullDisk()
