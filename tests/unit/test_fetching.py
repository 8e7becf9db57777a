"""Fetching against a server on loopback that truncates, lies, redirects, drops the connection, and sends other things."""

import hashlib
import http.server
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from molvae.data import fetching
from molvae.data.fetching import CATALOGUE, RemoteData, RemoteFile, cache_folder, digest, fetch
from molvae.errors import DataError, UnknownName

BODY = b"smiles,name\n" + b"".join(b"C" * (i % 60 + 1) + b",chain\n" for i in range(8000))  # a few read blocks
SHA256 = hashlib.sha256(BODY).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves BODY at /good and misbehaves at the other addresses; `asked` are the (path, Range) of all requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, str | None]] = []

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}{path}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.asked.append((self.path, wanted))
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        body = {
            "/html": b"<!DOCTYPE html><html><body>Please log in</body></html>",
            "/pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12345\n",
            "/gzip": b"\x1f\x8b\x08\x00packed",
            "/other": b"id,value\n1,2\n",
            "/wrong": BODY.replace(b"chain", b"chair"),
            "/short": BODY[:-5000],
            "/long": BODY + b"more",
        }.get(self.path, BODY)
        if self.path == "/redirect":
            self.send_response(302)
            self.send_header("Location", "/good")
            self.end_headers()
        elif self.path == "/loop":
            self.send_response(302)
            self.send_header("Location", "/loop")
            self.end_headers()
        elif self.path == "/missing":
            self.send_error(404)
        elif self.path == "/busy" and len(self.server.asked) < 3:
            self.send_error(503)
        elif start and self.path != "/no-range":
            if start >= len(body):
                self.send_error(416)
                return
            self.answer(206, body[start:], f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.answer(200, body)

    def answer(self, code: int, body: bytes, part: str = "") -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        if part:
            self.send_header("Content-Range", part)
        self.end_headers()
        if self.path in ("/drops", "/no-range") and len(self.server.asked) < 3:
            body = body[: len(body) // 2]  # fewer bytes than promised, and the connection ends
        if self.path == "/dead":
            body = b""
        self.wfile.write(body)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(fetching, "WAIT", 0.0)
    monkeypatch.delenv("MOLVAE_OFFLINE", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def catalogue(url: str, size: int | None = len(BODY), digits: str = SHA256) -> dict[str, RemoteData]:
    return {"toy": RemoteData("a toy", "no reference", (RemoteFile("toy.csv", url, ("sha256", digits), size, b"smiles"),))}


def get(server: Server, path: str, folder: Path, size: int | None = len(BODY)) -> list[Path]:
    return fetch("toy", folder, catalogue=catalogue(server.url(path), size))


# -- what works


@pytest.mark.parametrize("path", ["/good", "/redirect", "/busy"])
@pytest.mark.parametrize("size", [len(BODY), None])
def test_a_file_arrives_whole(server: Server, tmp_path: Path, path: str, size: int | None) -> None:
    assert get(server, path, tmp_path, size) == [tmp_path / "toy.csv"]
    assert (tmp_path / "toy.csv").read_bytes() == BODY
    assert list(tmp_path.iterdir()) == [tmp_path / "toy.csv"], "no partial file stays"


def test_what_is_there_is_not_fetched_again_unless_it_is_damaged(server: Server, tmp_path: Path) -> None:
    get(server, "/good", tmp_path)
    get(server, "/good", tmp_path)
    assert len(server.asked) == 1
    (tmp_path / "toy.csv").write_bytes(BODY[:-1])
    get(server, "/good", tmp_path)
    assert (tmp_path / "toy.csv").read_bytes() == BODY


def test_a_dropped_connection_is_continued_where_it_ended(server: Server, tmp_path: Path) -> None:
    get(server, "/drops", tmp_path)
    assert (tmp_path / "toy.csv").read_bytes() == BODY
    first, second, third = (int((wanted or "bytes=0-")[6:-1]) for _, wanted in server.asked)
    assert first == 0 and second == len(BODY) // 2 and third == second + (len(BODY) - second) // 2


def test_a_later_call_continues_a_stopped_download(server: Server, tmp_path: Path) -> None:
    (tmp_path / "toy.csv.part").write_bytes(BODY[:1234])
    get(server, "/good", tmp_path)
    assert server.asked == [("/good", "bytes=1234-")]
    assert (tmp_path / "toy.csv").read_bytes() == BODY


def test_a_server_without_ranges_sends_all_again(server: Server, tmp_path: Path) -> None:
    get(server, "/no-range", tmp_path)
    assert (tmp_path / "toy.csv").read_bytes() == BODY
    assert len(server.asked) == 3


@pytest.mark.parametrize("left", [b"smiles\nfrom another day\n", b"\0" * 100, BODY + b"and more"])
@pytest.mark.parametrize("size", [len(BODY), None])
def test_a_stale_beginning_is_thrown_away(server: Server, tmp_path: Path, left: bytes, size: int | None) -> None:
    (tmp_path / "toy.csv.part").write_bytes(left)
    get(server, "/good", tmp_path, size)
    assert (tmp_path / "toy.csv").read_bytes() == BODY


def test_progress_counts_bytes(server: Server, tmp_path: Path) -> None:
    heard: list[tuple[int, int]] = []
    fetch("toy", tmp_path, catalogue=catalogue(server.url("/good")), progress=lambda *bytes_: heard.append(bytes_))
    assert heard[-1] == (len(BODY), len(BODY))
    assert [done for done, _ in heard] == sorted(done for done, _ in heard)


# -- what is refused


@pytest.mark.parametrize(
    ("path", "size", "message"),
    [
        ("/html", None, "a web page"),
        ("/pointer", None, "a git-lfs pointer"),
        ("/gzip", None, "a packed or binary file"),
        ("/other", None, "does not begin with 'smiles'"),
        ("/wrong", len(BODY), "is not toy.csv as published: its sha256 is"),
        ("/short", len(BODY), f"has {len(BODY) - 5000:,} bytes, but toy.csv has {len(BODY):,}"),
        ("/short", None, "its sha256 is"),
        ("/long", len(BODY), "bytes, but toy.csv has"),
        ("/missing", None, "404"),
        ("/loop", None, "cannot fetch"),
        ("/dead", None, "cannot fetch"),
    ],
)
def test_other_things_are_refused_and_leave_nothing(
    server: Server, tmp_path: Path, path: str, size: int | None, message: str
) -> None:
    with pytest.raises(DataError, match=message) as refusal:
        get(server, path, tmp_path, size)
    assert server.url(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert [p.name for p in tmp_path.iterdir() if p.stat().st_size] == []


def test_nobody_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "WAIT", 0.0)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but nobody listens
        with pytest.raises(DataError, match=r"cannot fetch .*--from-file"):
            fetch("toy", tmp_path, catalogue=catalogue(f"http://127.0.0.1:{taken.getsockname()[1]}/x"))


def test_an_unknown_name_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="Did you mean 'zinc250k'"):
        fetch("zinc250", tmp_path)


# -- offline


def test_a_copy_is_taken_over_if_it_is_right(tmp_path: Path) -> None:
    copy = tmp_path / "download (1).csv"
    copy.write_bytes(BODY)
    data = catalogue("http://127.0.0.1:9/never")
    assert fetch("toy", tmp_path / "kept", from_file=copy, catalogue=data) == [tmp_path / "kept" / "toy.csv"]
    assert (tmp_path / "kept" / "toy.csv").read_bytes() == BODY
    assert copy.exists()
    assert fetch("toy", tmp_path / "again", from_file=tmp_path / "kept", catalogue=data)[0].read_bytes() == BODY


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (BODY[:-1], "cut short or another file"),
        (BODY.replace(b"chain", b"chair"), "its sha256 is"),
        (b"<html></html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a git-lfs pointer"),
        (None, "no file"),
    ],
)
def test_a_wrong_copy_is_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    copy = tmp_path / "copy.csv"
    if content is not None:
        copy.write_bytes(content)
    with pytest.raises(DataError, match=message):
        fetch("toy", tmp_path / "kept", from_file=copy, catalogue=catalogue("http://127.0.0.1:9/never"))
    assert not list((tmp_path / "kept").iterdir())


def test_a_folder_without_the_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds none of toy\.csv"):
        fetch("toy", tmp_path / "kept", from_file=tmp_path, catalogue=catalogue("http://127.0.0.1:9/never"))


def test_offline_opens_no_socket(tmp_path: Path) -> None:
    program = """
import socket, sys
def refuse(*arguments, **named): sys.exit("a socket was opened")
socket.socket.__init__ = socket.getaddrinfo = refuse
from molvae.cli import main
main(["data", "fetch", "moses", "-o", sys.argv[1]])
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        env={"MOLVAE_OFFLINE": "1", "PATH": "", "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "MOLVAE_OFFLINE is set" in done.stderr and "a socket" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_offline_uses_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOLVAE_OFFLINE", "1")
    (tmp_path / "toy.csv").write_bytes(BODY)
    assert fetch("toy", tmp_path, catalogue=catalogue("http://127.0.0.1:9/never")) == [tmp_path / "toy.csv"]


# -- the catalogue


def test_a_git_blob_hash_is_gits(tmp_path: Path) -> None:
    # Chacon & Straub, Pro Git, "Git Objects": `echo 'test content' | git hash-object -w --stdin`
    (tmp_path / "file").write_bytes(b"test content\n")
    assert digest(tmp_path / "file", "git-blob") == "d670460b4b4aece5915caf5c68d12f560a9fe3e4"


def test_every_entry_can_be_checked() -> None:
    lengths = {"sha256": 64, "md5": 32, "git-blob": 40}
    files = [file for data in CATALOGUE.values() for file in data.files]
    assert len(files) == 7 and len({file.url for file in files}) == 7
    for file in files:
        kind, digits = file.hash
        assert file.url.startswith("https://") and len(digits) == lengths[kind] and int(digits, 16)


def test_the_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MOLVAE_CACHE", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "molvae"
    monkeypatch.setenv("MOLVAE_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
