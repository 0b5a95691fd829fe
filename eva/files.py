"""Files that are written whole or not at all: anew, by a section, or by a line of JSON."""

import contextlib
import json
import logging
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import torch

log = logging.getLogger(__name__)


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], mode: str = "wb") -> Iterator[IO]:
    """Open a temporary file beside `path`, in `mode` "w" or "wb", that takes its place once the block has ended well.

    Whatever happens before that, `path` stays as it was: a crash, a full disk or Ctrl-C costs the new version only. A
    symbolic link stays one, and what it points to is replaced. A new file has the permissions that the user's umask
    gives, and one that was there keeps its own. Folders are made where they are missing. Raises OSError as `open` and
    `os.replace` do.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        with temporary.open(mode.replace("w", "x"), encoding=None if "b" in mode else "utf-8") as file:
            if path.exists():
                shutil.copymode(path, temporary)
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)  # noqa: PTH105
    finally:
        temporary.unlink(missing_ok=True)


def save_tensors(value: Any, path: str | os.PathLike[str]) -> None:
    """torch.save, whole or not at all. Raises OSError also where torch raises RuntimeError, as on a full disk."""
    with replacing(path) as file:
        try:
            torch.save(value, file)
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise OSError(f"{path} cannot be written ({reason}): is the disk full?") from error


def replace_section(path: str | os.PathLike[str], name: str, text: str) -> None:
    """Put `text` between the marks <!--name--> and <!--/name--> of a page. Raises ValueError where they are missing."""
    page = Path(path).read_text("utf-8")
    marks = re.compile(f"(<!--{name}-->\n).*?(<!--/{name}-->)", re.DOTALL)
    if not marks.search(page):
        raise ValueError(f"{path} has no lines <!--{name}--> and <!--/{name}-->: put them where the text belongs")
    with replacing(path, "w") as file:
        file.write(marks.sub(lambda found: f"{found[1]}{text.strip()}\n{found[2]}", page))


def append_json(path: Path, value: dict[str, Any]) -> None:
    """Add `value` to a file that has a line of JSON for each. A line that was cut off before stays by itself."""
    path.parent.mkdir(parents=True, exist_ok=True)
    before = path.read_bytes() if path.exists() else b""
    with path.open("a", encoding="utf-8") as file:
        file.write(("\n" if before and not before.endswith(b"\n") else "") + json.dumps(value) + "\n")


def read_json(path: Path, check: Callable[[Any], None] = lambda value: None) -> list[dict[str, Any]]:
    """What `append_json` added, in order; nothing where there is no file.

    A line that cannot be read, or for which `check` raises ValueError, is left out with a warning that names it.
    """
    values = []
    for number, line in enumerate(path.read_text("utf-8").splitlines() if path.exists() else [], start=1):
        try:
            value = json.loads(line)
            check(value)
        except ValueError as error:
            log.warning("%s, line %d is left out: %s. Mend it, or take it out", path.name, number, error)
        else:
            values.append(value)
    return values
