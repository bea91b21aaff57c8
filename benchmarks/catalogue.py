"""What there is to measure: names, backends and shapes. Imports no framework."""

import argparse
from typing import NamedTuple

BACKENDS = ("jax", "tensorflow", "torch")
OURS = ("s4d", "s4d-chunk", "dss", "dss-softmax", "s4", "s4-chunk", "s5", "s5-time-steps")
TEXTBOOKS = ("s4d-textbook", "s4-cauchy", "s5-textbook", "s5-pytorch")
PEERS = (*TEXTBOOKS, "gru", "lstm", "conv", "attention")
CEILINGS = ("ceiling-fft", "ceiling-dense")
# What ours are made of, each on its own: where the time of a layer goes.
PIECES = ("s4d-kernel", "s4d-convolution", "s5-projections", "s5-scan")
CASES = (*OURS, *PEERS, *CEILINGS)
NAMES = (*CASES, *PIECES)
# Whole classifiers: ours, and peers in a block of plain Keras parts.
TRAINED = ("s5", "s4d")
TRAINED_PEERS = ("s5-textbook", "s4d-textbook", "gru", "lstm", "attention")
STEPS = ("s5", "s4d", "dss", "gru-cell", "lstm-cell")
_ONLY_ON = {"s5-pytorch": ("torch",)}


class Shape(NamedTuple):
    """Batch, features, state and length."""

    B: int
    H: int
    N: int
    L: int

    def __str__(self) -> str:
        return "x".join(map(str, self))


class Training(NamedTuple):
    """A classifier and its batch: batch, length, blocks, features and state."""

    B: int
    L: int
    depth: int
    width: int
    N: int

    def __str__(self) -> str:
        return f"{self.depth} blocks of {self.width}, {self.B} x {self.L}"


def exists(case: str, backend: str) -> bool:
    """Whether the case is written for the backend."""
    return backend in _ONLY_ON.get(case, BACKENDS)


def parse_shape(text: str) -> Shape:
    """A shape from `B,H,N,L`."""
    sizes = text.split(",")
    if len(sizes) != 4 or not all(size.isdecimal() and int(size) for size in sizes):
        raise argparse.ArgumentTypeError(f"expected B,H,N,L, received {text!r}")
    return Shape(*map(int, sizes))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options `--backends` and `--cases`; by default all of them but the pieces."""
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=BACKENDS)
    parser.add_argument("--cases", nargs="+", choices=NAMES, default=CASES, metavar="CASE")
