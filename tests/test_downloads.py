"""Downloads, from a server of our own."""

import hashlib
import http.server
import os
import threading

import pytest

pytestmark = pytest.mark.backend_free
CONTENT = bytes(range(256)) * 40


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `server.content`; breaks off after `server.cut` bytes, or sends nothing for long."""

    def do_GET(self):
        server = self.server
        server.ranges.append(self.headers.get("Range"))
        if self.path != "/file":
            return self.send_error(404)
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        if start >= len(server.content):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(server.content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/*")
        if server.tag:
            self.send_header("ETag", server.tag)
        self.end_headers()
        self.wfile.write(server.content[start : server.cut])
        if server.silent is not None:
            server.silent.wait(20)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, args=(0.01,)).start()
        running.content, running.cut, running.tag = CONTENT, None, "first"
        running.silent, running.ranges = None, []
        running.url = f"http://127.0.0.1:{running.server_port}/file"
        yield running
        running.shutdown()


def fetch(server, folder, content=CONTENT, name="name"):
    from keras_ssm.datasets import downloads

    checksum = content and hashlib.sha256(content).hexdigest()
    return downloads.fetch(server.url, checksum, name, folder)


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def test_a_download_is_verified_and_kept(server, tmp_path, capsys):
    path = fetch(server, tmp_path / "data")
    assert (path, path.read_bytes()) == (tmp_path / "data" / "name", CONTENT)
    assert "unverified" not in capsys.readouterr().out
    server.content = b"other"
    assert fetch(server, tmp_path / "data") == path
    assert len(server.ranges) == 1
    fetch(server, tmp_path / "data", None, "other")
    assert "unverified" in capsys.readouterr().out
    assert names(tmp_path / "data") == ["name", "other"]
    (tmp_path / "ordinary").touch()
    assert path.stat().st_mode == (tmp_path / "ordinary").stat().st_mode


def test_a_wrong_checksum(server, tmp_path):
    server.content = b"changed"
    right = hashlib.sha256(CONTENT).hexdigest()
    with pytest.raises(ValueError, match=f"expected the sha256 {right}, found .* of 7 bytes"):
        fetch(server, tmp_path)
    assert names(tmp_path) == []
    # A file that was put there by hand is named, and left.
    (tmp_path / "name").write_bytes(b"mine")
    with pytest.raises(ValueError, match=r"name of 4 bytes.* Remove it"):
        fetch(server, tmp_path)
    assert (tmp_path / "name").read_bytes() == b"mine"


def test_a_failed_download_leaves_nothing(server, tmp_path):
    server.url += "s"
    with pytest.raises(OSError, match=r"could not be fetched .*404.* put the file into .* as name"):
        fetch(server, tmp_path)
    server.url = "http://127.0.0.1:1/file"
    with pytest.raises(OSError, match=r"could not be fetched .*refused"):
        fetch(server, tmp_path)
    assert names(tmp_path) == []


def interrupted(server, folder, cut=3000, content=CONTENT):
    server.cut = cut
    with pytest.raises(OSError, match=rf"{cut} bytes are kept, and another call goes on"):
        fetch(server, folder, content)
    server.cut = None
    (part,) = names(folder)
    assert part.startswith(".name.")
    return folder / part


@pytest.mark.parametrize("content", [CONTENT, None])
def test_a_broken_connection_is_gone_on_with(server, tmp_path, content):
    interrupted(server, tmp_path, content=content)
    assert fetch(server, tmp_path, content).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=3000-"]
    assert names(tmp_path) == ["name"]


@pytest.mark.parametrize("tag", ["second", None])
def test_the_rest_of_another_file_is_not_taken(server, tmp_path, tag):
    interrupted(server, tmp_path, content=None)
    server.content, server.tag = CONTENT[::-1], tag
    assert fetch(server, tmp_path, None).read_bytes() == CONTENT[::-1]
    assert server.ranges == [None, "bytes=3000-", None]
    assert names(tmp_path) == ["name"]


def test_what_nobody_can_go_on_with_is_not_kept(server, tmp_path):
    server.tag, server.cut = None, 3000
    with pytest.raises(OSError, match=r"ended after 3000 of 10240 bytes\)\. Without a network"):
        fetch(server, tmp_path)
    assert names(tmp_path) == []


def test_what_does_not_fit_together_is_fetched_anew(server, tmp_path):
    interrupted(server, tmp_path).write_bytes(b"x" * 3000)
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=3000-", None]
    # More than the server has.
    (tmp_path / "name").unlink()
    interrupted(server, tmp_path).write_bytes(b"x" * 2 * len(CONTENT))
    assert fetch(server, tmp_path).read_bytes() == CONTENT


def test_a_server_that_falls_silent_is_given_up(server, tmp_path, monkeypatch):
    from keras_ssm.datasets import downloads

    assert downloads._PATIENCE == 60
    monkeypatch.setattr(downloads, "_PATIENCE", 0.2)
    server.silent = threading.Event()
    server.cut = 3000
    with pytest.raises(OSError, match=r"timed out.*3000 bytes are kept"):
        fetch(server, tmp_path)
    server.silent.set()


def test_no_link_is_followed_and_no_other_process_is_disturbed(server, tmp_path):
    fcntl = pytest.importorskip("fcntl")
    part = interrupted(server, tmp_path)
    victims = [tmp_path / "by-symlink", tmp_path / "by-link"]
    for number, (victim, link) in enumerate(zip(victims, (os.symlink, os.link), strict=True)):
        victim.write_bytes(b"precious")
        link(victim, tmp_path / f".name.{number}.download")
    with open(part, "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert part.stat().st_size == 3000
    assert [victim.read_bytes() for victim in victims] == [b"precious"] * 2


def test_bytes_are_shown_on_a_terminal(server, tmp_path, monkeypatch, capsys):
    from keras_ssm.datasets import progress

    fetch(server, tmp_path / "silent")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(progress, "_DELAY", 0)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    server.content = bytes(3_000_000)
    fetch(server, tmp_path, None)
    assert f"fetching name: [{'=' * 24}] 3.0 MB of 3.0 MB" in capsys.readouterr().err
