"""The example of text generation, at a tiny size."""

import importlib.util
import pathlib

import numpy as np
import pytest
from hub_models import BACKEND

ROOT = pathlib.Path(__file__).parents[1]
if BACKEND != "torch":  # the only one that compiles nothing
    pytest.skip("one program; other tests cover the backends", allow_module_level=True)
pytest.importorskip("matplotlib", reason="the extra `plot` is not installed")


@pytest.fixture(scope="module")
def example():
    path = ROOT / "examples" / "text_generation.py"
    spec = importlib.util.spec_from_file_location("text_generation", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_runs_and_its_cache_stays_while_the_transformer_s_grows(example, tmp_path):
    options = [
        "--steps",
        "4",
        "--batch",
        "4",
        "--window",
        "16",
        "--depth",
        "1",
        "--width",
        "16",
        "--lengths",
        "8",
        "16",
    ]
    plot = tmp_path / "plot.png"
    text = str(ROOT / "LICENSE")
    bits, _, results = example.main(
        [*options, "--lengths", "8", "16", "--text", text, "--plot", str(plot)]
    )
    assert bits < 8.1  # no worse than a uniform guess
    s5, transformer = ([size for _, _, size in results[name]] for name in ("S5", "Transformer"))
    assert s5 == [16 * 4] * 2
    assert transformer[1] == 2 * transformer[0]
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_the_n_gram_equals_its_definition(example):
    rng = np.random.default_rng(0)
    train, test = (rng.integers(97, 100, n).astype("uint8") for n in (200, 40))
    test[5] = 120  # a byte that the training never saw

    def probability(context, byte):
        shorter = probability(context[1:], byte) if context else 1 / 256
        places = range(3, len(train))
        followers = [int(train[i]) for i in places if bytes(train[i - len(context) : i]) == context]
        if not followers:
            return shorter
        kinds = len(set(followers))
        return (followers.count(byte) + kinds * shorter) / (len(followers) + kinds)

    logs = [np.log2(probability(bytes(test[i - 3 : i]), int(test[i]))) for i in range(3, 40)]
    assert example.ngram_bits(train, test) == pytest.approx(-np.mean(logs), rel=1e-12)
