"""Public data sets by name: where they are, and how to get them whole. Nothing is trusted that its hash does not confirm.

zinc250k: Gomez-Bombarelli et al., ACS Cent. Sci. 4:268, 2018.  moses: Polykovskiy et al., Front. Pharmacol. 11:565644, 2020.
guacamol: Brown et al., J. Chem. Inf. Model. 59:1096, 2019.

A download goes to a file ending in .part, which the next call continues (HTTP Range), and gets its name once size and hash
are right. With MOLVAE_OFFLINE=1 no socket is opened.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import molvae
from molvae.errors import DataError, RunError, UnknownName, nearest
from molvae.files import atomic_path, writable_folder

TRIES = 5  # connections without a new byte until a download is given up; it can be continued later
WAIT = 1.0  # seconds before the second try; twice as long before each further one
TIMEOUT = 30.0  # seconds without an answer
BLOCK = 1 << 16
LARGEST = 1 << 30  # bytes that are taken from a server where the size is not known

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class RemoteFile:
    """One file of a data set.

    hash: how it is checked, "sha256", "md5" or "git-blob" (SHA-1 of `blob <size>` NUL and the bytes), and the digits.
    size: bytes, None where it is not known.  begins: what the first bytes are, in any case; b"" for any text.
    """

    name: str
    url: str
    hash: tuple[str, str]
    size: int | None = None
    begins: bytes = b""


@dataclass(frozen=True)
class RemoteData:
    """A public data set: one line about it, its reference, and its files."""

    description: str
    reference: str
    files: tuple[RemoteFile, ...]


_MOSES = "https://media.githubusercontent.com/media/molecularsets/moses/master/data/"
_FIGSHARE = "https://ndownloader.figshare.com/files/"

CATALOGUE: dict[str, RemoteData] = {
    "zinc250k": RemoteData(
        "249,455 drug-like molecules of ZINC, with logP, QED and SA",
        "doi:10.1021/acscentsci.7b00572",
        (
            RemoteFile(
                "250k_rndm_zinc_drugs_clean_3.csv",
                "https://raw.githubusercontent.com/aspuru-guzik-group/chemical_vae/master/models/zinc_properties/"
                "250k_rndm_zinc_drugs_clean_3.csv",
                ("git-blob", "d31726bf929d35cb52fa109db90411c90a000dfe"),
                None,
                b"smiles",
            ),
        ),
    ),
    "moses": RemoteData(
        "1.9 million lead-like molecules of ZINC Clean Leads, in the parts of the MOSES benchmark",
        "doi:10.3389/fphar.2020.565644",
        tuple(
            RemoteFile(name, _MOSES + name, ("sha256", digits), size, b"smiles")
            for name, digits, size in (
                ("train.csv", "49fe1aae29604ec0f5023ea34edc8789415f954138f2903dabd005a4b888a961", 67_916_778),
                ("test.csv", "257165e8f1e1be2d5712db51c93d2b1544564b782dc303d7d19c887c21a858e6", 7_370_473),
                ("test_scaffolds.csv", "8bc942dd807147e07b506151fe8675f58780ed8e494801b705c4bdadb3df3440", 9_195_363),
            )
        ),
    ),
    "guacamol": RemoteData(
        "1.6 million molecules of ChEMBL, in the parts of the GuacaMol benchmark",
        "doi:10.1021/acs.jcim.8b00839",
        tuple(
            RemoteFile(f"guacamol_v1_{part}.smi", f"{_FIGSHARE}{number}", ("md5", digits))
            for part, number, digits in (
                ("train", 13612760, "05ad85d871958a05c02ab51a4fde8530"),
                ("valid", 13612766, "e53db4bff7dc4784123ae6df72e3b1f0"),
                ("test", 13612757, "677b757ccec4809febd83850b43e1616"),
            )
        ),
    ),
}


def fetch(
    name: str,
    folder: str | os.PathLike[str] | None = None,
    *,
    from_file: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    catalogue: Mapping[str, RemoteData] = CATALOGUE,
) -> list[Path]:
    """The files of a public data set, fetched if they are not there already.

    folder: where to keep them; by default `name` in the cache folder.
    from_file: a copy that was got otherwise: one of the files, or a folder with some of them. No connection is made.
    progress: hears (bytes, bytes in all; 0 if not known) of the file that is on its way.

    Raises UnknownName, DataError for what a server or a copy holds instead of the file, RunError if it cannot be stored.
    """
    if name not in catalogue:
        raise UnknownName(f"no data set named {name!r}.{nearest(name, catalogue)} Known: {', '.join(catalogue)}.")
    target = writable_folder(folder if folder is not None else cache_folder() / name)
    files = catalogue[name].files
    if from_file is not None:
        return _take_over(files, Path(from_file), target)
    paths = []
    for file in files:
        path = target / file.name
        if not (path.is_file() and digest(path, file.hash[0]) == file.hash[1]):
            _download(file, path, progress or (lambda done, total: None))
        paths.append(path)
    return paths


def cache_folder() -> Path:
    """Where fetched files are kept: MOLVAE_CACHE, or the platform's folder for caches."""
    if chosen := os.environ.get("MOLVAE_CACHE"):
        return Path(chosen)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "molvae"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "molvae" / "Cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "molvae"


def is_offline() -> bool:
    """Whether MOLVAE_OFFLINE forbids connections."""
    return os.environ.get("MOLVAE_OFFLINE", "0").strip().lower() not in ("", "0", "false", "no")


def digest(path: Path, kind: str) -> str:
    """The hash of a file as hexadecimal digits; `kind` as in RemoteFile."""
    sha1 = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    state = sha1 if kind == "git-blob" else hashlib.new(kind, usedforsecurity=False)
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            state.update(block)
    return state.hexdigest()


def _take_over(files: tuple[RemoteFile, ...], source: Path, target: Path) -> list[Path]:
    """Copy what `source` holds of the files, each checked, into the folder."""
    if not source.exists():
        raise DataError(f"no file {source}. Check the path given with --from-file.")
    if source.is_dir():
        given = {file: source / file.name for file in files if (source / file.name).is_file()}
        if not given:
            raise DataError(f"{source} holds none of {', '.join(file.name for file in files)}.")
    else:
        matching = [file for file in files if digest(source, file.hash[0]) == file.hash[1]]
        given = {matching[0] if matching else files[0]: source}
    paths = []
    for file, path in given.items():
        _check(file, path, path)
        with atomic_path(target / file.name) as partial:
            shutil.copyfile(path, partial)
        paths.append(target / file.name)
    return paths


def _check(file: RemoteFile, path: Path, shown: object) -> None:
    """Raise DataError if the bytes at `path` are not the file; `shown` is where they came from."""
    with path.open("rb") as stream:
        head = stream.read(512)
    _check_head(file, head, shown)
    size = path.stat().st_size
    if file.size is not None and size != file.size:
        raise DataError(f"{shown} has {size:,} bytes, but {file.name} has {file.size:,}: it is cut short or another file.")
    kind, expected = file.hash
    if (found := digest(path, kind)) != expected:
        raise DataError(f"{shown} is not {file.name} as published: its {kind} is {found}, not {expected}.")


def _check_head(file: RemoteFile, head: bytes, shown: object) -> None:
    """Raise DataError if the first bytes already show that this is something else."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith(b"version https://git-lfs"):
        what = "a git-lfs pointer. Give the file itself (`git lfs pull`), or its media address"
    elif start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<script")):
        what = "a web page, perhaps of a login or of an error. Fetch it with a browser, and give it with --from-file"
    elif b"\0" in head or head.startswith((b"\x1f\x8b", b"PK\x03\x04", b"%PDF")):
        what = "a packed or binary file. Unpack it, and give it with --from-file"
    elif not start.startswith(file.begins.lower()):
        what = f"another file: it does not begin with {file.begins.decode()!r}"
    else:
        return
    raise DataError(f"{shown} is not {file.name} but {what}.")


def _download(file: RemoteFile, path: Path, progress: Progress) -> None:
    """Fetch one file, continuing an earlier call's, and rename it once it is right."""
    if is_offline():
        raise DataError(f"{path} is not there, and MOLVAE_OFFLINE is set. Unset it, or give a copy with --from-file.")
    partial = path.with_name(path.name + ".part")
    continued = partial.exists()
    _receive_all(file, partial, progress)
    try:
        try:
            _check(file, partial, file.url)
        except DataError:
            if not continued:
                raise
            partial.unlink()  # what the earlier call left may be of another day: once more from the start
            _receive_all(file, partial, progress)
            _check(file, partial, file.url)
        with partial.open("rb+") as stream:
            os.fsync(stream.fileno())
        partial.replace(path)
    except DataError:
        partial.unlink(missing_ok=True)  # what is wrong is not worth continuing
        raise


def _receive_all(file: RemoteFile, partial: Path, progress: Progress) -> None:
    """Connect until all has come. Gives up after TRIES connections in a row that brought no new byte."""
    failures = 0
    while True:
        before = _size(partial)
        try:
            return _receive(file, partial, progress)
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            have = _size(partial)
            failures = 0 if have > before else failures + 1
            code = getattr(error, "code", 0)
            if failures >= TRIES or 300 <= code < 500:
                why = f"{code} {error.reason}" if code else getattr(error, "reason", None) or error or type(error).__name__
                kept = f" {have:,} bytes are kept; the same command continues." if have else ""
                why = " ".join(str(why).split()).rstrip(".")
                raise DataError(f"cannot fetch {file.url}: {why}.{kept} Or give a copy with --from-file.") from error
            time.sleep(WAIT * 2**failures)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _receive(file: RemoteFile, partial: Path, progress: Progress) -> None:
    """Append to `partial` what is missing. Raises what urllib raises, and IncompleteRead when the connection drops."""
    have = _size(partial)
    if file.size is not None and have >= file.size:
        return
    headers = {"User-Agent": f"molvae/{molvae.__version__}", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        answer = urllib.request.urlopen(urllib.request.Request(file.url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        # Nothing follows what we have: the check decides whether that is all.
        error.close()
        return
    with answer:
        if have and not (answer.headers.get("Content-Range") or "").startswith(f"bytes {have}-"):
            have = 0  # the server sends all of it again
        length = answer.headers.get("Content-Length")
        expected = have + int(length) if length and length.isdecimal() else None
        limit = file.size if file.size is not None else LARGEST
        try:
            with partial.open("r+b" if have else "wb") as stream:
                stream.seek(have)
                while block := answer.read(BLOCK):
                    if not have:
                        _check_head(file, block[:512], file.url)
                    stream.write(block)
                    have += len(block)
                    progress(have, file.size or expected or 0)
                    if have > limit:
                        break
        except DataError:
            with suppress(OSError):
                partial.unlink()
            raise
        except OSError as error:
            if isinstance(error, (ConnectionError, TimeoutError)):
                raise
            raise RunError(f"cannot write {partial}: {error.strerror or error}. Free some space.") from error
    if expected is not None and have < expected:
        raise http.client.IncompleteRead(b"", expected - have)
