"""Loaders of the Long Range Arena on small archives in the layouts of the official ones."""

import io
import logging
import random
import tarfile
import zlib
from collections import Counter

import numpy as np
import pytest

pytestmark = pytest.mark.backend_free

INNER = "lra_release/lra_release"


def write(folder, files):
    """Files by relative path; values are str or bytes."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def pack(path, files):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            content = content.encode() if isinstance(content, str) else content
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def under(folder, files):
    return {f"{folder}/{name}": content for name, content in files.items()}


# ListOps.


def expression(random, depth):
    """A tree as the release writes it: pairs nested to the left, all parts with blanks."""
    if depth == 0 or random.random() < 0.3:
        return str(random.randrange(10))
    text = random.choice(["[MIN", "[MAX", "[MED", "[SM"])
    for _ in range(random.randint(2, 4)):
        text = f"( {text} {expression(random, depth - 1)} )"
    return f"( {text} ] )"


def listops_files(seed=0):
    source = random.Random(seed)

    def table(count):
        rows = (f"{expression(source, 3)}\t{source.randrange(10)}\n" for _ in range(count))
        return "Source\tTarget\n" + "".join(rows)

    counts = {"train": 30, "val": 7, "test": 5}
    return {f"listops-1000/basic_{name}.tsv": table(count) for name, count in counts.items()}


def official_tokens(source):
    """lindermanlab/S5, listops_tokenizer, and the end that it appends."""
    plain = source.translate({ord("]"): "X", ord("("): None, ord(")"): None})
    return [*plain.split(), "<eos>"]


def check_listops(parts, files, length):
    from keras_ssm.datasets.lra.listops import TOKENS

    for (x, y, lengths), text in zip(parts, files.values(), strict=True):
        rows = [line.split("\t") for line in text.splitlines()[1:]]
        assert x.shape == (len(rows), length)
        assert [array.dtype for array in (x, y, lengths)] == ["uint8", "int32", "int32"]
        assert y.tolist() == [int(target) for _, target in rows]
        for row, count, (source, _) in zip(x, lengths, rows, strict=True):
            assert [TOKENS[token] for token in row[:count]] == official_tokens(source)
            assert not row[count:].any()


@pytest.mark.parametrize("place", ["", "lra_release/", f"{INNER}/", f"lra_release/{INNER}/"])
def test_listops_at_every_depth(tmp_path, place):
    from keras_ssm.datasets import listops

    files = listops_files()
    write(tmp_path, under(f"{place}.", files))
    check_listops(listops.load_data(200, tmp_path), files, 200)
    check_listops(listops.load_data(200, tmp_path / place / "listops-1000"), files, 200)


def test_the_inner_listops_is_preferred(tmp_path):
    from keras_ssm.datasets import listops

    write(tmp_path, under("lra_release", listops_files(1)))
    files = listops_files(2)
    write(tmp_path, under(INNER, files))
    for data_dir in (tmp_path, tmp_path / "lra_release"):
        check_listops(listops.load_data(200, data_dir), files, 200)


def test_listops_from_the_archive_alone(tmp_path, monkeypatch):
    from keras_ssm.datasets import listops

    files = listops_files()
    other = {"lra_release/lra_release/tsv_data/x.tsv": "not wanted"}
    pack(tmp_path / "lra_release.gz", {**under(INNER, files), **other})
    monkeypatch.setenv("KERAS_SSM_DATA", str(tmp_path))
    check_listops(listops.load_data(200), files, 200)
    assert not list(tmp_path.rglob("x.tsv"))
    # What is prepared does not need the release any more.
    (tmp_path / "lra_release.gz").unlink()
    (tmp_path / "listops-1000-unpacked").rename(tmp_path.parent / f"{tmp_path.name}-away")
    check_listops(listops.load_data(200), files, 200)
    with pytest.raises(
        ValueError, match=r"expected listops-1000/ or lra_release.gz in .*found ker"
    ):
        listops.load_data(100)


def test_a_task_fetches_its_archive_on_demand_and_unpacks_it(tmp_path, monkeypatch):
    import dataclasses

    from keras_ssm import recipes
    from keras_ssm.datasets import listops

    files = listops_files()
    (tmp_path / "server").mkdir()
    pack(tmp_path / "server" / "lra_release.gz", under(INNER, files))
    url = (tmp_path / "server" / "lra_release.gz").as_uri()
    there = dataclasses.replace(listops.SOURCE, url=url)
    task = recipes.TASKS["lra-listops"]._replace(source=there)
    monkeypatch.setitem(recipes.TASKS, "lra-listops", task)
    recipe, data = recipes.get("lra-listops", "s5"), tmp_path / "data"
    folder = recipes.download(recipe, data)
    check_listops(listops.load_data(200, data), files, 200)
    # Once only.
    (tmp_path / "server" / "lra_release.gz").unlink()
    assert recipes.download(recipe, data) == folder


def test_the_numbers_of_the_tokens_are_part_of_what_a_saved_model_means(tmp_path):
    from keras_ssm.datasets import listops

    files = listops_files()
    source = "( ( ( ( ( [MAX 0 ) 9 ) ( ( ( [MIN 4 ) 7 ) ] ) ) ( ( [MED ( ( [SM 1 ) ] ) ) ] ) ) ] )"
    files["listops-1000/basic_test.tsv"] = f"Source\tTarget\n{source}\t9\n"
    write(tmp_path, files)
    x = listops.load_data(20, tmp_path)[2][0]
    assert x[0, :16].tolist() == [14, 3, 12, 13, 7, 10, 17, 15, 16, 4, 17, 17, 17, 2, 0, 0]


def test_long_expressions_are_cut_before_the_end(tmp_path):
    from keras_ssm.datasets import listops

    write(tmp_path, listops_files())
    long, short = (listops.load_data(length, tmp_path)[0] for length in (200, 12))
    for x, count, cut, cut_count in zip(long[0], long[2], short[0], short[2], strict=True):
        assert cut_count == min(count, 12)
        assert cut.tolist() == [*x[: cut_count - 1], 2, *[0] * (12 - cut_count)]


def test_new_files_are_read_and_not_the_old_cache(tmp_path):
    from keras_ssm.datasets import listops

    for seed in (1, 2):
        files = listops_files(seed)
        write(tmp_path, files)
        check_listops(listops.load_data(200, tmp_path), files, 200)


@pytest.mark.parametrize("end", ["\n", "", "\r\n"])
def test_blocks_end_anywhere(tmp_path, monkeypatch, end):
    from keras_ssm.datasets import listops
    from keras_ssm.datasets.lra import tokens

    monkeypatch.setattr(tokens, "_BLOCK", 50)
    files = listops_files()
    ended = {
        name: text[:-1].replace("\n", end or "\n") + end.strip("\r") for name, text in files.items()
    }
    write(tmp_path, ended)
    check_listops(listops.load_data(200, tmp_path), files, 200)


@pytest.mark.parametrize(
    "line",
    [
        "( ( [MAX 1 ) 2",  # cut off before its target
        "( ( ( [MAX 1 ) 2 ) ] )\t",
        "( ( ( [MAX 1 ) 2 ) ] )\t12",
        "( ( ( [MAX 1 ) 2 ) ] )\tx",
        "( ( ( [MAX 1 ) 2 ) ] )\t1\t1",
        "( ( ( MAX 1 ) 2 ) )\t2",  # of the release that had lost its brackets
        "( ( ( [MAX 11 ) 2 ) ] )\t2",
        "( ( ( [MUX 1 ) 2 ) ] )\t2",
        "( ( ( [AND 1 ) 2 ) ] )\t2",
        '"( ( ( [MAX 1 ) 2 ) ] )"\t2',
        "",
    ],
)
def test_a_line_that_is_no_expression_is_named(tmp_path, line, monkeypatch):
    from keras_ssm.datasets import listops
    from keras_ssm.datasets.lra import tokens

    monkeypatch.setattr(tokens, "_BLOCK", 50)
    files = listops_files()
    rows = files["listops-1000/basic_val.tsv"].split("\n")
    rows[4] = line
    write(tmp_path, {**files, "listops-1000/basic_val.tsv": "\n".join(rows)})
    with pytest.raises(ValueError, match=r"in line 5 of .*basic_val.tsv, found b'"):
        listops.load_data(200, tmp_path)
    assert [path.name for path in tmp_path.rglob("*.h5")] == ["train.h5"]


def test_listops_files_that_are_missing_empty_or_of_something_else(tmp_path):
    from keras_ssm.datasets import listops

    with pytest.raises(ValueError, match=r"listops-1000/ or lra_release.gz in .*an empty folder"):
        listops.load_data(data_dir=tmp_path)
    files = listops_files()
    write(tmp_path, files)
    path = tmp_path / "listops-1000" / "basic_test.tsv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"the header .*basic_test.tsv, found b'a,b'"):
        listops.load_data(200, tmp_path)
    path.write_text("")
    with pytest.raises(ValueError, match=r"lines in .*basic_test.tsv, found an empty file"):
        listops.load_data(200, tmp_path)
    path.unlink()
    with pytest.raises(ValueError, match=r"basic_test.tsv in .*found basic_train.tsv, basic_val"):
        listops.load_data(200, tmp_path)
    with pytest.raises(ValueError, match="Received: max_length=1"):
        listops.load_data(1, tmp_path)


@pytest.mark.parametrize(
    "source",
    [
        "( ( [MAX 4 ) 3 )",  # cut short
        "( ( [MAX 4 ) 3 ) ] ) ]",
        "] [MAX 4 3",
        "[MAX 4 3 ] [MIN 1 2 ]",
        "[MAX 4 3 ] 5",
        "5 [MAX 4 3 ]",
        "[MAX [MIN ] 3 ]",
        "[MAX ]",
        "",
        "( )",
    ],
)
def test_an_expression_that_is_not_whole_is_named(tmp_path, source):
    from keras_ssm.datasets import listops

    files = listops_files()
    # A line that wants a bracket and one that has it too many must not make up for each other.
    for name in ("basic_train", "basic_val"):
        lines = files[f"listops-1000/{name}.tsv"].splitlines()
        lines[5:5] = [f"{source}\t3", "( ( [MAX 4 ) ] )\t3"]
        files[f"listops-1000/{name}.tsv"] = "\n".join(lines)
    write(tmp_path, files)
    with pytest.raises(ValueError, match=r"a whole expression .* in line 6 of .*basic_train.tsv"):
        listops.load_data(200, tmp_path)


@pytest.mark.parametrize("name", ["train", "val", "test"])
def test_parts_of_listops_are_neither_empty_nor_the_same(tmp_path, name):
    from keras_ssm.datasets import listops

    files = listops_files()
    other = "train" if name != "train" else "test"
    repeated = {**files, f"listops-1000/basic_{name}.tsv": files[f"listops-1000/basic_{other}.tsv"]}
    write(tmp_path, repeated)
    with pytest.raises(ValueError, match=r"own, found that of .*basic_.*tsv in .*basic_.*tsv too"):
        listops.load_data(200, tmp_path)
    write(tmp_path, {**files, f"listops-1000/basic_{name}.tsv": "Source\tTarget\n"})
    with pytest.raises(ValueError, match=rf"in .*basic_{name}.tsv, found only its header"):
        listops.load_data(200, tmp_path)


# Text.

REVIEWS = {
    "aclImdb/train/neg/0_3.txt": "bad, really bad" + "a" * 20,
    "aclImdb/train/neg/10_1.txt": 'worse\twith "quotes"<br />\nand ünïcode ' + "ü" * 15,
    "aclImdb/train/pos/1_9.txt": "good" * 20,
    "aclImdb/train/unsup/2_0.txt": "z" * 50,
    "aclImdb/test/neg/0_2.txt": "bad ☃ zz",
    "aclImdb/test/pos/5_10.txt": "good ü",
    "aclImdb/test/pos/6_10.txt": "",
    "aclImdb/README": "about",
}


def torchtext_vocabulary(texts, min_freq):
    """torchtext.vocab.build_vocab_from_iterator: by frequency, then by character."""
    counted = sorted(Counter("".join(texts)).items(), key=lambda item: (-item[1], item[0]))
    tokens = ["<pad>", "<unk>", "<eos>"]
    return tokens + [character for character, count in counted if count >= min_freq]


def reviews(split):
    names = sorted(name for name in REVIEWS if name.startswith(f"aclImdb/{split}/"))
    kept = [name for name in names if "unsup" not in name]
    return [REVIEWS[name] for name in kept], [int("/pos/" in name) for name in kept]


def check_text(parts, length):
    known = torchtext_vocabulary([text[: length - 1] for text in reviews("train")[0]], 15)
    assert 4 < len(known) < 20
    for (x, y, lengths), split in zip(parts, ("train", "test", "test"), strict=True):
        texts, labels = reviews(split)
        assert y.tolist() == labels
        for row, count, text in zip(x, lengths, texts, strict=True):
            tokens = [
                character if character in known else "<unk>" for character in text[: length - 1]
            ]
            assert [known[token] for token in row[:count]] == [*tokens, "<eos>"]
            assert not row[count:].any()


@pytest.mark.parametrize("archived", [False, True])
def test_text_by_characters(tmp_path, archived):
    from keras_ssm.datasets import text

    if archived:
        pack(tmp_path / "aclImdb_v1.tar.gz", REVIEWS)
    else:
        write(tmp_path, REVIEWS)
    for length in (100, 30):
        check_text(text.load_data(max_length=length, data_dir=tmp_path), length)


def test_text_by_bytes(tmp_path):
    from keras_ssm.datasets import text

    write(tmp_path, REVIEWS)
    train, validation, test = text.load_data("bytes", 40, tmp_path)
    for (x, y, lengths), split in ((train, "train"), (validation, "test"), (test, "test")):
        texts, labels = reviews(split)
        assert (x.dtype, y.tolist()) == ("uint8", labels)
        for row, count, content in zip(x, lengths, texts, strict=True):
            assert (row[:count] - 1).tobytes() == content.encode()[:40]
            assert not row[count:].any()


def test_text_that_is_missing_or_damaged(tmp_path):
    from keras_ssm.datasets import text

    with pytest.raises(ValueError, match=r"aclImdb/ or aclImdb_v1.tar.gz in .*ai.stanford.edu"):
        text.load_data(data_dir=tmp_path)
    write(tmp_path, {**REVIEWS, "aclImdb/test/pos/7_1.txt": b"caf\xe9"})
    with pytest.raises(ValueError, match=r"UTF-8 in .*7_1.txt, found 4 bytes"):
        text.load_data(data_dir=tmp_path)
    for path in (tmp_path / "aclImdb/test/pos").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match=r"expected reviews \(\*.txt\) in .*test/pos, found an em"):
        text.load_data(data_dir=tmp_path)
    with pytest.raises(ValueError, match="Received: level='words'"):
        text.load_data("words", data_dir=tmp_path)


def test_a_cut_archive_of_text(tmp_path):
    from keras_ssm.datasets import text

    path = tmp_path / "aclImdb_v1.tar.gz"
    pack(path, REVIEWS)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"aclImdb_v1.tar.gz of \d+ bytes, which is cut short"):
        text.load_data(data_dir=tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


# Retrieval.

PAIRS = {
    "train": [
        ("1.0", 'the "quoted" text', "another, longer text"),
        ("0.0", '"opened and not closed', "line\x0bseparators \x85\u2028 of Unicode"),
        ("1.0", "naïve", "x" * 60),
    ],
    "eval": [("0.0", "with a ☃ unknown", '"')],
    "test": [("1.0", "", "second"), ("0.0", "text", "text")],
}


def retrieval_files():
    return {
        f"tsv_data/new_aan_pairs.{name}.tsv": "".join(
            f"{label}\tA{row}\tB{row}\t{one}\t{two}\n" for row, (label, one, two) in enumerate(rows)
        )
        for name, rows in PAIRS.items()
    }


@pytest.mark.parametrize("length", [80, 20])
def test_retrieval_by_characters(tmp_path, length):
    from keras_ssm.datasets import retrieval

    write(tmp_path, under(INNER, retrieval_files()))
    parts = retrieval.load_data(max_length=length, data_dir=tmp_path)
    training = [text[: length - 1] for _, *texts in PAIRS["train"] for text in texts]
    known = torchtext_vocabulary(training, 1)
    for (x, y, lengths), rows in zip(parts, PAIRS.values(), strict=True):
        assert x.shape == (len(rows), 2, length)
        assert [array.dtype for array in (x, y, lengths)] == ["uint8", "int32", "int32"]
        assert y.tolist() == [float(label) for label, *_ in rows]
        for pair, counts, (_, *texts) in zip(x, lengths, rows, strict=True):
            for row, count, text in zip(pair, counts, texts, strict=True):
                tokens = [
                    character if character in known else "<unk>" for character in text[: length - 1]
                ]
                assert [known[token] for token in row[:count]] == [*tokens, "<eos>"]
                assert not row[count:].any()


def test_retrieval_by_bytes_and_in_small_blocks(tmp_path, monkeypatch):
    from keras_ssm.datasets import retrieval
    from keras_ssm.datasets.lra import tokens

    monkeypatch.setattr(tokens, "_BLOCK", 30)
    write(tmp_path, retrieval_files())
    parts = retrieval.load_data("bytes", 25, tmp_path)
    for (x, _, lengths), rows in zip(parts, PAIRS.values(), strict=True):
        for pair, counts, (_, *texts) in zip(x, lengths, rows, strict=True):
            found = [(row[:count] - 1).tobytes() for row, count in zip(pair, counts, strict=True)]
            assert found == [text.encode()[:25] for text in texts]


def test_a_vocabulary_never_outgrows_the_published_one(tmp_path):
    from keras_ssm.datasets import retrieval

    many = "".join(map(chr, range(0x400, 0x500)))
    files = retrieval_files()
    files["tsv_data/new_aan_pairs.train.tsv"] += f"1.0\ta\tb\t{many}\t{many}\n"
    write(tmp_path, files)
    x = retrieval.load_data(data_dir=tmp_path)[0][0]
    assert x.max() == retrieval.VOCABULARY_SIZE["characters"] - 1


@pytest.mark.parametrize(
    "line",
    [b"1.0\ta\tb\tone text", b"2.0\ta\tb\tx\ty", b"1.0\ta\tb\tx\ty\tz", b"1.0\ta\tb\t\xff\ty"],
)
def test_a_pair_that_is_none_is_named(tmp_path, line):
    from keras_ssm.datasets import retrieval

    files = retrieval_files()
    name = "tsv_data/new_aan_pairs.eval.tsv"
    write(tmp_path, {**files, name: files[name].encode() + line + b"\n"})
    with pytest.raises(ValueError, match=r"in line 2 of .*new_aan_pairs.eval.tsv"):
        retrieval.load_data(data_dir=tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(ValueError, match=r"new_aan_pairs.eval.tsv in .*found new_aan_pairs.test"):
        retrieval.load_data(data_dir=tmp_path)


# Pathfinder.


@pytest.fixture
def image():
    return pytest.importorskip("PIL.Image", reason="Pillow is not installed")


def png(image, pixels):
    buffer = io.BytesIO()
    image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def pathfinder_files(image, seed, resolution=32, level="curv_contour_length_14", batches=12):
    """Images of random pixels; a dozen batches, so that names and numbers sort differently."""
    random = np.random.RandomState(seed)
    files, samples = {}, []
    for batch in range(batches):
        lines = ""
        for index in range(3):
            pixels = random.randint(0, 256, (resolution, resolution)).astype("uint8")
            label = random.randint(2)
            name = f"pathfinder{resolution}/{level}/imgs/{batch}/sample_{index}.png"
            files[name] = png(image, pixels)
            samples.append((pixels.reshape(-1), label))
            lines += f"imgs/{batch} sample_{index}.png {index} {label} 1.0 14 4 2 0.5 1 1\n"
        files[f"pathfinder{resolution}/{level}/metadata/{batch}.npy"] = lines
    return files, samples


def table(parts):
    return sorted((*x.tolist(), label) for part in parts for x, label in zip(*part, strict=True))


def test_pathfinder_gives_every_image_once(tmp_path, image):
    from keras_ssm.datasets import pathfinder

    files, samples = pathfinder_files(image, 0)
    write(tmp_path, under(INNER, files))
    parts = pathfinder.load_data(data_dir=tmp_path)
    assert [x.shape for x, _ in parts] == [(30, 1024), (3, 1024), (3, 1024)]
    assert [(x.dtype, y.dtype) for x, y in parts] == [("uint8", "int32")] * 3
    assert table(parts) == sorted((*pixels.tolist(), label) for pixels, label in samples)
    again = pathfinder.load_data(seed=1, data_dir=tmp_path)
    assert table(again) == table(parts)
    assert table(again[2:]) != table(parts[2:])


def test_the_slices_of_the_arena_follow_the_numbers_of_the_metadata(tmp_path, image):
    from keras_ssm.datasets import pathfinder

    files, samples = pathfinder_files(image, 0, resolution=64)
    write(tmp_path, files)
    train, validation, test = pathfinder.load_data(64, seed=None, data_dir=tmp_path)
    pixels = np.stack([pixels for pixels, _ in samples])
    np.testing.assert_array_equal(train[0], pixels[:30])
    np.testing.assert_array_equal(validation[0], pixels[30:33])
    np.testing.assert_array_equal(test[0], pixels[33:])
    assert test[1].tolist() == [label for _, label in samples[33:]]


def test_the_broken_duplicate_of_pathx_is_not_taken(tmp_path, image):
    from keras_ssm.datasets import pathfinder

    broken, _ = pathfinder_files(image, 1, resolution=128, batches=4)
    files, samples = pathfinder_files(image, 2, resolution=128, batches=4)
    write(tmp_path, under("lra_release", broken))
    write(tmp_path, under(INNER, files))
    parts = pathfinder.load_data(128, data_dir=tmp_path)
    assert table(parts) == sorted((*pixels.tolist(), label) for pixels, label in samples)


def test_the_broken_duplicate_alone_is_warned_of(tmp_path, image, caplog):
    from keras_ssm.datasets import pathfinder

    files, _ = pathfinder_files(image, 1, resolution=128, batches=4)
    write(tmp_path, under("lra_release", files))
    pathfinder.load_data(128, data_dir=tmp_path)
    assert "old pathfinder128" in caplog.text
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_the_known_empty_image_is_left_out_and_no_other(tmp_path, image):
    from keras_ssm.datasets import pathfinder

    files, samples = pathfinder_files(image, 0, level="curv_baseline")
    folder = "pathfinder32/curv_baseline"
    files[f"{folder}/metadata/0.npy"] += "imgs/0 sample_172.png 172 1 1.0 6 2\n"
    files[f"{folder}/imgs/0/sample_172.png"] = b""
    write(tmp_path, files)
    parts = pathfinder.load_data(contour_length=6, data_dir=tmp_path)
    assert table(parts) == sorted((*pixels.tolist(), label) for pixels, label in samples)
    write(tmp_path, {f"{folder}/imgs/3/sample_1.png": b""})
    with pytest.raises(ValueError, match=r"imgs/3/sample_1.png, found 0 bytes"):
        pathfinder.load_data(contour_length=6, seed=1, data_dir=tmp_path)


@pytest.mark.parametrize("damage", ["cut", "gone", "size"])
def test_an_image_that_cannot_be_read_is_named(tmp_path, image, damage):
    from keras_ssm.datasets import pathfinder

    files, _ = pathfinder_files(image, 0)
    name = "pathfinder32/curv_contour_length_14/imgs/7/sample_2.png"
    whole = files[name]
    files[name] = whole[: len(whole) // 2]
    if damage == "size":
        files[name] = png(image, np.zeros((16, 32), "uint8"))
    write(tmp_path, files)
    if damage == "gone":
        (tmp_path / name).unlink()
    found = {"cut": r"found \d+ bytes", "gone": "found sample_0.png", "size": "found 32 x 16"}
    with pytest.raises(
        ValueError, match=rf"sample_2.png .*imgs/7, found|imgs/7/sample_2.png, {found[damage]}"
    ):
        pathfinder.load_data(data_dir=tmp_path)
    assert not list(tmp_path.rglob("*.partial"))


def test_metadata_that_are_not_text(tmp_path, image):
    from keras_ssm.datasets import pathfinder

    files, _ = pathfinder_files(image, 0)
    name = "pathfinder32/curv_contour_length_14/metadata/3.npy"
    for content, found in (
        (b"\x93NUMPY\x01\x00", "found an array of NumPy"),
        ("imgs/3 sample_0.png 0 2\n", "in line 1 of .*3.npy"),
        ("imgs/3 sample_0.png 0 1\nimgs/3 sample_1.p", "in line 2 of .*3.npy"),
    ):
        write(tmp_path, {**files, name: content})
        with pytest.raises(ValueError, match=found):
            pathfinder.load_data(data_dir=tmp_path)
    write(tmp_path, {"pathfinder32/curv_contour_length_14/metadata/x.npy": ""})
    with pytest.raises(ValueError, match=r"metadata 0.npy, 1.npy, .*x.npy"):
        pathfinder.load_data(data_dir=tmp_path)
    with pytest.raises(ValueError, match=r"curv_contour_length_9/metadata, found none"):
        pathfinder.load_data(contour_length=9, data_dir=tmp_path)
    with pytest.raises(ValueError, match="Received: resolution=48"):
        pathfinder.load_data(48, data_dir=tmp_path)
    with pytest.raises(ValueError, match="Received: contour_length=7"):
        pathfinder.load_data(contour_length=7, data_dir=tmp_path)


def test_without_pillow_the_extra_is_named(tmp_path, image, monkeypatch):
    import sys

    from keras_ssm.datasets import pathfinder

    write(tmp_path, pathfinder_files(image, 0)[0])
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r'pip install "keras-ssm\[data\]"'):
        pathfinder.load_data(data_dir=tmp_path)


def changed_image(image, change):
    """Bytes of an image that is not 32 x 32 grey pixels in PNG."""
    buffer = io.BytesIO()
    pixels = np.zeros((32, 32), "uint8")
    if change == "jpeg":
        image.fromarray(pixels).save(buffer, "JPEG")
    elif change == "colour":
        image.fromarray(np.zeros((32, 32, 3), "uint8")).save(buffer, "PNG")
    elif change == "16 bits":
        image.fromarray(np.zeros((32, 32), "uint16")).save(buffer, "PNG")
    else:
        image.fromarray(pixels).save(buffer, "PNG")
        content = buffer.getvalue()
        if change == "pixels":  # a byte of the compressed pixels, whose checksum is left
            place = content.index(b"IDAT") + 12
            return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        header = content[:16] + (4096).to_bytes(4, "big") * 2 + content[24:29]
        return header + zlib.crc32(header[12:]).to_bytes(4, "big") + content[33:]
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("jpeg", "expected a PNG image in"),
        ("colour", "of mode RGB"),
        ("16 bits", "of mode I;16"),
        ("pixels", "expected a PNG image in"),
        ("size", "4096 x 4096 of mode L"),
    ],
)
def test_an_image_of_another_kind_is_refused(tmp_path, image, change, found):
    from keras_ssm.datasets import pathfinder

    files, _ = pathfinder_files(image, 0)
    name = "pathfinder32/curv_contour_length_14/imgs/3/sample_1.png"
    write(tmp_path, {**files, name: changed_image(image, change)})
    with pytest.raises(ValueError, match=rf"sample_1.png, found .*{found}|{found}.*sample_1.png"):
        pathfinder.load_data(data_dir=tmp_path)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (
            "../../../secret/0 x.png 0 1",
            r"an image inside .* in line 4 of .*2.npy, found \.\./\.\./\.\./secret/0/x.png",
        ),
        ("/secret x.png 0 1", "an image inside .* in line 4 of .*2.npy, found /secret/x.png"),
        ("imgs/0 ../../x.png 0 1", "an image inside .* in line 4 of .*2.npy, found imgs/0/"),
        (
            "imgs/0 sample_0.png 0 1",
            "image once, found imgs/0/sample_0.png again in line 4 of .*2.npy",
        ),
    ],
)
def test_names_in_the_metadata_stay_inside_and_come_once(tmp_path, image, line, found):
    from keras_ssm.datasets import pathfinder

    files, _ = pathfinder_files(image, 0)
    name = "pathfinder32/curv_contour_length_14/metadata/2.npy"
    write(tmp_path, {**files, name: files[name] + line + "\n"})
    with pytest.raises(ValueError, match=found):
        pathfinder.load_data(data_dir=tmp_path)


def test_too_few_images_for_three_parts(tmp_path, image):
    from keras_ssm.datasets import pathfinder

    write(tmp_path, pathfinder_files(image, 0, batches=3)[0])
    with pytest.raises(ValueError, match=r"at least 10 images, .*metadata, found 9"):
        pathfinder.load_data(data_dir=tmp_path)
