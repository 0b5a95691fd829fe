"""JupyterLab in a real browser, as a learner has it: a server of its own, and a page that watches what goes wrong.

find_browser   the program
missing        skips, or fails where there must be one
box            where something stands, which must be seen
serve          JupyterLab over an empty folder
Lab            one page of it: open a notebook, run it, find its widgets, take pictures
watched        a new Lab, in which nothing may go wrong
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest

try:
    from playwright.sync_api import expect, sync_playwright
except ModuleNotFoundError:  # the tests say so, and skip
    expect = sync_playwright = None

ROOT = Path(__file__).parents[2]
SCREENSHOTS = ROOT / "build" / "screenshots"
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
# As root there is no sandbox, in a container little shared memory; the rest keeps Chromium itself off the network.
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync"]  # fmt: skip
# The one thing that a notebook itself asks of another machine: the picture of its "Open in Colab" link.
BADGE = "https://colab.research.google.com/assets/colab-badge.svg"
NOTHING = '<svg xmlns="http://www.w3.org/2000/svg" width="117" height="20"/>'
# JupyterLab's own, where a kernel restarts while its debugger still waits for an answer: that goes with the old kernel.
HARMLESS = "Could not restore the debugger state: Canceled future for debug_request message before replies were done"
RUN_SECONDS = 300  # for all cells of a notebook; a page's own functions have no limit

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_READY = """async () => {
    await window.jupyterapp.restored;
    const panel = window.jupyterapp.shell.currentWidget;
    await panel.context.ready;
    await panel.sessionContext.ready;
}"""
_RUN_ALL = """async seconds => {
    const panel = window.jupyterapp.shell.currentWidget;
    const late = new Promise((_, reject) => setTimeout(
        () => reject(new Error(`cells still run after ${seconds} seconds`)), 1000 * seconds));
    const good = await Promise.race([window.jupyterapp.commands.execute('notebook:run-all-cells'), late]);
    if (good) return [];
    return panel.content.widgets.flatMap((cell, index) => (cell.model.outputs?.toJSON() ?? [])
        .filter(output => output.output_type === 'error')
        .map(output => [`cell ${index}: ${output.ename}: ${output.evalue}`, ...output.traceback].join('\\n'))
    ).concat('a cell failed');
}"""
_RESTART = "() => window.jupyterapp.shell.currentWidget.sessionContext.restartKernel()"
# Cells are laid out as they come into view, and push the others on: scroll until the widget stays where it is.
_AT_THE_TOP = """widget => {
    widget.scrollIntoView({block: 'start'});
    const {top, bottom} = widget.getBoundingClientRect(), now = `${top} ${bottom}`;
    widget.evaStill = now === widget.evaWas ? widget.evaStill + 1 : 0;
    widget.evaWas = now;
    return widget.evaStill >= 3;
}"""
# A cell far from what is seen may not have been drawn at all: go through them until the widget is there.
_LOOK_FOR = """async selector => {
    const {content} = window.jupyterapp.shell.currentWidget;
    for (let round = 0; round < 8; round++)  // each with more time for what comes into view to be drawn
        for (let index = 0; index < content.widgets.length; index++) {
            if (document.querySelector(selector)) return;
            await content.scrollToItem(index);
            await new Promise(done => setTimeout(done, 20 * round));
        }
}"""
_SHUT_DOWN = "async () => { await window.jupyterapp?.serviceManager.sessions.shutdownAll(); }"


def find_browser(playwright) -> str | None:
    """The path of a Chromium or Chrome: the machine's, else the one that Playwright downloaded."""
    installed = next(filter(None, map(shutil.which, PROGRAMS)), None)
    downloaded = playwright.chromium.executable_path
    return installed or (downloaded if Path(downloaded).exists() else None)


def missing(what: str, command: str) -> None:
    """Skip; or fail, where EVA_REQUIRE_BROWSER=1 says that there must be a browser."""
    stop = pytest.fail if os.environ.get("EVA_REQUIRE_BROWSER") == "1" else pytest.skip
    stop(f"no {what} to test the widgets in: {command}")


@contextmanager
def serve(folder: Path) -> Iterator["Server"]:
    """JupyterLab on loopback, with nothing of the user's: neither settings nor data, and no learner's cache."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {
        name: str(folder / name.lower())
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_SETTINGS_DIR",
                     "JUPYTERLAB_WORKSPACES_DIR", "IPYTHONDIR", "EVA_CACHE")
    }  # fmt: skip
    # Else the server looks for news and newer versions of JupyterLab, and asks the learner about it.
    quiet = Path(own["JUPYTERLAB_SETTINGS_DIR"]) / "@jupyterlab/apputils-extension/notification.jupyterlab-settings"
    quiet.parent.mkdir(parents=True)
    quiet.write_text('{"fetchNews": "false", "checkForUpdates": false}')
    # The claims that these runs check were counted where the notebooks themselves are tested.
    kept = {name: value for name, value in os.environ.items() if name not in ("EVA_DATA", "EVA_MIRROR", "EVA_CLAIMS")}
    notebooks, log = folder / "notebooks", folder / "server.log"
    notebooks.mkdir()
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1",
             f"--ServerApp.port={port}", "--ServerApp.port_retries=0", f"--ServerApp.root_dir={notebooks}",
             "--IdentityProvider.token=", "--LabApp.expose_app_in_browser=True",
             "--LabApp.extension_manager=readonly"],
            env=kept | own | {"EVA_BUDGET": "smoke", "TQDM_DISABLE": "1"}, stdout=output, stderr=output,
        )  # fmt: skip
    server = Server(f"http://127.0.0.1:{port}", notebooks)
    try:
        _wait_for(server, process, log)
        yield server
    finally:
        process.terminate()  # it ends its kernels
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Server:
    """Where JupyterLab answers, and the folder that it serves."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = url, folder


def _wait_for(server: Server, process: subprocess.Popen, log: Path, seconds: int = 60) -> None:
    end = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < end:
        with suppress(URLError, ConnectionError), urlopen(f"{server.url}/api/status", timeout=5):
            return
        time.sleep(0.1)
    raise RuntimeError(f"JupyterLab did not start in {seconds} seconds:\n{log.read_text()[-3000:]}")


def leaves_the_machine(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme not in ("data", "blob", "about") and parts.hostname not in ("127.0.0.1", "localhost")


def box(locator) -> dict[str, float]:
    """Where something stands in the page; it must be seen, and be more than a dot."""
    expect(locator).to_be_visible()
    place = locator.bounding_box()
    assert place["width"] > 10, locator
    assert place["height"] > 10, locator
    return place


class Lab:
    """One page of JupyterLab. `troubles` says what its console called an error, and what it asked of other machines."""

    def __init__(self, page, server: Server) -> None:
        self.page, self.server, self.troubles = page, server, []
        # A folder of its own: what one test's notebook writes, the next one's does not find.
        self.folder = Path(tempfile.mkdtemp(dir=server.folder))
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.troubles.append(f"uncaught: {error}"))
        page.on("websocket", lambda socket: self._asked(socket.url))
        page.on("request", lambda request: self._asked(request.url))
        page.route(leaves_the_machine, lambda route: route.abort())
        page.route(BADGE, lambda route: route.fulfill(body=NOTHING, content_type="image/svg+xml"))

    def open(self, notebook: Path) -> Path:
        """Open a copy of a notebook, and wait for its kernel. Returns the copy."""
        copy = Path(shutil.copy(notebook, self.folder))
        self.page.goto(f"{self.server.url}/lab/tree/{self.folder.name}/{copy.name}?reset")
        self.page.locator(".jp-NotebookPanel:visible .jp-CodeCell").first.wait_for()
        self.page.evaluate(_READY)
        return copy

    def run_all(self) -> None:
        """Run all cells, to the end. Raises AssertionError with the error of the cell that failed."""
        failed = self.page.evaluate(_RUN_ALL, RUN_SECONDS)
        assert not failed, _ANSI.sub("", "\n".join(failed))

    def restart_kernel(self) -> None:
        """A new kernel, which knows nothing: what is on the page stays there, and is dead."""
        self.page.evaluate(_RESTART)
        self.page.evaluate(_READY)

    def widget(self, selector: str):
        """The locator of a widget on the page, once it is drawn, scrolled to the top of the notebook."""
        widget = self.page.locator(f".jp-NotebookPanel:visible {selector}")
        self.page.evaluate(_LOOK_FOR, selector)
        widget.wait_for()
        self.page.wait_for_function(_AT_THE_TOP, arg=widget.element_handle(), polling=100)
        return widget

    def screenshot(self, name: str) -> Path:
        """What is seen now, as build/screenshots/<name>.png."""
        path = SCREENSHOTS / f"{re.sub('[^a-z0-9]+', '-', name.lower()).strip('-')}.png"
        self.page.screenshot(path=path)
        return path

    def check(self) -> None:
        """Raises AssertionError if anything went wrong since the last check."""
        troubles, self.troubles = self.troubles, []
        assert not troubles, "\n".join(troubles)

    def close(self) -> None:
        """End the kernels: on a small machine the next test needs their memory."""
        self.page.evaluate(_SHUT_DOWN)
        self.page.close()

    def _heard(self, message) -> None:
        if message.type == "error" and message.text != HARMLESS:
            self.troubles.append(f"console: {message.text} ({message.location.get('url')})")

    def _asked(self, url: str) -> None:
        if leaves_the_machine(url) and url != BADGE:
            self.troubles.append(f"asked another machine: {url}")


@contextmanager
def watched(browser, server: Server) -> Iterator[Lab]:
    """A new page, in which nothing may go wrong: at the end its troubles raise an AssertionError."""
    with browser.new_context(viewport={"width": 1280, "height": 1000}, service_workers="block") as context:
        lab = Lab(context.new_page(), server)
        yield lab
        lab.close()
        lab.check()
