import gzip
import hashlib
import http.server
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


# Downloads, from a server of our own.


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "server"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(folder))

        def log_message(self, *arguments):
            pass

        def end_headers(self):
            if self.path == "/short":  # promises more than it sends
                self.send_header("Content-Length", "100")
            super().end_headers()

        def do_GET(self):
            if self.path != "/short":
                return super().do_GET()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"part")

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, args=(0.01,)).start()
        running.folder, running.url = folder, f"http://127.0.0.1:{running.server_port}"
        yield running
        running.shutdown()


def test_a_download_is_verified_and_kept(server, tmp_path, capsys):
    from keras_ssm.datasets import archives

    (server.folder / "file").write_bytes(b"content")
    right = hashlib.sha256(b"content").hexdigest()
    data = tmp_path / "data"
    path = archives.fetch(f"{server.url}/file", right, "name", data)
    assert (path, path.read_bytes()) == (data / "name", b"content")
    assert "unverified" not in capsys.readouterr().out
    (server.folder / "file").unlink()
    assert archives.fetch(f"{server.url}/file", right, "name", data) == path
    (server.folder / "file").write_bytes(b"other")
    archives.fetch(f"{server.url}/file", None, "other", data)
    assert "unverified" in capsys.readouterr().out
    assert sorted(entry.name for entry in data.iterdir()) == ["name", "other"]


def test_a_wrong_checksum(server, tmp_path):
    from keras_ssm.datasets import archives

    (server.folder / "file").write_bytes(b"changed")
    right = hashlib.sha256(b"content").hexdigest()
    with pytest.raises(ValueError, match=f"expected the sha256 {right}, found .* of 7 bytes"):
        archives.fetch(f"{server.url}/file", right, "name", tmp_path / "data")
    assert list((tmp_path / "data").iterdir()) == []
    # A file that was put there by hand is named, and left.
    (tmp_path / "data" / "name").write_bytes(b"mine")
    with pytest.raises(ValueError, match=r"name of 4 bytes.* Remove it"):
        archives.fetch(f"{server.url}/file", right, "name", tmp_path / "data")
    assert (tmp_path / "data" / "name").read_bytes() == b"mine"


@pytest.mark.parametrize("name", ["short", "missing"])
def test_a_failed_download_leaves_nothing(server, tmp_path, name):
    from keras_ssm.datasets import archives

    with pytest.raises(OSError, match=f"{name} could not be fetched .* put the file into"):
        archives.fetch(f"{server.url}/{name}", None, "name", tmp_path / "data")
    assert list((tmp_path / "data").iterdir()) == []


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
