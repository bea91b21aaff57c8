"""No layer costs more operations, bytes or memory than is on file: see `costs.py`."""

import keras
import pytest
from costs import LAYERS, costs, stored, version

# Operations are counted before anything is compiled, and are the same everywhere; what a compiler
# makes of them may depend a little on the processor.
ROOM = {"operations": 1.0, "flops": 1.02, "bytes": 1.02, "temporaries": 1.02, "kept": 1.02}


@pytest.mark.training
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_costs_no_more_than_is_on_file(name):
    expected = stored()
    if version() != expected["version"]:
        pytest.skip(f"counted by {keras.backend.backend()} {expected['version']}")
    found, ceilings = costs(name), expected["layers"][name]
    assert set(found) == set(ceilings)
    above = {
        kind: (n, ceilings[kind]) for kind, n in found.items() if n > ROOM[kind] * ceilings[kind]
    }
    assert not above, "run `python tests/costs.py` if it is meant to"
