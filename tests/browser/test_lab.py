"""The guard of the browser tests can fail."""

import json
import time
from types import SimpleNamespace

import pytest

from tests.browser.lab import find_browser, leaves_the_machine, missing, watched

ELSEWHERE = "http://192.0.2.1/"  # an address for documentation: no machine has it


def run(browser, server, script, patience=0):
    """Evaluate `script` in a page, and wait up to `patience` seconds for the page's first trouble."""
    with watched(browser, server) as lab:
        lab.page.evaluate(script)
        until = time.monotonic() + patience
        while not lab.troubles and time.monotonic() < until:  # a socket is told of by another process than the page's
            lab.page.wait_for_timeout(50)  # milliseconds


@pytest.mark.parametrize(("script", "words"), [
    (f"fetch('{ELSEWHERE}', {{mode: 'no-cors'}}).catch(() => null)", f"asked another machine: {ELSEWHERE}"),
    ("void new WebSocket('ws://192.0.2.1/')", "asked another machine: ws://192.0.2.1/"),
    ("console.error('a view was lost')", "console: a view was lost"),
    ("void setTimeout(() => { throw new Error('nobody caught it') })", "uncaught: nobody caught it"),
])  # fmt: skip
def test_what_goes_wrong_in_a_page_fails_the_test(browser, server, script, words):
    with pytest.raises(AssertionError, match=words):
        run(browser, server, script, patience=20)


def test_a_page_in_which_nothing_goes_wrong_passes(browser, server):
    run(browser, server, f"fetch('{server.url}/api', {{mode: 'no-cors'}}).then(() => console.log('all is well'))")


def test_a_browser_that_is_missing_is_told_and_fails_where_there_must_be_one(monkeypatch):
    nowhere = SimpleNamespace(chromium=SimpleNamespace(executable_path="/nowhere"))
    monkeypatch.setenv("PATH", "")
    assert find_browser(nowhere) is None
    monkeypatch.delenv("EVA_REQUIRE_BROWSER", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"no Chromium .*: install it"):
        missing("Chromium", "install it")
    monkeypatch.setenv("EVA_REQUIRE_BROWSER", "1")
    with pytest.raises(pytest.fail.Exception, match=r"no Chromium .*: install it"):
        missing("Chromium", "install it")


@pytest.mark.parametrize(("url", "leaves"), [
    ("http://127.0.0.1:8888/lab", False), ("ws://localhost:8888/api/kernels", False),
    ("data:image/png;base64,AA", False), ("blob:http://127.0.0.1:8888/1", False),
    ("https://cdn.jsdelivr.net/npm/x.js", True), ("http://localhost@192.0.2.1/", True),
    ("http://127.0.0.1.example.org/", True),
])  # fmt: skip
def test_only_this_machine_is_this_machine(url, leaves):
    assert leaves_the_machine(url) == leaves


def test_a_failing_cell_is_told_and_a_restarted_kernel_knows_nothing(lab, tmp_path):
    cells = ["try:\n    known\nexcept NameError:\n    known = 1\nelse:\n    raise ValueError(f'known: {known}')"]
    code = [
        {"cell_type": "code", "metadata": {}, "source": cell, "outputs": [], "execution_count": None} for cell in cells
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    notebook = tmp_path / "failing.ipynb"
    notebook.write_text(json.dumps({"cells": code, "metadata": kernel, "nbformat": 4, "nbformat_minor": 4}))
    lab.open(notebook)
    lab.run_all()
    with pytest.raises(AssertionError, match="cell 0: ValueError: known: 1"):
        lab.run_all()
    lab.restart_kernel()
    lab.run_all()
