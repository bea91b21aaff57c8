import itertools
import os
import pathlib
import statistics
import subprocess
import sys

import numpy as np
import pytest

pytestmark = pytest.mark.backend_free

SHORT = {"min_length": 8, "max_length": 40, "max_depth": 4, "max_args": 5}


def tokens(source):
    return [token for token in source.split() if token not in "()"]


def evaluated(source):
    """A stack machine on the text, which sees neither levels nor arrays."""
    functions = {
        "[MIN": min,
        "[MAX": max,
        "[MED": lambda values: int(statistics.median(values)),
        "[SM": lambda values: sum(values) % 10,
    }
    stack = []
    for token in tokens(source):
        if token != "]":
            stack.append(int(token) if token.isdigit() else token)
            continue
        values = []
        while not isinstance(stack[-1], str):
            values.append(stack.pop())
        assert 2 <= len(values) <= 10
        stack.append(functions[stack.pop()](values))
    (value,) = stack
    return value


def parsed(source):
    """Nested pairs, as the parentheses say; their number and places must be right."""
    words = source.split()
    pairs = [[]]
    for word in words:
        if word == "(":
            pairs.append([])
        elif word == ")":
            left, right = pairs.pop()
            pairs[-1].append((left, right))
        else:
            pairs[-1].append(word)
    ((tree,),) = pairs
    return tree


def written(tree):
    """The official `to_string`: every pair in parentheses."""
    return tree if isinstance(tree, str) else f"( {written(tree[0])} {written(tree[1])} )"


def check_pairs(tree):
    """Left-nested: the left of a pair is an operator or unfinished, the right an argument or ]."""
    if isinstance(tree, str):
        assert tree.isdigit()
        return
    left, end = tree
    assert end == "]"
    while not isinstance(left, str):
        left, argument = left
        check_pairs(argument)
    assert left in ("[MIN", "[MAX", "[MED", "[SM")


def length_probabilities(max_length, max_depth, max_args):
    """Of the recursion of the paper's code, exactly: products of generating functions."""
    leaf = np.zeros(max_length)
    leaf[1] = 1
    below = leaf
    for _ in range(max_depth - 1):
        arguments, total = below, np.zeros(max_length)
        for _ in range(2, max_args + 1):
            arguments = np.convolve(arguments, below)[:max_length]
            total += arguments / (max_args - 1)
        # Two more tokens, the operator and its bracket.
        below = 0.75 * leaf + 0.25 * np.concatenate([[0, 0], total])[:max_length]
    return below


@pytest.fixture(scope="module")
def arena():
    """The first samples of the arena's own settings."""
    from keras_ssm.datasets.generators import listops

    return listops.samples(2500)


def test_every_tree_has_its_value(arena):
    from keras_ssm.datasets.generators import listops

    for sources, targets in (arena, listops.samples(2000, **SHORT)):
        assert targets.dtype == "int32"
        assert [evaluated(source) for source in sources[:2000]] == targets[:2000].tolist()


def test_the_text_is_the_official_one():
    from keras_ssm.datasets.generators import listops

    for source in listops.samples(300, **SHORT)[0]:
        tree = parsed(source)
        check_pairs(tree)
        assert written(tree) == source


def test_published_constants(arena):
    from keras_ssm.datasets.generators import listops, trees

    sources, targets = arena
    lengths = [len(tokens(source)) for source in sources]
    assert min(lengths) > 500
    assert max(lengths) < 2000
    shares = np.bincount(targets, minlength=10) / len(targets)
    assert set(np.argsort(shares)[-2:]) == {0, 9}
    assert shares.max() == pytest.approx(0.165, abs=0.025)
    bounds = trees.Bounds(500, 2000, 10, 10)
    kept = sum(len(listops._rows(index, bounds, seed=1)) for index in range(8))
    expected = length_probabilities(2000, 10, 10)[501:].sum()
    assert expected == pytest.approx(0.0828, abs=1e-4)
    assert kept / (8 * listops.ROOTS) == pytest.approx(expected, abs=0.006)


def test_lengths_are_distributed_as_by_the_recursion(arena):
    from keras_ssm.datasets.generators import listops, trees

    # Both bounds are strict, and every length between them occurs.
    short = {len(tokens(source)) for source in listops.samples(2000, **SHORT)[0]}
    assert short == set(range(9, 40))
    # Real size: acceptance, and every quantile (Kolmogorov-Smirnov, 1 in 10,000).
    expected = length_probabilities(2000, 10, 10)
    expected[:501] = 0
    lengths = [len(tokens(source)) for source in arena[0]]
    median = np.searchsorted(np.cumsum(expected), expected.sum() / 2)
    assert np.median(lengths) == pytest.approx(median, abs=40)
    found = np.bincount(lengths, minlength=2000) / len(lengths)
    distance = np.abs(np.cumsum(found) - np.cumsum(expected) / expected.sum()).max()
    assert distance < 2.23 / np.sqrt(len(lengths))
    # Small trees with repetitions: every length by itself, within four deviations.
    roots = 40_000
    levels = trees.draw(np.random.RandomState(0), roots, trees.Bounds(0, 20, 3, 4))
    sizes = sum(
        np.bincount(level.tree, weights=1 + (level.arity > 0), minlength=len(levels[0].tree))
        for level in levels
    )
    expected = roots * length_probabilities(20, 3, 4)
    found = np.bincount(sizes.astype(int), minlength=20)
    assert np.all(np.abs(found - expected) <= 4 * np.sqrt(expected))
    assert (expected > 100).sum() > 10


def test_symbols_are_uniform(arena):
    counts = {}
    for token in itertools.chain.from_iterable(map(tokens, arena[0])):
        counts[token] = counts.get(token, 0) + 1
    operators = np.array([counts[f"[{name}"] for name in ("MIN", "MAX", "MED", "SM")])
    digits = np.array([counts[str(digit)] for digit in range(10)])
    assert sum(operators) == counts["]"]
    for found in (operators, digits):
        np.testing.assert_allclose(found / found.mean(), 1, atol=0.01)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    from keras_ssm.datasets.generators import listops

    folder = tmp_path_factory.mktemp("small")
    listops.generate(folder, counts=(900, 60, 40), seed=3, workers=1, **SHORT)
    return folder / "listops-1000"


def test_the_files_are_laid_out_as_the_official_ones(small):
    from keras_ssm.datasets.generators import listops

    rows = []
    for part, count in (("train", 900), ("val", 60), ("test", 40)):
        content = (small / f"basic_{part}.tsv").read_bytes()
        # The csv module ends lines as the official files do.
        lines = content.decode("ascii").split("\r\n")
        assert lines[0] == "Source\tTarget"
        assert lines[-1] == ""
        assert len(lines) == count + 2
        rows += [tuple(line.split("\t")) for line in lines[1:-1]]
    assert sorted(path.name for path in small.iterdir()) == [
        "basic_test.tsv",
        "basic_train.tsv",
        "basic_val.tsv",
    ]
    sources, targets = listops.samples(1000, seed=3, **SHORT)
    assert rows == [(source, str(target)) for source, target in zip(sources, targets, strict=True)]
    assert len(set(sources)) == 1000


def test_the_number_of_processes_changes_nothing(small, tmp_path):
    from keras_ssm.datasets.generators import listops

    listops.generate(tmp_path, counts=(900, 60, 40), seed=3, workers=3, **SHORT)
    for path in small.iterdir():
        assert path.read_bytes() == (tmp_path / "listops-1000" / path.name).read_bytes()
    listops.generate(tmp_path / "other", counts=(900, 60, 40), seed=4, workers=1, **SHORT)
    other = tmp_path / "other" / "listops-1000" / "basic_train.tsv"
    assert other.read_bytes() != (small / "basic_train.tsv").read_bytes()


def test_duplicates_are_left_out_until_there_are_no_more_samples():
    from keras_ssm.datasets.generators import listops

    # Operators of two digits: 4 x 10 x 10 trees of 4 tokens, and all of them are found.
    only = {"min_length": 3, "max_length": 5, "max_depth": 2, "max_args": 2}
    sources, _ = listops.samples(400, **only)
    assert len(set(sources)) == 400
    with pytest.raises(ValueError, match=r"400 distinct ones were found.*Received: min_length=3"):
        listops.samples(401, **only)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_length": 5, "max_length": 6}, "min_length=5, max_length=6"),
        ({"max_depth": 3}, "at most 122 tokens.*max_depth=3"),
        ({"max_args": 1}, "max_args=1"),
        ({"counts": (1, 2)}, r"counts=\(1, 2\)"),
        ({"workers": 0}, "workers=0"),
        ({"workers": 1.5}, "workers=1.5"),
        ({"counts": (5, 0, 5)}, r"counts=\(5, 0, 5\)"),
        ({"counts": (5, 1.5, 5)}, r"counts=\(5, 1.5, 5\)"),
        ({"max_length": "30"}, "max_length='30'"),
        ({"max_depth": 2.5}, "max_depth=2.5"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_settings_that_cannot_be_met(settings, message, tmp_path):
    from keras_ssm.datasets.generators import listops

    with pytest.raises(ValueError, match=message):
        listops.generate(tmp_path / "data", **settings)
    assert not list(tmp_path.glob("data/*"))


def test_nothing_is_overwritten(small):
    from keras_ssm.datasets.generators import listops

    before = (small / "basic_train.tsv").read_bytes()
    with pytest.raises(ValueError, match=f"Received: {small}"):
        listops.generate(small.parent, counts=(1, 1, 1), **SHORT)
    assert (small / "basic_train.tsv").read_bytes() == before


# Folders and worker processes, which all generators share.


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    from keras_ssm.datasets.generators.folders import new_folder

    def fill(accident):
        with new_folder(tmp_path / "data") as folder:
            (folder / "mine").touch()
            accident()

    def full_disk():
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fill(full_disk)
    assert not list(tmp_path.iterdir())
    # Somebody else's folder comes first.
    with pytest.raises(ValueError, match="nothing is overwritten"):
        fill((tmp_path / "data").mkdir)
    assert [path.name for path in tmp_path.rglob("*")] == ["data"]


def test_workers_do_not_import_keras_nor_the_callers_script(tmp_path):
    # No `if __name__ == "__main__"`, and a line that a second import would print again.
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    result = subprocess.run(
        [sys.executable, script],
        capture_output=True,
        text=True,
        cwd=pathlib.Path(__file__).parents[1],
        env={**os.environ, "PYTHONPATH": os.curdir},
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["once", "keras:", "False", "numpy:", "True"]


SCRIPT = """
import functools
print("once")
from keras_ssm.datasets.generators import listops, trees
from keras_ssm.datasets.generators.workers import each
rows = functools.partial(listops._rows, bounds=trees.Bounds(3, 9, 3, 3), seed=0)
assert list(each(rows, range(3), workers=2)) == list(map(rows, range(3)))
modules = "[__import__('keras_ssm.datasets.generators.listops'), __import__('sys').modules][1]"
print(*each(eval, [f"'{name}: %s' % ('{name}' in {modules})" for name in ("keras", "numpy")], 2))
"""


def test_a_failing_task_and_a_lost_process_are_reported():
    from keras_ssm.datasets.generators.workers import each

    with pytest.raises(ZeroDivisionError):
        list(each(eval, ["1", "1 / 0", "2"], workers=2))
    results = each(eval, ["1", "2", "__import__('os')._exit(7)", "3"], workers=2)
    assert [next(results), next(results)] == [1, 2]
    with pytest.raises(ChildProcessError, match="code 7"):
        next(results)


def test_an_endless_iterator_of_tasks_is_taken_as_needed():
    from keras_ssm.datasets.generators.workers import each

    taken = []
    tasks = (taken.append(number) or number for number in itertools.count(-50))
    results = each(abs, tasks, workers=2)
    assert list(itertools.islice(results, 3)) == [50, 49, 48]
    results.close()
    assert len(taken) < 10
