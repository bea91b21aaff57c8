"""How `Channelwise` and `LowRank` compute a whole sequence, and what `method="auto"` takes.

- `"fft"`: a convolution through the FFT, with a kernel as long as the sequence.
- `"chunk"`: matrix products over chunks of time, see `keras_ssm.ops.chunks`. It
  needs no FFT, which not every device and export format has.

Both give the same numbers. On CPUs the FFT takes less than half the time on
every backend (`benchmarks/layers.py`, cases `s4d` and `s4d-chunk`); for a TPU v5e
the compiler counts half of the memory traffic (`benchmarks/tpu_compile.py`). GPUs
have not been measured; there `"auto"` takes what all official implementations
take, and where a model is exported to a format without an FFT, what needs none.
"""

from keras_ssm.ops.exporting import is_symbol, restricted
from keras_ssm.types import Tensor

METHODS = ("fft", "chunk")
# The FFT wherever both were measured, so that there is no table by backend and device.
_FASTEST = "fft"


def resolve(method: str, length: Tensor) -> str:
    """`method`, or what is fastest here for `"auto"`."""
    if restricted() or is_symbol(length):
        return "chunk"
    return _FASTEST if method == "auto" else method
