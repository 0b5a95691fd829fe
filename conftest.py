"""Under pytest everything runs at the smoke budget, unless EVA_BUDGET says otherwise: seconds a notebook.

At the end, the claims that the notebooks made are counted.
"""

import os
import tempfile
from collections import Counter
from pathlib import Path

os.environ.setdefault("EVA_BUDGET", "smoke")


def pytest_configure(config):
    config.claims = tempfile.TemporaryDirectory(prefix="eva-claims-")
    os.environ["EVA_CLAIMS"] = str(Path(config.claims.name) / "claims")  # the notebooks' kernels inherit it


def pytest_terminal_summary(terminalreporter, config):
    tally = Path(config.claims.name) / "claims"
    counted = Counter(tally.read_text().split()) if tally.exists() else Counter()
    if counted:
        terminalreporter.section("claims of the notebooks")
        checked, unchecked, failed = (counted[outcome] for outcome in ("checked", "unchecked", "failed"))
        terminalreporter.line(f"{checked} checked, {unchecked} not checked at this budget, {failed} failed")


def pytest_unconfigure(config):
    config.claims.cleanup()
