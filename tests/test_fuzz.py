"""Damaged files of every kind that is read.

A reader gives the same data, a ValueError that names the file, or, where its
format has nothing that a changed value could be told by, data of the right kind
with another value. `UNSEEN` lists these; for all others, a difference is an error.
"""

import gzip
import io
import lzma
import os
import pathlib
import random
import shutil
import tarfile
import wave
import zipfile
from collections import Counter

import numpy as np
import pytest
from test_cifar10 import batch
from test_images import idx_bytes
from test_lra import REVIEWS, listops_files, pathfinder_files, retrieval_files

pytestmark = pytest.mark.backend_free
MUTATIONS, SEED = 200, 0

# What is read without any sum to check it by, and what may differ there.
UNSEEN = {
    "idx": "pixels and labels",
    "cifar10": "pixels and labels",
    "listops": "digits, operations and labels",
    "text": "characters",
    "retrieval": "characters and labels",
    "pathfinder": "labels and lines of the metadata",
    "folder": "samples, and silence of what is missing from longer clips",
    "speech_commands": "samples",
    "tar": "contents of files",
    "cache": "values of arrays",
}


def mutated(content, source):
    """One change: of a bit, a byte or a run; more of them at the ends, where headers are."""
    size = len(content)
    place = source.choice(
        [
            source.randrange(size),
            source.randrange(min(size, 64)),
            size - 1 - source.randrange(min(size, 64)),
        ]
    )
    run = source.choice([1, 2, 4, 16, 64, 300])
    before, after = content[:place], content[place:]
    kind = source.randrange(12)
    if kind < 3:
        changed = bytes([after[0] ^ 1 << source.randrange(8)])
        return before + changed + after[1:]
    if kind == 3:
        return before + bytes([source.randrange(256)]) + after[1:]
    if kind == 4:
        return before
    if kind == 5:
        return before + after[run:]
    if kind == 6:
        return before + source.randbytes(run) + after
    if kind == 7:
        return before + bytes(len(after[:run])) + after[run:]
    if kind == 8:
        return before + b"\xff" * len(after[:4]) + after[4:]
    if kind == 9:
        return before + after[:run] + after
    if kind == 10:
        return content + source.randbytes(run)
    other = source.randrange(size)
    return before + content[other : other + run] + after[run:]


# Readers: the files, and a function of their folder that gives arrays.


def png_files():
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    return pathfinder_files(image, 0, batches=4)[0]


def images():
    source = np.random.RandomState(0)
    shapes = {"train": (20, 28, 28), "t10k": (10, 28, 28)}
    return {
        part: (
            source.randint(0, 256, shape).astype("uint8"),
            np.arange(shape[0]).astype("uint8") % 10,
        )
        for part, shape in shapes.items()
    }


def idx_files(compress):
    return {
        f"mnist/{part}-{kind}-idx{array.ndim}-ubyte{'.gz' if compress else ''}": (
            gzip.compress(idx_bytes(array)) if compress else idx_bytes(array)
        )
        for part, pair in images().items()
        for kind, array in zip(("images", "labels"), pair, strict=True)
    }


def npz_bytes(save, **arrays):
    file = io.BytesIO()
    save(file, **arrays)
    return file.getvalue()


def mnist_npz(save):
    (x_train, y_train), (x_test, y_test) = images().values()
    arrays = {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}
    return {"mnist.npz": npz_bytes(save, **arrays)}


def own_npz():
    x = np.arange(20 * 30, dtype="uint8").reshape(20, 30)
    return {"mine.npz": npz_bytes(np.savez, x=x, y=np.arange(20) % 2, lengths=np.arange(1, 21))}


def wav_bytes(samples, rate):
    file = io.BytesIO()
    with wave.open(file, "wb") as content:
        content.setparams((1, 2, rate, 0, "NONE", ""))
        content.writeframes(samples.tobytes())
    return file.getvalue()


def noise(seed, length):
    return np.random.RandomState(seed).randint(-(2**15), 2**15, length).astype("int16")


def own_sounds():
    return {
        f"words/{('no', 'yes')[index % 2]}/{index}.wav": wav_bytes(noise(index, 40 + index), 8000)
        for index in range(8)
    }


def speech_files():
    from keras_ssm.datasets.speech.speech_commands import CLASSES

    files = {
        f"speech_commands/{word}/{number}.wav": wav_bytes(noise(100 * index + number, 50), 16000)
        for index, word in enumerate(CLASSES["sc35"])
        for number in range(3)
    }
    lists = {"validation_list.txt": 1, "testing_list.txt": 2}
    for name, number in lists.items():
        lines = "".join(f"{word}/{number}.wav\n" for word in CLASSES["sc35"])
        files[f"speech_commands/{name}"] = lines.encode()
    return files


MEMBERS = {"release/a.txt": b"first" * 300, "release/deep/b.txt": bytes(range(256)) * 4}


def tar_bytes():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in {**MEMBERS, "release/" + "long" * 40: b"end"}.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def zip_bytes():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in MEMBERS.items():
            archive.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), content)
    return file.getvalue()


def unpacked(folder):
    from keras_ssm.datasets import archives

    path = archives.unpack(folder / "archive", folder / "unpacked")
    found = sorted(entry for entry in path.rglob("*") if entry.is_file())
    names = [str(entry.relative_to(path)) for entry in found]
    return [np.array(names), *(np.frombuffer(entry.read_bytes(), "uint8") for entry in found)]


X, Y = np.arange(280, dtype="uint8").reshape(40, 7), np.arange(40, dtype="int32")


def prepared(folder):
    """Built anew, which gives the same, if it is not whole."""
    from keras_ssm.datasets import cache

    path = folder / "train.h5"
    arrays = cache.cached(path, {"level": "bytes"}, lambda: {"x": X, "y": Y}).values()
    return [np.array(array) for array in arrays]  # the file under the map is written again


def cache_files():
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        prepared(pathlib.Path(folder))
        return {"train.h5": (pathlib.Path(folder) / "train.h5").read_bytes()}


def loaded(name, **options):
    def load(folder):
        from keras_ssm import datasets

        parts = getattr(datasets, name).load_data(**options, data_dir=folder)
        return [array for part in parts for array in part]

    return load


def own(name):
    def load(folder):
        from keras_ssm.datasets import folder as own_data

        parts = own_data.load_data(folder / name, 0.25, 0.25, data_dir=folder / "data")
        return [array for part in parts for array in part]

    return load


def cifar_files():
    names = (*(f"data_batch_{index}" for index in range(1, 6)), "test_batch")
    return {f"cifar-10-batches-py/{name}": batch(i, 10) for i, name in enumerate(names)}


def encoded(files):
    return {
        name: content.encode() if isinstance(content, str) else content
        for name, content in files.items()
    }


READERS = {
    "idx": (lambda: idx_files(False), loaded("mnist", validation_fraction=0.5)),
    "idx_gz": (lambda: idx_files(True), loaded("mnist", validation_fraction=0.5)),
    "npz": (lambda: mnist_npz(np.savez), loaded("mnist", validation_fraction=0.5)),
    "npz_deflated": (
        lambda: mnist_npz(np.savez_compressed),
        loaded("mnist", validation_fraction=0.5),
    ),
    "cifar10": (cifar_files, loaded("cifar10", validation_fraction=0.2)),
    "listops": (listops_files, loaded("listops", max_length=60)),
    "text": (lambda: REVIEWS, loaded("text", max_length=60)),
    "retrieval": (retrieval_files, loaded("retrieval", max_length=40)),
    "pathfinder": (png_files, loaded("pathfinder")),
    "folder": (own_sounds, own("words")),
    "folder_npz": (own_npz, own("mine.npz")),
    "speech_commands": (speech_files, loaded("speech_commands")),
    "tar": (lambda: {"archive": tar_bytes()}, unpacked),
    "tar_gz": (lambda: {"archive": gzip.compress(tar_bytes(), mtime=0)}, unpacked),
    "tar_xz": (lambda: {"archive": lzma.compress(tar_bytes())}, unpacked),
    "zip": (lambda: {"archive": zip_bytes()}, unpacked),
    "cache": (cache_files, prepared),
}


# Of labels that a reader may give, whatever was changed.
LABELS = {"text": 2, "retrieval": 2, "pathfinder": 2, "folder": 2, "speech_commands": 35}


def same(one, other):
    return len(one) == len(other) and all(
        (a.dtype, a.shape) == (b.dtype, b.shape) and np.array_equal(a, b)
        for a, b in zip(one, other, strict=True)
    )


def right(name, found, expected):
    """Types and numbers of axes are what they were, and labels are some that exist."""
    alike = len(found) == len(expected) and all(
        (a.dtype, a.ndim) == (b.dtype, b.ndim) for a, b in zip(found, expected, strict=True)
    )
    if not alike or name in ("tar", "cache"):
        return alike
    per_part = len(found) // 3
    return all(
        len(x) == len(y) > 0 and y.min() >= 0 and y.max() < LABELS.get(name, 10)
        for x, y in zip(found[::per_part], found[1::per_part], strict=True)
    )


@pytest.mark.parametrize("name", READERS)
def test_damaged_files(name, tmp_path, monkeypatch, record_property):
    # Nothing is lost by these files, and waiting for the disk takes most of the time.
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    make, load = READERS[name]
    files = encoded(make())
    write(tmp_path, files)
    expected = load(tmp_path)
    assert same(load(tmp_path), expected)
    source, counts, failures = random.Random(f"{name}{SEED}"), Counter(), []
    names = sorted(files)
    for number in range(MUTATIONS):
        victim = source.choice(names)
        content = mutated(files[victim], source) if files[victim] else b"x"
        for built in ("keras_ssm", "data", "unpacked"):
            shutil.rmtree(tmp_path / built, ignore_errors=True)
        (tmp_path / victim).write_bytes(content)
        try:
            found = load(tmp_path)
        except ValueError as error:
            named = pathlib.PurePath(victim).name in str(error)
            counts["refused"] += named
            if not named:
                failures.append((number, victim, f"unnamed: {error}"))
        except Exception as error:
            failures.append((number, victim, f"{type(error).__name__}: {error}"))
        else:
            if same(found, expected):
                counts["equal"] += 1
            elif name in UNSEEN and right(name, found, expected):
                counts["unseen"] += 1
            else:
                failures.append((number, victim, "different data"))
        (tmp_path / victim).write_bytes(files[victim])
    record_property("outcomes", dict(counts))
    print(name, MUTATIONS, dict(counts), len(failures))
    assert not failures, f"{len(failures)} of {MUTATIONS}: {failures[:10]}"
    assert counts["refused"] > 0
    assert same(load(tmp_path), expected)


def write(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
