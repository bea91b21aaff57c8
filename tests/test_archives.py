import gzip
import io
import os
import pathlib
import tarfile
import threading
import zipfile

import pytest

pytestmark = pytest.mark.backend_free
FILES = {"release/a.txt": b"first" * 2000, "release/deep/b.txt": os.urandom(5000)}


def write_tar(path, mode="w:gz", files=FILES, members=()):
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for member in members:
            archive.addfile(member)
    return path


def write_zip(path, files=FILES):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def unpack(*arguments, **options):
    from keras_ssm.datasets import archives

    return archives.unpack(*arguments, **options)


def content(folder):
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.mark.parametrize("mode", ["w:gz", "w:xz", "w", "zip"])
def test_an_archive_is_unpacked_whole_whatever_it_is_called(tmp_path, mode):
    path = tmp_path / "release.gz"
    write_zip(path) if mode == "zip" else write_tar(path, mode)
    assert content(unpack(path, tmp_path / "out")) == FILES
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["out", "release.gz"]
    path.unlink()
    assert unpack(path, tmp_path / "out") == tmp_path / "out"  # there already


def test_only_some_members(tmp_path):
    path = write_tar(tmp_path / "release.tar")
    assert list(content(unpack(path, tmp_path / "out", only="*/deep/*"))) == ["release/deep/b.txt"]
    with pytest.raises(ValueError, match=r"\*/other/\* in .*release.tar, found none"):
        unpack(path, tmp_path / "other", only="*/other/*")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("mode", ["w:gz", "w:xz", "w", "zip"])
def test_every_archive_that_is_cut_short_is_named_and_leaves_nothing(tmp_path, mode):
    whole = tmp_path / "whole"
    whole = write_zip(whole) if mode == "zip" else write_tar(whole, mode)
    data = whole.read_bytes()
    # In the plain tar, 1 + 20 and 22 + 1 + 10 blocks of 512 bytes end a member.
    ends = [512 * 21, 512 * 32] if mode == "w" else [len(data) - 1, len(data) - 9]
    for size in [0, 1, 300, 700, len(data) // 2, *ends]:
        cut = tmp_path / f"cut-{size}"
        cut.write_bytes(data[:size])
        with pytest.raises(ValueError, match=f"found .*{cut.name} of {size} bytes"):
            unpack(cut, tmp_path / "out")
        cut.unlink()
        assert [entry.name for entry in tmp_path.iterdir()] == ["whole"]


def test_a_changed_byte_is_seen(tmp_path):
    for path in (write_tar(tmp_path / "a.tar.gz"), write_zip(tmp_path / "a.zip")):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        with pytest.raises(ValueError, match=f"{path.name} of {len(data)} bytes"):
            unpack(path, tmp_path / "out")
        assert not (tmp_path / "out").exists()


def link(kind, name, target):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


@pytest.mark.parametrize(
    ("files", "members"),
    [
        ({"../x": b"out"}, []),
        ({"release/../../x": b"out"}, []),
        ({"x": b"in"}, [link(tarfile.SYMTYPE, "release/x", "../../x")]),
        ({"x": b"in"}, [link(tarfile.LNKTYPE, "release/x", "x")]),
        ({"x": b"in"}, [link(tarfile.FIFOTYPE, "release/x", "")]),
    ],
)
def test_no_member_leaves_the_folder(tmp_path, files, members):
    path = write_tar(tmp_path / "bad.tar.gz", files={**FILES, **files}, members=members)
    with pytest.raises(ValueError, match=r"bad.tar.gz, found (release/)?(../)*x"):
        unpack(path, tmp_path / "deep" / "out")
    assert sorted(content(tmp_path)) == ["bad.tar.gz"]


@pytest.mark.parametrize("name", ["../x", "/x", "release/../../x"])
def test_no_member_of_a_zip_leaves_the_folder(tmp_path, name):
    path = write_zip(tmp_path / "bad.zip", {**FILES, name: b"out"})
    with pytest.raises(ValueError, match=f"bad.zip, found {name}"):
        unpack(path, tmp_path / "deep" / "out")
    assert sorted(content(tmp_path)) == ["bad.zip"]


def test_a_full_disk_leaves_nothing(tmp_path, full_disk):
    path = write_tar(tmp_path / "a.tar.gz", files={**FILES, "large": bytes(2 * full_disk.room)})
    with full_disk, pytest.raises(OSError, match="File too large"):
        unpack(path, tmp_path / "out")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.tar.gz"]
    assert len(content(unpack(path, tmp_path / "out"))) == 3


def test_two_processes_unpack_at_once(tmp_path):
    path = write_tar(tmp_path / "a.tar.gz")
    barrier, failures = threading.Barrier(2), []

    def work():
        barrier.wait()
        try:
            unpack(path, tmp_path / "out")
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(2)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert not failures
    assert content(tmp_path / "out") == FILES
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.tar.gz", "out"]


# Layouts.


def test_the_preferred_depth_is_found_first(tmp_path):
    from keras_ssm.datasets import archives

    places = ("release/release", "release", "")
    assert archives.search(tmp_path, "x.tsv", places) is None
    for place in reversed(places):
        path = tmp_path / place / "x.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        assert archives.search(tmp_path, "x.tsv", places) == path


def test_what_is_missing_is_said_with_what_is_there(tmp_path):
    from keras_ssm.datasets import archives

    def message(folder):
        return str(archives.missing(folder, "x.tsv", ("release", ""), "It is from there"))

    assert f"expected x.tsv in {tmp_path}/release or {tmp_path}" in message(tmp_path)
    assert "found an empty folder. It is from there" in message(tmp_path)
    assert "found no such folder" in message(tmp_path / "nowhere")
    (tmp_path / "sub").mkdir()
    for index in range(9):
        (tmp_path / f"{index}.txt").touch()
    assert "found 0.txt, 1.txt" in message(tmp_path)
    assert "7.txt and 2 more" in message(tmp_path)
    assert isinstance(archives.missing(pathlib.Path("/"), "x", ("",), ""), ValueError)


def test_the_checksum_of_gzip_is_read(tmp_path):
    """The tar inside ends before the stream does, so its reader would not look."""
    path = tmp_path / "a.tar.gz"
    data = bytearray(gzip.compress(write_tar(tmp_path / "a.tar", "w").read_bytes()))
    data[-8] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"a.tar.gz of .*CRC"):
        unpack(path, tmp_path / "out")


def test_rubbish_between_members_is_not_taken_for_the_end(tmp_path):
    path = write_tar(tmp_path / "a.tar", "w")
    data = bytearray(path.read_bytes())
    data[512 * 21 : 512 * 22] = b"x" * 512  # the second header
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"a.tar of .*the end mark is missing"):
        unpack(path, tmp_path / "out")


def test_a_tar_that_ends_like_a_zip_is_a_tar(tmp_path):
    path = write_tar(tmp_path / "a.tar", "w", {**FILES, "last.zip": b"PK"})
    end = write_zip(tmp_path / "b.zip", {"other": b"x"}).read_bytes()
    with tarfile.open(path, "a") as archive:
        member = tarfile.TarInfo("inner.zip")
        member.size = len(end)
        archive.addfile(member, io.BytesIO(end))
    assert zipfile.is_zipfile(path)
    assert sorted(content(unpack(path, tmp_path / "out"))) == sorted(
        [*FILES, "last.zip", "inner.zip"]
    )


@pytest.mark.parametrize("mode", ["w:gz", "w:xz", "w:bz2", "zip"])
def test_an_archive_that_would_fill_the_disk_is_refused(tmp_path, monkeypatch, mode):
    from keras_ssm.datasets import archives

    # In small; the limits of real archives are above what they need, and below a disk.
    assert (archives._LEAST_LIMIT, archives._LARGEST_RATIO) == (1 << 26, 100)
    monkeypatch.setattr(archives, "_LEAST_LIMIT", 1 << 12)
    files = {"zeros": bytes(1 << 22)}
    path = tmp_path / "bomb"
    write_zip(path, files) if mode == "zip" else write_tar(path, mode, files)
    with pytest.raises(ValueError, match=r"at most \d+ bytes, found more in .*bomb of \d+ bytes"):
        unpack(path, tmp_path / "out")
    # Nor is it read to the end in order to find what is wanted.
    with pytest.raises(ValueError, match="found more in"):
        unpack(path, tmp_path / "out", only="nothing")
    assert [entry.name for entry in tmp_path.iterdir()] == ["bomb"]


def test_what_follows_an_archive_is_not_read_for_ever(tmp_path, monkeypatch):
    from keras_ssm.datasets import archives

    monkeypatch.setattr(archives, "_LEAST_LIMIT", 1 << 12)
    path = tmp_path / "a.tar.gz"
    path.write_bytes(
        gzip.compress(write_tar(tmp_path / "a.tar", "w").read_bytes() + bytes(1 << 23))
    )
    with pytest.raises(ValueError, match=r"found more in .*a.tar.gz"):
        unpack(path, tmp_path / "out")


def encrypted(path):
    """A zip whose headers say that its member is encrypted."""
    data = bytearray(write_zip(path, {"a": b"content"}).read_bytes())
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(signature) + offset] |= 1
    path.write_bytes(data)


def odd_member(path, **attributes):
    member = tarfile.TarInfo("a")
    for name, value in attributes.items():
        setattr(member, name, value)
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        archive.addfile(member, io.BytesIO(bytes(max(member.size, 0))))


def long_header(path):
    """A name that claims more bytes than anyone has."""
    member = tarfile.TarInfo("a")
    member.type, member.size = tarfile.GNUTYPE_LONGNAME, 1 << 40
    path.write_bytes(member.tobuf(tarfile.GNU_FORMAT) + bytes(2048))


def sized(path, size):
    """A header with a size of its own choice."""
    member = tarfile.TarInfo("a")
    member.size = size
    path.write_bytes(member.tobuf(tarfile.GNU_FORMAT) + bytes(2048))


@pytest.mark.parametrize(
    ("write", "found"),
    [
        (encrypted, "encrypted"),
        (long_header, "a header of 1099511627776 bytes"),
        (lambda path: sized(path, -1024), "a has -1024 bytes"),
        (lambda path: sized(path, 1 << 30), "unexpected end of data"),
        (lambda path: write_zip(path, {"a" * 300: b"x"}), "found 'aaaa"),
        (lambda path: write_zip(path, {"a": b"x", "a/b": b"y"}), "found 'a/b'"),
        (lambda path: write_tar(path, "w", {"a": b"x", "./a": b"y"}), "found './a'"),
    ],
    ids=["encrypted", "header", "negative", "large", "name", "folder", "twice"],
)
def test_what_a_library_would_trip_over_is_named(tmp_path, write, found):
    write(tmp_path / "bad")
    with pytest.raises(ValueError, match=rf"{tmp_path}/bad.*({found})"):
        unpack(tmp_path / "bad", tmp_path / "out")
    assert [entry.name for entry in tmp_path.iterdir()] == ["bad"]


@pytest.mark.parametrize("time", [-(2**62), 2**62, -1])
def test_absurd_times_are_left_out(tmp_path, time):
    odd_member(tmp_path / "a.tar", mtime=time, size=3, uid=2**40, mode=0o7777)
    unpack(tmp_path / "a.tar", tmp_path / "out")
    assert (tmp_path / "out/a").read_bytes() == bytes(3)
    assert (tmp_path / "out/a").stat().st_mode & 0o6111 == 0


def test_the_number_of_files_is_shown_on_a_terminal(tmp_path, monkeypatch, capsys):
    from keras_ssm.datasets import progress

    path = write_tar(tmp_path / "a.tar", "w")
    unpack(path, tmp_path / "silent")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(progress, "_DELAY", 0)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    unpack(path, tmp_path / "out")
    assert "unpacking a.tar: 2" in capsys.readouterr().err
