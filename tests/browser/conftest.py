"""One JupyterLab and one browser for all the tests in this folder, and a page for each file."""

import pytest

from tests.browser import lab as labs


# For the package, not the session: while it runs, Playwright's loop is in the way of every other use of asyncio.
@pytest.fixture(scope="package")
def browser():
    if labs.sync_playwright is None:
        labs.missing("Playwright", "pip install playwright")
    with labs.sync_playwright() as playwright:
        program = labs.find_browser(playwright)
        if program is None:
            labs.missing("Chromium", "apt-get install chromium fonts-dejavu-core, or playwright install chromium")
        browser = playwright.chromium.launch(executable_path=program, args=labs.FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def server(browser, tmp_path_factory):
    with labs.serve(tmp_path_factory.mktemp("lab")) as server:
        yield server


@pytest.fixture(scope="module")
def lab(browser, server):
    """A page for all the tests of a file: to open and run a notebook takes longer than any of them."""
    with labs.watched(browser, server) as lab:
        yield lab


@pytest.fixture(autouse=True)
def nothing_goes_wrong(request):
    """After each test that uses the page: the page's troubles are the test's, and a failure leaves a picture."""
    lab = request.getfixturevalue("lab") if "lab" in request.fixturenames else None
    failed = request.session.testsfailed
    yield
    if lab and request.session.testsfailed > failed:
        lab.screenshot(f"failed {request.node.name}")
    if lab:
        lab.check()
