"""Finished runs are kept: what took hours and was stopped goes on with the runs that are missing."""

import json
import logging
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from eva.files import append_json, read_json

log = logging.getLogger(__name__)

Run = dict[str, Any]


class Runs:
    """Finished runs in a file, a line of JSON each, with the `key` that says what it is a run of.

    fresh: forget those of before. A line that was cut off is left out, with a warning: that run is made again.
    """

    def __init__(self, path: Path, fresh: bool = False) -> None:
        self.path = path
        if fresh:
            path.unlink(missing_ok=True)
        self.lines: list[Run] = read_json(path)
        if self.lines:
            log.info("%s has %d finished runs, which are not made again", path, len(self.lines))

    def find(self, key: Mapping[str, Any]) -> Run | None:
        """The run of that key, or None."""
        plain = json.loads(json.dumps(key))  # what a tuple becomes in a file
        return next((run for run in self.lines if run["key"] == plain), None)

    def add(self, key: Mapping[str, Any], measured: Mapping[str, Any]) -> Run:
        """Keep a run, with today's date, and return it."""
        run = json.loads(json.dumps({**measured, "key": key, "date": date.today().isoformat()}))
        self.lines.append(run)
        append_json(self.path, run)
        return run
