"""Text generation: the recurrence with its cache against full forward passes."""

import itertools

import keras
import keras_hub
import numpy as np
import pytest
from hub_models import (
    BACKEND,
    VOCABULARY,
    Digits,
    continued,
    digits,
    greedy,
    language_model,
    numpy,
    padded,
    run,
)
from keras import ops

LENGTH = 14
PROMPTS = [[1, 4, 2, 2, 5], [6], [2, 0, 3], [5, 5, 1, 0, 4, 2, 6, 3], [1, 2] * 7]
LAYERS = {"s5": 2, "s4d": 1, "dss": 1}  # and the depth


@pytest.fixture(scope="module")
def models():
    return {layer: language_model(layer, depth=depth) for layer, depth in LAYERS.items()}


@pytest.fixture(scope="module")
def forwards(models):
    """Full forward passes, compiled once."""
    return {layer: forward(model) for layer, model in models.items()}


def forward(model):
    call = run(model)
    return lambda inputs: numpy(
        call({name: ops.convert_to_tensor(x) for name, x in inputs.items()})
    )


def sampling(model, sampler, compiled=BACKEND != "tensorflow"):
    model.compile(sampler=sampler, run_eagerly=not compiled, jit_compile=False)
    return model


def generate(model, rows=PROMPTS, length=LENGTH, stop=None, side="right"):
    outputs = model.generate(padded(rows, length, side), stop_token_ids=stop)
    return numpy(outputs["token_ids"]), numpy(outputs["padding_mask"]).astype(bool)


# S4D runs through the same code as DSS.
@pytest.mark.parametrize(
    ("layer", "sampler", "choose"),
    [("s5", "greedy", greedy), ("s5", Digits(), digits), ("dss", "greedy", greedy)],
    ids=["s5-greedy", "s5-digits", "dss-greedy"],
)
def test_generation_equals_repeated_full_forward_passes(layer, sampler, choose, models, forwards):
    expected = continued(forwards[layer], PROMPTS, LENGTH, choose)
    model = sampling(models[layer], sampler)
    for side in ("right", "left"):
        tokens, mask = generate(model, side=side)
        np.testing.assert_array_equal(tokens, expected)
        assert mask.all()


def test_a_row_ends_at_its_first_stop_token_behind_the_prompt(models, forwards):
    expected = continued(forwards["s5"], PROMPTS, LENGTH, digits)
    # A token that the prompts hold too, which does not end them.
    stop = int(expected[0, len(PROMPTS[0]) + 2])
    assert any(stop in prompt for prompt in PROMPTS)
    tokens, mask = generate(sampling(models["s5"], Digits(), compiled=True), stop=[stop])
    for row, prompt in enumerate(PROMPTS):
        ends = [i for i in range(len(prompt), LENGTH) if expected[row, i] == stop]
        end = ends[0] + 1 if ends else LENGTH
        np.testing.assert_array_equal(mask[row], np.arange(LENGTH) < end)
        np.testing.assert_array_equal(tokens[row, :end], expected[row, :end])


def log_softmax(x):
    x = x.astype("float64") - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def test_a_beam_for_every_token_finds_the_most_probable_pair(models, forwards):
    prompt = PROMPTS[0]
    pairs = list(itertools.product(range(VOCABULARY), repeat=2))
    rows = padded([[*prompt, *pair] for pair in pairs], LENGTH)
    logp = log_softmax(forwards["s4d"](rows))
    n = len(prompt)
    scores = [logp[i, n - 1, a] + logp[i, n, b] for i, (a, b) in enumerate(pairs)]
    first, second = sorted(scores)[-1:-3:-1]
    assert first - second > 1e-3, "rounding could decide"
    beams = keras_hub.samplers.BeamSampler(num_beams=VOCABULARY)
    # A second prompt of another length, so that beams and rows could be mixed up.
    tokens, _ = generate(sampling(models["s4d"], beams), [prompt, [3, *prompt]], n + 2)
    assert tuple(tokens[0, n:]) == pairs[int(np.argmax(scores))]


@pytest.mark.parametrize(
    ("sampler", "share"),
    [
        (keras_hub.samplers.TopKSampler(k=2, seed=1), None),
        (keras_hub.samplers.TopPSampler(p=0.8, seed=1), 0.8),
    ],
    ids=["top_k", "top_p"],
)
def test_every_sampled_token_is_one_that_the_full_forward_pass_allows(
    sampler, share, models, forwards
):
    tokens, _ = generate(sampling(models["s4d"], sampler))
    logp = log_softmax(forwards["s4d"](padded(tokens.tolist(), LENGTH)))
    ranks = []
    for row, prompt in enumerate(PROMPTS):
        for i in range(len(prompt), LENGTH):
            better = np.exp(logp[row, i - 1][logp[row, i - 1] > logp[row, i - 1, tokens[row, i]]])
            ranks.append(len(better))
            assert len(better) < 2 if share is None else better.sum() < share
    assert max(ranks) > 0, "sampled, not greedy"


@pytest.mark.parametrize("layer", LAYERS)
def test_prefill_gives_the_state_of_stepping_through_the_prompts(layer, models):
    model = models[layer]
    inputs = padded([*PROMPTS, []], LENGTH, side="left")
    inputs = keras.tree.map_structure(ops.convert_to_tensor, inputs)
    cache = numpy(run(model.prefill)(inputs["token_ids"], inputs["padding_mask"]))
    assert cache.shape == (6, LAYERS[layer], model.backbone.blocks[0].state_width)
    step = run(lambda token, cache: model.call_with_cache(token, cache)[2])
    for row, prompt in enumerate(PROMPTS):
        state = ops.zeros((1, *cache.shape[1:]))
        for token in prompt:
            state = step(ops.convert_to_tensor([token], "int32"), state)
        np.testing.assert_allclose(cache[row], numpy(state)[0], rtol=1e-4, atol=1e-5)
    assert not cache[5].any(), "nothing read, nothing in the state"


@pytest.mark.parametrize("layer", LAYERS)
def test_padding_on_either_side_changes_no_output(layer, forwards):
    right = forwards[layer](padded(PROMPTS, LENGTH))
    left = forwards[layer](padded(PROMPTS, LENGTH, side="left"))
    for row, prompt in enumerate(PROMPTS):
        n = len(prompt)
        np.testing.assert_allclose(right[row, :n], left[row, LENGTH - n :], rtol=1e-4, atol=1e-4)
    alone = forwards[layer](padded(PROMPTS[:1], len(PROMPTS[0])))
    np.testing.assert_allclose(right[0, : len(PROMPTS[0])], alone[0], rtol=1e-4, atol=1e-4)


class Watching(keras_hub.samplers.GreedySampler):
    """Greedy, noting how many bytes the cache has before and after every step."""

    def __call__(self, next, prompt, cache, **options):
        self.sizes, self.steps = [size(cache)], 0

        def watched(prompt, cache, index):
            logits, hidden, cache = next(prompt, cache, index)
            self.sizes.append(size(cache))
            return logits, hidden, cache

        return super().__call__(next=watched, prompt=prompt, cache=cache, **options)


def size(cache):
    dtype = np.dtype(keras.backend.standardize_dtype(cache.dtype))
    return int(np.prod(cache.shape)) * dtype.itemsize


# PyTorch takes a minute for 16,384 steps, each of which runs the same code.
LONG = 512 if BACKEND == "torch" else 16_384


def test_the_cache_is_as_large_after_thousands_of_tokens_as_after_16():
    model = language_model(depth=1, width=4, state_size=4)
    sizes = set()
    for count in (16, LONG):
        sampler = Watching()
        tokens, _ = generate(sampling(model, sampler, compiled=True), [[1]], 1 + count)
        assert tokens.shape == (1, 1 + count)
        sizes |= set(sampler.sizes)
        if BACKEND == "torch":  # the others trace one step for all
            assert len(sampler.sizes) == 1 + count
    assert sizes == {4 * 4}  # 4 real numbers of 4 bytes
