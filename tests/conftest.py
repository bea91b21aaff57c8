"""One test, one backend: every test carries the name of the backend its process runs.

Keras is imported by the tests, not here, so that a worker can be given its
backend by the environment. Tests marked `training` need gradients, which the
numpy backend does not have; tests marked `backend_free` read files or compute
with NumPy only: where several backends are tested at once, the lightest runs
them for all.
"""

import os

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


def pytest_collection_modifyitems(config, items):
    left_out = {"training"} if BACKEND == "numpy" else set()
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


@pytest.fixture
def step_by_step(backend):
    """TensorFlow without graphs: it would compile for minutes what is small here."""
    if backend != "tensorflow":
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
