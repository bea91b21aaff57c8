"""Work on several cores, in processes that import neither Keras nor a framework.

Not `multiprocessing`: its spawned processes import the caller's script again,
which fails in a script without `if __name__ == "__main__"` and costs an import
of Keras in the others, and its forked ones break the threads of JAX and
TensorFlow. Here this file is what every process runs.
"""

import collections
import contextlib
import itertools
import os
import pickle
import subprocess
import sys
import types
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import IO, Any

# Tasks given to a worker beyond the one whose result is awaited.
AHEAD = 2
# Their __init__ imports Keras; what a worker runs needs only the folders.
PACKAGES = ("keras_ssm", "keras_ssm.datasets")


def each(
    function: Callable[[Any], Any],
    tasks: Iterable[Any],
    workers: int | None = None,
    lasting: bool = True,
) -> Generator[Any, None, None]:
    """Apply a function to every task, on several cores, in the order of the tasks.

    Args:
        function: takes one task; a function of a module that needs NumPy only, or
            a `functools.partial` of one.
        tasks: small objects; may be endless, since only a few are taken ahead.
        workers: processes; by default one per core this process may use. With
            1, lasting tasks are done in this process.
        lasting: False does every task in a new process, for functions whose
            results depend on what the process did before.

    Yields:
        `function(task)`. Closing the iterator ends the processes.

    Raises:
        ValueError: if `workers` is not positive.
        ChildProcessError: if a process ends before it has answered.
        Exception: what `function` raises.
    """
    if workers is None:
        workers = cores()
    if not isinstance(workers, int) or workers < 1:
        raise ValueError(f"`workers` must be positive. Received: workers={workers!r}")
    if workers == 1 and lasting:
        yield from map(function, tasks)
        return
    ahead = AHEAD * workers if lasting else workers - 1
    with contextlib.ExitStack() as stack:

        def started() -> subprocess.Popen:
            return stack.enter_context(_started(function))

        # In turns, so that the order of the results needs no further care.
        team = itertools.cycle([started() for _ in range(workers)] if lasting else ())
        awaited: collections.deque[subprocess.Popen] = collections.deque()
        for task in tasks:
            process = next(team) if lasting else started()
            _send(process, task)
            if not lasting:
                _close(process.stdin)
            awaited.append(process)
            if len(awaited) > ahead:
                yield _answer(awaited.popleft())
        while awaited:
            yield _answer(awaited.popleft())


def cores() -> int:
    """Number of cores this process may use.

    Returns:
        At least 1.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextlib.contextmanager
def _started(function: Callable[[Any], Any]) -> Iterator[subprocess.Popen]:
    packages = {name: list(sys.modules[name].__path__) for name in PACKAGES if name in sys.modules}
    # A session of its own: an interrupt reaches the parent alone, which ends all the others.
    process = subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        _send(process, (packages, sys.path))
        _send(process, function)
        yield process
    finally:
        process.kill()
        _close(process.stdin)
        _close(process.stdout)
        process.wait()


def _send(process: subprocess.Popen, content: Any) -> None:
    # A process that has ended is reported by `_answer`, which knows how.
    with contextlib.suppress(BrokenPipeError):
        pickle.dump(content, process.stdin)  # type: ignore[arg-type]
        process.stdin.flush()  # type: ignore[union-attr]


def _close(pipe: IO[bytes] | None) -> None:
    if pipe is not None:
        with contextlib.suppress(BrokenPipeError):
            pipe.close()


def _answer(process: subprocess.Popen) -> Any:
    try:
        succeeded, content = pickle.load(process.stdout)  # type: ignore[arg-type]
    except (EOFError, pickle.UnpicklingError) as error:
        raise ChildProcessError(
            f"expected an answer from a worker process, which ended with code {process.wait()}"
        ) from error
    if not succeeded:
        raise content
    return content


def _serve() -> None:
    """Answer tasks until the parent closes the pipe or is gone."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get between the answers
    packages, sys.path[:] = pickle.load(sys.stdin.buffer)
    for name, folders in packages.items():
        package = types.ModuleType(name)
        package.__path__ = folders
        sys.modules[name] = package
    function = pickle.load(sys.stdin.buffer)
    while True:
        try:
            task = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            answer = True, function(task)
        except Exception as error:  # raised again by the parent
            answer = False, error
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    _serve()
