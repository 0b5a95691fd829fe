"""The folder of a run: one run at a time writes there, and none over another."""

import contextlib
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

log = logging.getLogger(__name__)

MODEL_FILE, METRICS_FILE = "model.pt", "metrics.jsonl"


@contextlib.contextmanager
def claimed(out: Path, resume: bool) -> Iterator[bool]:
    """Hold the folder `out` for this process; it is made where it is missing. Gives whether there is a run to resume.

    The claim is a lock of the operating system's, which goes when the process does, however it ends. Within a process
    it can be held more than once. A folder to which nothing was written goes with it. Raises FileExistsError where
    another process holds it, or where it has a run that is not to be resumed; OSError where nothing can be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    lock = FileLock(out.resolve() / ".lock", timeout=0, is_singleton=True)
    try:
        lock.acquire()
    except Timeout as error:
        raise FileExistsError(
            f"{out} is being written by a run that goes on: wait until it is done, or name another folder"
        ) from error
    try:
        begun = (out / MODEL_FILE).exists()
        if begun and not resume:
            raise FileExistsError(
                f"{out} holds a run already: resume it (--resume, or resume=True), or name another folder"
            )
        if resume and not begun and lock.lock_counter == 1:
            log.info("there is no run in %s to go on with yet: it begins now", out)
        yield begun
    finally:
        unused = [path.name for path in out.iterdir()] == [".lock"]
        lock.release()
        if unused and not lock.is_locked:
            shutil.rmtree(out)
