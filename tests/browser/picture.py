"""README's picture of the mistake explorer: python -m tests.browser.picture, with EVA_DATA set. Takes a minute."""

import json
import os
import tempfile
from pathlib import Path

from tests.browser import lab as labs

PICTURE = labs.ROOT / "results" / "mistake_explorer.png"
CELL = """
from eva.checkpoint import pretrained
from eva.data import load
from eva.widgets import MistakeExplorer
MistakeExplorer(pretrained(), load({data!r}), "validation")
"""


def main(label: str = "cat", predicted: str = "dog", place: int = 3) -> None:
    """The images of one label that are taken for another class, and one of them explained."""
    cell = {"cell_type": "code", "metadata": {}, "source": CELL.format(data=os.environ["EVA_DATA"]), "outputs": [],
            "execution_count": None}  # fmt: skip
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    with tempfile.TemporaryDirectory() as folder, labs.sync_playwright() as playwright:
        notebook = Path(folder) / "explorer.ipynb"
        notebook.write_text(json.dumps({"cells": [cell], "metadata": kernel, "nbformat": 4, "nbformat_minor": 4}))
        browser = playwright.chromium.launch(executable_path=labs.find_browser(playwright), args=labs.FLAGS)
        with labs.serve(Path(folder)) as server, labs.watched(browser, server) as lab:
            lab.page.set_viewport_size({"width": 1420, "height": 1500})
            lab.open(notebook)
            lab.run_all()
            explorer = lab.widget(".eva-mistake-explorer")
            explorer.locator(f'.eva-cell[title^="label {label}, predicted {predicted}:"]').click()
            labs.expect(explorer.locator(".eva-cell.eva-chosen")).to_be_visible()
            explorer.locator(".eva-tile").nth(place).click()
            labs.expect(explorer.locator(".eva-detail")).to_contain_text(f"label {label}, predicted {predicted}")
            lab.page.wait_for_timeout(1000)  # milliseconds, for the pictures
            explorer.screenshot(path=PICTURE)
        browser.close()


if __name__ == "__main__":
    main()
