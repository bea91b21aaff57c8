import json
import os
import re
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest

pytestmark = pytest.mark.backend_free
SETTINGS = {"max_length": 7, "level": "bytes"}
X = np.random.RandomState(0).randint(0, 256, (40, 7)).astype("uint8")
Y = np.arange(40, dtype="int32")


def cached(path, build, settings=SETTINGS, **options):
    from keras_ssm.datasets import cache

    return cache.cached(path, settings, build, **options)


def arrays():
    return {"x": X, "y": Y}


def not_called():
    raise RuntimeError("built although it was there")


def rows(*arguments):
    from keras_ssm.datasets import cache

    return cache.Rows(*arguments)


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def test_what_is_built_once_is_mapped_afterwards(tmp_path):
    path = tmp_path / "deep" / "train.h5"
    for build in (arrays, not_called):
        found = cached(path, build)
        assert list(found) == ["x", "y"]
        for name, array in arrays().items():
            assert isinstance(found[name], np.memmap)
            assert found[name].filename == str(path)
            assert found[name].dtype == array.dtype
            np.testing.assert_array_equal(found[name], array)
            with pytest.raises(ValueError, match="read-only"):
                found[name][0] = 1
    assert names(path.parent) == ["train.h5"]


def test_the_file_is_plain_hdf5_that_others_may_read(tmp_path):
    cached(tmp_path / "train.h5", arrays)
    (tmp_path / "ordinary").touch()
    modes = {path.stat().st_mode for path in tmp_path.iterdir()}
    assert len(modes) == 1
    with h5py.File(tmp_path / "train.h5") as content:
        np.testing.assert_array_equal(content["x"], X)
        assert json.loads(content.attrs["settings"]) == SETTINGS


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "float32", "<U3", "bool"])
def test_every_kind_of_array(tmp_path, dtype):
    x = (np.arange(24).reshape(2, 3, 4) % 2).astype(dtype)
    if dtype == "<U3":
        x = x.astype("S3")
    found = cached(tmp_path / "a.h5", lambda: {"x": x, "t": x.T, "none": x[:0]})
    np.testing.assert_array_equal(found["x"], x)
    np.testing.assert_array_equal(found["t"], x.T)
    assert (found["none"].shape, found["none"].dtype) == ((0, 3, 4), x.dtype)
    with pytest.raises(ValueError, match="read-only"):
        found["x"][0] = x[0]


def test_rows_come_in_parts_and_in_order(tmp_path):
    sums = []

    def parts():
        for part in np.split(X, [3, 3, 31]):
            sums.extend(part.sum(axis=1))
            yield part

    def build():
        later = (np.array(sums, "int64") for _ in range(1))
        return {"x": rows(X.shape, "uint8", parts()), "sums": rows((len(X),), "int64", later)}

    found = cached(tmp_path / "a.h5", build)
    np.testing.assert_array_equal(found["x"], X)
    np.testing.assert_array_equal(found["sums"], X.sum(axis=1))


@pytest.mark.parametrize(
    "parts", [[X[:39]], [X, X[:1]], [X.astype("int8")], [X[:, :6]], []], ids=range(5)
)
def test_rows_that_do_not_make_up_the_array(tmp_path, parts):
    with pytest.raises(ValueError, match=r"expected (parts|40 rows) of x"):
        cached(tmp_path / "a.h5", lambda: {"x": rows(X.shape, "uint8", parts)})
    assert names(tmp_path) == []


def test_other_settings_build_anew(tmp_path):
    from keras_ssm.datasets import cache

    path = tmp_path / "train.h5"
    cached(path, arrays)
    found = cached(path, lambda: {"x": X[:2]}, settings={**SETTINGS, "max_length": 8})
    assert found["x"].shape == (2, 7)
    one, two = ({"a": 1, "b": 2}, {"b": 2, "a": 1})
    assert cache.prepared("/data", "name", one, "test") == cache.prepared(
        "/data", "name", two, "test"
    )
    assert cache.prepared("/data", "name", one, "test") != cache.prepared(
        "/data", "name", {"a": 1}, "test"
    )


def test_sources_that_changed_build_anew_and_sources_that_are_gone_do_not(tmp_path, caplog):
    source, path = tmp_path / "source.tsv", tmp_path / "train.h5"
    source.write_text("one")
    cached(path, arrays, sources=[source])
    cached(path, not_called, sources=[source])
    source.write_text("three")
    assert cached(path, lambda: {"x": X[:2]}, sources=[source])["x"].shape == (2, 7)
    assert "have changed" in caplog.text
    source.unlink()
    assert cached(path, not_called, sources=[source])["x"].shape == (2, 7)
    assert cached(path, not_called)["x"].shape == (2, 7)


@pytest.mark.parametrize("share", [0, 0.001, 0.1, 0.5, 0.999])
def test_a_file_that_was_cut_short_is_built_anew(tmp_path, caplog, share):
    path = tmp_path / "train.h5"
    cached(path, arrays)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    np.testing.assert_array_equal(cached(path, arrays)["x"], X)
    assert f"{path}, of {int(share * len(whole))} bytes, cannot be used" in caplog.text
    assert len(path.read_bytes()) == len(whole)


def test_a_file_without_its_mark_is_built_anew(tmp_path, caplog):
    path = tmp_path / "train.h5"
    cached(path, arrays)
    with h5py.File(path, "r+") as content:
        content.attrs["complete"] = False
    np.testing.assert_array_equal(cached(path, arrays)["x"], X)
    assert "the mark of a complete file is missing" in caplog.text


def test_a_file_of_another_version_is_built_anew(tmp_path, caplog):
    path = tmp_path / "train.h5"
    cached(path, arrays)
    with h5py.File(path, "r+") as content:
        content.attrs["format"] = "keras_ssm arrays 0"
    np.testing.assert_array_equal(cached(path, arrays)["x"], X)
    assert "another version, keras_ssm arrays 0" in caplog.text


def test_a_file_of_something_else_is_refused_and_left(tmp_path):
    path = tmp_path / "train.h5"
    path.write_text("my notes, which are precious")
    with pytest.raises(ValueError, match=r"train.h5, found a file of 28 bytes that is something"):
        cached(path, arrays)
    assert path.read_text() == "my notes, which are precious"
    with h5py.File(path, "w") as content:
        content["weights"] = X
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"train.h5, found a file of \d+ bytes"):
        cached(path, arrays)
    assert path.read_bytes() == before


# Files that were made to mislead. What they would read is in `secret`.


def as_objects(content, secret):
    content["x"] = np.array(["a"] * 40, "O")


def of_any_length(content, secret):
    content.create_dataset("x", (40,), h5py.vlen_dtype("uint8"))


def as_records(content, secret):
    content["x"] = np.zeros(40, [("a", "u1")])


def as_references(content, secret):
    content.create_dataset("x", (40,), h5py.ref_dtype)


def elsewhere(content, secret):
    content["x"] = h5py.ExternalLink(str(secret), "y")


def beside(content, secret):
    content["x"] = h5py.SoftLink("/y")


def outside(content, secret):
    content.create_dataset("x", (40,), "uint8", external=[(str(secret), 0, 40)])


def composed(content, secret):
    layout = h5py.VirtualLayout((40,), "int32")
    layout[:] = h5py.VirtualSource(str(secret), "y", (40,))
    content.create_virtual_dataset("x", layout)


def compressed(content, secret):
    content.create_dataset("x", data=X, compression="gzip")


def in_chunks(content, secret):
    content.create_dataset("x", data=X, chunks=(10, 7))


def in_a_group(content, secret):
    content["x/x"] = X


def shorter(content, secret):
    content["x"] = X[:20]


def of_another_kind(content, secret):
    content["x"] = X.astype("int8")


@pytest.mark.parametrize(
    ("replace", "found"),
    [
        (shorter, "not those that were written"),
        (of_another_kind, "not those that were written"),
        (as_objects, "x is an array of object"),
        (of_any_length, "x is an array of object"),
        (as_records, r"x is an array of \[\('a'"),
        (as_references, "x is an array of object"),
        (elsewhere, "x is a link"),
        (beside, "x is a link"),
        (outside, "x does not lie in one piece in this file"),
        (composed, "x does not lie in one piece in this file"),
        (compressed, "x does not lie in one piece in this file"),
        (in_chunks, "x does not lie in one piece in this file"),
        (in_a_group, "x is not an array"),
    ],
)
def test_an_array_that_is_not_numbers_in_this_file_is_built_anew(tmp_path, caplog, replace, found):
    path, secret = tmp_path / "train.h5", tmp_path / "secret.h5"
    for each in (path, secret):
        cached(each, arrays)
    with h5py.File(path, "r+") as content:
        del content["x"]
        replace(content, secret)
    np.testing.assert_array_equal(cached(path, arrays)["x"], X)
    assert re.search(f"train.h5.* cannot be used .*{found}", caplog.text)


@pytest.mark.parametrize("mark", ["settings", "sources"])
@pytest.mark.parametrize("value", [None, 3, np.arange(4), b"\xff"])
def test_marks_that_are_missing_or_something_else(tmp_path, mark, value):
    path, source = tmp_path / "train.h5", tmp_path / "source"
    source.touch()
    cached(path, arrays, sources=[source])
    with h5py.File(path, "r+") as content:
        del content.attrs[mark]
        if value is not None:
            content.attrs[mark] = value
    found = cached(path, lambda: {"x": X[:2]}, sources=[source])
    assert found["x"].shape == (2, 7)


# Accidents.


def test_an_error_or_an_interrupt_leaves_nothing_and_keeps_the_old(tmp_path):
    def interrupted():
        yield X[:20]
        raise KeyboardInterrupt

    path = tmp_path / "train.h5"
    for old in ([], ["train.h5"]):
        with pytest.raises(KeyboardInterrupt):
            cached(path, lambda: {"x": rows(X.shape, "uint8", interrupted())}, settings={"a": 2})
        assert names(tmp_path) == old
        cached(path, arrays)
    cached(path, not_called)


def test_a_full_disk_leaves_nothing(tmp_path, full_disk):
    large = np.ones((4, full_disk.room), "uint8")
    pieces = rows(large.shape, "uint8", np.split(large, 4))
    for array in (large, pieces):
        with full_disk, pytest.raises(OSError, match=f"cannot be written to {tmp_path}, and no"):
            cached(tmp_path / "train.h5", lambda array=array: {"x": array})
        assert names(tmp_path) == []
    assert cached(tmp_path / "train.h5", lambda: {"x": large})["x"].all()


def test_a_really_full_disk_leaves_nothing(tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("a small file system can only be mounted by root")
    try:
        with pytest.raises(OSError, match="No space left on device"):
            cached(folder / "train.h5", lambda: {"x": np.ones(1 << 20, "uint8")})
        assert names(folder) == []
        # Full before the first byte.
        (folder / "other").write_bytes(bytes(64 * 1024))
        with pytest.raises(OSError, match="cannot be written to"):
            cached(folder / "train.h5", arrays)
        assert names(folder) == ["other"]
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_an_error_in_reading_a_source_stays_what_it_is(tmp_path):
    def parts():
        yield X[:1]
        raise FileNotFoundError(2, "No such file", "image.png")

    with pytest.raises(FileNotFoundError, match=r"image.png"):
        cached(tmp_path / "train.h5", lambda: {"x": rows(X.shape, "uint8", parts())})
    assert names(tmp_path) == []


# The modules by themselves, which start much faster than the package with Keras.
SLOW = """
import sys, time, types
import numpy as np
for name, folder in (("keras_ssm", ""), ("keras_ssm.datasets", "/datasets")):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [sys.argv[1] + folder]
from keras_ssm.datasets import cache
def parts():
    for value in range(50):
        print(value, flush=True)
        time.sleep(float(sys.argv[3]))
        yield np.full((1, 1000), value, "uint8")
x = cache.cached(sys.argv[2], {}, lambda: {"x": cache.Rows((50, 1000), "uint8", parts())})["x"]
assert (x == np.arange(50)[:, None]).all()
"""


def start(path, pause):
    import keras_ssm

    arguments = [sys.executable, "-c", SLOW, keras_ssm.__path__[0], str(path), str(pause)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


def test_a_killed_writer_leaves_nothing_that_is_taken_for_whole(tmp_path):
    path = tmp_path / "train.h5"
    with start(path, 0.05) as process:
        while process.stdout.readline() != "25\n":
            pass
        process.send_signal(signal.SIGKILL)
    assert len(names(tmp_path)) == 1
    assert not path.exists()
    stale = next(tmp_path.iterdir())
    np.testing.assert_array_equal(cached(path, arrays)["x"], X)
    assert stale.exists()  # it might be another process' that is still writing
    os.utime(stale, (0, time.time() - 2 * 24 * 60 * 60))
    cached(path, arrays, settings={"other": 1})
    assert names(tmp_path) == ["train.h5"]


def test_two_processes_build_at_once(tmp_path):
    path = tmp_path / "train.h5"
    processes = [start(path, 0.01) for _ in range(2)]
    for process in processes:
        process.communicate()
    assert [process.returncode for process in processes] == [0, 0]
    assert names(tmp_path) == ["train.h5"]


def test_the_data_folder(monkeypatch, tmp_path):
    from keras_ssm.datasets import cache

    monkeypatch.setenv("KERAS_SSM_DATA", "~/mine")
    assert cache.data_folder("here").as_posix() == "here"
    assert cache.data_folder() == tmp_path.home() / "mine"
    monkeypatch.delenv("KERAS_SSM_DATA")
    monkeypatch.setenv("KERAS_HOME", "/keras")
    assert cache.data_folder().as_posix() == "/keras/datasets"
    monkeypatch.delenv("KERAS_HOME")
    assert cache.data_folder() == tmp_path.home() / ".keras" / "datasets"
    assert cache.prepared("/d", "n", {}, "test").as_posix() == "/d/keras_ssm/n-44136fa3/test.h5"
