"""Writing files whole or not at all, and one section of a page."""

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO


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


def replace_section(path: str | os.PathLike[str], name: str, text: str) -> None:
    """Put `text` between the marks <!--name--> and <!--/name--> of a page. Raises ValueError where they are missing."""
    page = Path(path).read_text("utf-8")
    marks = re.compile(f"(<!--{name}-->\n).*?(<!--/{name}-->)", re.DOTALL)
    if not marks.search(page):
        raise ValueError(f"{path} has no lines <!--{name}--> and <!--/{name}-->: put them where the text belongs")
    with replacing(path, "w") as file:
        file.write(marks.sub(lambda found: f"{found[1]}{text.strip()}\n{found[2]}", page))
