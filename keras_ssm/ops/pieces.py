"""Sequences split across devices: each runs its piece, and only states travel.

A system is linear. A piece that starts from zero leaves a state `e` at its end,
and what comes in from before is only multiplied by the transition of the piece:

    x_(d + 1) = Phi_d x_d + e_d,   so that   x_d = sum_(j < d) Phi_(d - 1) .. Phi_(j + 1) e_j

Every device finds e of its piece, which takes a fraction of the work; all e are
gathered; each device adds up the state before its piece, and runs the piece from
it. Backwards it is the same with the pieces in reversed order. What a masked
step repeats may lie in an earlier piece too: the last output of every piece is
gathered for it.
"""

from typing import Any, NamedTuple

from keras import ops

from keras_ssm.backend import precise_matmul
from keras_ssm.ops import masking, matrix_powers
from keras_ssm.ops import resets as restarts
from keras_ssm.ops.chunks import CHUNK
from keras_ssm.ops.complex import exp, multiples, multiply, powers, scale
from keras_ssm.ops.masking import Compaction
from keras_ssm.ops.scan import to_chunks
from keras_ssm.ops.systems import Channelwise, LowRank, SharedState, Softmax, low_rank, softmax
from keras_ssm.ops.systems.channelwise import final_state, read
from keras_ssm.ops.systems.flat import direction, join_state, reverse, split_state
from keras_ssm.ops.systems.shared import _project
from keras_ssm.types import Pair, Tensor


def run(
    pieces: Any,
    system: Any,
    u: Tensor,
    state: Tensor | None,
    mask: Tensor | None,
    resets: Tensor | None,
    zero_output: bool,
    gives_state: bool,
) -> tuple[Tensor, Tensor]:
    """Outputs and final state of a system, each device running its piece of the sequences.

    Args:
        pieces: the result of `keras_ssm.backend.pieces()`.
        system: one of `keras_ssm.ops.systems`.
        u: tensor (B, L, H), zero at masked steps.
        state: flat state (B, ...) before the first step, or None for zero.
        mask: booleans (B, L), or None.
        resets: booleans (B, L), or None.
        zero_output: whether masked steps output zeros; otherwise they repeat the
            output before them.
        gives_state: whether the state is asked for, which a softmax kernel without
            a fixed length does not have.

    Returns:
        Outputs (B, L, F), and the flat state after the last valid step.

    Raises:
        ValueError: for a length that cannot be cut into equal pieces, or a
            system that can only be run one step after the other.
    """
    length = u.shape[1]
    if length % pieces.total:
        raise ValueError(
            f"a sequence that is cut over {pieces.total} devices must have a multiple of "
            f"{pieces.total} steps. Received: {length} steps"
        )
    if isinstance(system, LowRank) and (system.varies or resets is not None):
        raise ValueError(
            "S4 takes steps of varying size, and resets, one after the other, so that a sequence "
            "cannot be split across devices. Received: time_steps or resets"
        )
    fixed: dict[str, Any] = {}
    if isinstance(system, Softmax):
        if resets is not None:
            raise ValueError(
                "the time of a softmax kernel counts from the latest reset, so that a sequence "
                "cannot be split across devices. Received: resets"
            )
        if state is not None or gives_state:
            system._known_length()
        # The length of the whole, and a number that must not become a tensor.
        fixed = {"length": system._total(length)}
        system = system._replace(length=None)
    varying = system if _varies(system) else None
    names = _TIME_LED[type(system)] if varying is not None else ()
    led = {name: z for name in names if (z := getattr(system, name)) is not None}
    if isinstance(system, Channelwise) and varying is not None and len(system.B[0].shape) == 2:
        del led["B"]
    # What is seen across a border from the other side has its mark one step earlier.
    after = None if resets is None else ops.flip(restarts.backwards(resets), axis=1)
    rest = system._replace(**dict.fromkeys(led))

    def local(in_time: Any, start: Any, rest: Any) -> tuple[Tensor, Tensor]:
        u, mask, resets, after, led = in_time
        if mask is not None:
            led = {**led, **{name: _none_of(led[name], mask) for name in _TIME if name in led}}
        whole = rest._replace(**led, **fixed)
        piece = _Piece(pieces, u, mask, resets)
        y, final = _directed(_part(whole, 0), piece, start, delayed=False)
        if whole.directions == 2:
            flipped = _Piece(_Backwards(pieces), ops.flip(u, axis=1), _flip(mask), _flip(after))
            backward = _in_reverse(_part(whole, 1), led)
            delayed = not isinstance(whole, SharedState)
            y = y + _flip(_directed(backward, flipped, None, delayed)[0])
        return (y if mask is None else _filled(pieces, y, mask, zero_output)), final

    return pieces.run(local, (u, mask, resets, after, led), state, rest)


class _Backwards(NamedTuple):
    """Pieces in reversed order."""

    pieces: Any

    @property
    def total(self) -> int:
        return self.pieces.total

    def gather(self, x: Tensor) -> Tensor:
        return ops.flip(self.pieces.gather(x), axis=0)

    def number(self) -> Tensor:
        return self.total - 1 - self.pieces.number()


class _Piece(NamedTuple):
    """One piece, in the order of the recurrence."""

    pieces: Any
    u: Tensor  # (B, n, H)
    mask: Tensor | None  # (B, n)
    resets: Tensor | None


# Of the fields below, those that are zero for a step that takes no time.
_TIME = ("log_lam", "time_steps")


def _none_of(z: Any, mask: Tensor) -> Any:
    """A tensor (B, n, ...) or pair, with zeros at masked steps."""
    if isinstance(z, tuple):
        return tuple(_none_of(part, mask) for part in z)
    kept = ops.reshape(mask, (*mask.shape, *[1] * (len(z.shape) - 2)))
    return ops.where(kept, z, ops.zeros_like(z))


# Fields whose first axes are (batch, length) where steps vary.
_TIME_LED = {
    SharedState: ("log_lam", "gamma"),
    Channelwise: ("log_lam", "B"),
    LowRank: (),
    Softmax: ("time_steps",),
}


def _varies(system: Any) -> bool:
    return system.time_steps is not None if isinstance(system, Softmax) else system.varies


def _part(system: Any, index: int) -> Any:
    """The system of one direction; the skip is with the first."""
    name = "W" if isinstance(system, Softmax) else "C"
    weights = tuple(z[index : index + 1] for z in getattr(system, name))
    return system._replace(**{name: weights}, D=None if index else system.D)


def _in_reverse(system: Any, led: dict[str, Any]) -> Any:
    return system._replace(
        **{name: reverse(z) if isinstance(z, tuple) else _flip(z) for name, z in led.items()}
    )


def _flip(z: Tensor | None) -> Tensor | None:
    return None if z is None else ops.flip(z, axis=1)


def _directed(
    system: Any, piece: _Piece, start: Tensor | None, delayed: bool
) -> tuple[Tensor, Tensor]:
    """Outputs (B, n, F) of a system of one direction, and the state after all pieces."""
    pieces, u, mask, resets = piece
    where = None
    if mask is not None and not _varies(system):
        where = masking.compaction(mask)
        u = masking.compact(u, where)
    marks: Any = resets
    if resets is not None and where is not None:
        resets = restarts.compact(resets, where)
    end = _end(system, u, where, resets)
    if marks is not None and where is not None:
        gone = restarts.after_the_last(marks, where)
        end = ops.where(gone, ops.zeros_like(end), end)
    steps = ops.zeros_like(u[:, 0, 0]) + u.shape[1] if where is None else where.counts
    if isinstance(system, Softmax) and system.time_steps is not None:
        steps = ops.sum(system.time_steps, axis=1)
    broken = ops.zeros_like(steps) if marks is None else ops.any(marks, axis=1)
    before, final = _carried(system, pieces, end, steps, broken, start, pieces.total * u.shape[1])
    y, _ = system.run(u, before, where, False, "chunk", resets)
    if delayed:
        y = ops.concatenate([_output(system, before)[:, None], y[:, :-1]], axis=1)
        if resets is not None:
            y = ops.where(resets[..., None], ops.zeros_like(y), y)
    if where is not None:
        y = masking.expand(y, where, mask, zero_output=True)
    return y, final


def _filled(pieces: Any, y: Tensor, mask: Tensor, zero_output: bool) -> Tensor:
    """Zeros at masked steps, or the output of the last valid step before, of any piece."""
    if zero_output:
        return ops.where(mask[..., None], y, ops.zeros_like(y))
    where = masking.compaction(mask)
    compact = masking.compact(y, where)
    index = ops.relu(where.counts - 1)[:, None, None]
    last = ops.take_along_axis(compact, index, axis=1)[:, 0]
    found = pieces.gather(
        ops.concatenate([last, ops.cast(where.counts > 0, y.dtype)[:, None]], axis=1)
    )
    prior = ops.zeros_like(last)
    for j in range(pieces.total - 1):
        newer = ops.logical_and(found[j, :, -1:] > 0, j < pieces.number())
        prior = ops.where(newer, found[j, :, :-1], prior)
    filled = masking.expand(compact, where, mask, zero_output=False)
    return ops.where((where.position >= 0)[..., None], filled, prior[:, None])


def _carried(
    system: Any,
    pieces: Any,
    end: Tensor,
    steps: Tensor,
    broken: Tensor,
    start: Tensor | None,
    longest: int,
) -> tuple[Tensor, Tensor]:
    """The flat states before this piece and after the last one, from the ends of all.

    Args:
        system: of one direction.
        pieces: in their order.
        end: (B, S), what a piece that starts from zero leaves.
        steps: (B,), its valid steps.
        broken: (B,), whether the state starts anew in it.
        start: (B, S) before the first piece, or None for zero.
        longest: steps of all pieces.
    """
    totals = _totals(system, end)
    dtype, width = end.dtype, end.shape[1]
    columns = [end, ops.cast(steps, dtype)[:, None], ops.cast(broken, dtype)[:, None], *totals]
    found = pieces.gather(ops.concatenate(columns, axis=1))  # the one exchange
    ends, steps, broken = found[..., :width], found[..., width], found[..., width + 1]
    totals = found[..., width + 2 :]
    if start is not None:
        # One more piece before all.
        ends = ops.concatenate([start[None], ends], axis=0)
        steps, broken, totals = (
            ops.concatenate([ops.zeros_like(z[:1]), z], axis=0) for z in (steps, broken, totals)
        )
        if isinstance(system, Softmax):  # whose time it counts
            steps = ops.concatenate([start[None, :, -1], steps[1:]], axis=0)
    count, first = ends.shape[0], ends.shape[0] - pieces.total
    number = ops.arange(count)

    def before(index: Any) -> Tensor:
        """The state before a piece."""
        # between[j, i]: whether piece i lies between the end of piece j and here.
        between = ops.logical_and(number[:, None] < number, number < index)
        between = ops.cast(between, dtype)
        earlier = ops.cast(number < index, dtype)[:, None]
        alive = earlier * ops.cast(precise_matmul(between, broken) == 0, dtype)
        passed = precise_matmul(between, steps)
        varying = precise_matmul(between, ops.reshape(totals, (count, -1)))
        varying = ops.reshape(varying, ops.shape(totals))
        at = precise_matmul(ops.cast(number[:, None] > number, dtype), steps)
        moved = _moved(system, ends, passed, varying, at, longest)
        return ops.sum(ops.where(alive[..., None] > 0, moved, ops.zeros_like(moved)), axis=0)

    return before(pieces.number() + first), before(count)


def _totals(system: Any, end: Tensor) -> list[Tensor]:
    """What a varying piece multiplies a state by, as flat logarithms (B, ...)."""
    if isinstance(system, Softmax) or not system.varies:
        return []
    batch = ops.shape(end)[0]
    return [ops.reshape(ops.sum(z, axis=1), (batch, -1)) for z in system.log_lam]


def _moved(
    system: Any, ends: Tensor, passed: Tensor, varying: Tensor, at: Tensor, longest: int
) -> Tensor:
    """The ends (D, B, S) of all pieces, each carried on to the piece before which they are added.

    Args:
        system: of one direction.
        ends: (D, B, S).
        passed: (D, B), valid steps in between; of a softmax kernel, time.
        varying: (D, B, ...), the sums of `_totals` in between.
        at: (D, B), the same before the piece itself.
        longest: steps of all pieces.
    """
    count, batch = ends.shape[:2]
    if isinstance(system, LowRank):
        return _moved_by_matrices(system, ends, passed, longest)
    if isinstance(system, Softmax):
        return _moved_rows(system, ends, passed, at)
    shape = system.log_lam[0].shape[(2 if _varies(system) else 0) :]
    if _varies(system):
        logs = split_state(varying, shape)
    else:
        logs = tuple(
            ops.reshape(ops.moveaxis(z, -1, 0), (count, batch, *shape))
            for z in multiples(system.log_lam, ops.reshape(passed, (-1,)))
        )
    return join_state(multiply(exp(logs), split_state(ends, shape)), len(shape))


def _moved_by_matrices(system: LowRank, ends: Tensor, passed: Tensor, longest: int) -> Tensor:
    H, n = system.Lambda[0].shape
    flat = ops.reshape(ends, (-1, ends.shape[-1]))
    exponents = ops.cast(ops.reshape(ops.round(passed), (-1,)), "int32")
    E = low_rank._matrices(system).E
    levels = matrix_powers.increments(E, matrix_powers.levels_for(longest + 1))
    x = matrix_powers.raised(low_rank._as_columns(flat, H, n), exponents, levels)
    return ops.reshape(low_rank._as_flat(x), ends.shape)


def _rows(system: Softmax) -> softmax.Rows:
    return softmax.normalised(system.Lambda, system.dt_Lambda, system.length)


def _moved_rows(system: Softmax, ends: Tensor, passed: Tensor, at: Tensor) -> Tensor:
    """Ordinary modes decay over what lies between; growing ones were summed from time 0 on."""
    rows = _rows(system)
    shape = rows.log_lam[0].shape
    x, elapsed = split_state(ends[..., :-1], shape), ends[..., -1:]
    forwards = 1 - rows.backwards
    steps = passed[..., None, None] * forwards + at[..., None, None] * rows.backwards
    x = multiply(exp(scale(rows.log_lam, steps)), x)
    return ops.concatenate([join_state(x, 2), elapsed], axis=-1)


def _end(system: Any, u: Tensor, where: Compaction | None, resets: Tensor | None) -> Tensor:
    """The flat state (B, S) that a piece leaves if it starts from zero."""
    if resets is not None or _varies(system):
        return system.run(u, None, where, True, "chunk", resets)[1]
    if isinstance(system, Softmax):
        return softmax._packed(softmax._final_state(_rows(system), u, None, where))
    u = u if where is None else masking.align_right(u, where)
    if isinstance(system, SharedState):
        return _shared_end(system, u)
    if isinstance(system, Channelwise):
        return join_state(final_state(u, system.log_lam, system.B, None, u.shape[1]), 2)
    return _low_rank_end(system, u)


def _shared_end(system: SharedState, u: Tensor) -> Tensor:
    """By the ends of chunks, of chunks of chunks, and so on."""
    size = to_chunks(u).shape[2]
    # Zeros in front change nothing; at the end, the state would go on without an input.
    u = ops.pad(u, ((0, 0), (-u.shape[1] % size, 0), (0, 0)))
    b = _project(system._B_bar(), to_chunks(u))
    P, _, Q, batch, M = b.shape
    log_lam, ends = system.log_lam, _at_the_end(system.log_lam, b)
    while M > 1:
        log_lam, Q = scale(log_lam, float(Q)), min(M, Q)
        ends = ops.pad(ends, ((0, 0), (0, 0), (0, 0), (-M % Q, 0)))
        M = -(-M // Q)
        blocks = ops.reshape(ends, (P, 2, batch, M, Q))
        ends = _at_the_end(log_lam, ops.transpose(blocks, (0, 1, 4, 2, 3)))
    return ops.reshape(ops.transpose(ends[..., 0], (2, 1, 0)), (batch, 2 * P))


def _at_the_end(log_lam: Pair, b: Tensor) -> Tensor:
    """sum_i lam^(Q - 1 - i) b_i of chunks (P, 2, Q, B, M): (P, 2, B, M)."""
    P, _, Q, batch, M = b.shape
    re, im = (ops.flip(z, axis=-1) for z in powers(log_lam, Q))
    rows = [ops.concatenate([re, -im], axis=-1), ops.concatenate([im, re], axis=-1)]
    matrix = ops.stack(rows, axis=1)  # (P, 2, 2 Q)
    return ops.reshape(precise_matmul(matrix, ops.reshape(b, (P, 2 * Q, -1))), (P, 2, batch, M))


def _low_rank_end(system: LowRank, u: Tensor) -> Tensor:
    E, B, _ = low_rank._matrices(system)
    levels = matrix_powers.increments(E, matrix_powers.levels_for(u.shape[1]))
    size = min(u.shape[1], CHUNK)
    columns = matrix_powers.columns(B, levels, size)
    return low_rank._as_flat(low_rank._driven(u, size, columns, levels))


def _output(system: Any, state: Tensor) -> Tensor:
    """What a state adds to the output of the step it is the state of: (B, F)."""
    if isinstance(system, LowRank):
        x = ops.reshape(state, (-1, 1, 2, *system.Lambda[0].shape))
        return low_rank._read(x, system.C, 0)[:, 0]
    if isinstance(system, Softmax):
        rows = _rows(system)
        x, elapsed = softmax._unpacked(state, rows)
        rest = ops.relu(rows.length - elapsed)[..., None]
        gain = exp(scale(rows.log_lam, rows.backwards * rest))
        return read(multiply(gain, x), direction(system.W, 0))
    return read(split_state(state, system.log_lam[0].shape[-2:]), direction(system.C, 0))
