"""The report in a real browser: it opens without a network, shows its pictures and complains of nothing.

`make test-browser` installs what it needs: a driver (playwright), and Chromium by the system's packages.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright
from shared_helpers import mimicme

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
SMALL = ("--set", "bake.size=256")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, small_captures: Path) -> Path:
    """The page of a workspace of four frames, one of them rejected, with a name that HTML must not believe."""
    folder = tmp_path_factory.mktemp("browser")
    captures = folder / "captures"
    shutil.copytree(small_captures / "captures", captures)
    (captures / "S000" / "surprise").rename(captures / "S000" / "a & <b>bold")
    (captures / "S000" / "a & <b>bold" / "0001.obj").write_text("")
    workspace = folder / "ws"
    mimicme(
        "init", workspace, "--captures", captures, "--template", small_captures / "template" / "template.obj"
    )
    mimicme("run", workspace, "--jobs", 0, *SMALL, code=1)
    mimicme("report", workspace)
    return workspace / "report" / "report.html"


@pytest.fixture
def page(report: Path) -> Iterator[Page]:
    """A window without a network; whatever the page complains of, or asks a network for, fails the test."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    complaints: list[str] = []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        window = browser.new_context(offline=True, viewport={"width": 1280, "height": 900}).new_page()
        window.on("console", lambda message: complaints.append(message.text))
        window.on("pageerror", lambda error: complaints.append(str(error)))
        window.on(
            "request",
            lambda request: request.url.startswith(("file:", "data:")) or complaints.append(request.url),
        )
        window.goto(report.as_uri())
        yield window
        browser.close()
    assert not complaints


def test_every_section_is_there_and_every_picture_is_drawn(page: Page) -> None:
    headings = page.locator("h2").all_inner_texts()
    assert {"Overview", "What was rejected", "Quality", "Pictures", "Settings and versions"} <= set(headings)
    assert "could not be made" not in page.inner_text("body")
    widths = page.eval_on_selector_all("img", "images => images.map(i => i.complete && i.naturalWidth)")
    assert widths and all(widths)


def test_names_of_folders_are_text(page: Page) -> None:
    assert "a & <b>bold" in page.inner_text("body") and not page.locator("b").count()


def test_it_fits_the_window(page: Page) -> None:
    """Wide tables and pictures scroll within themselves; the page does not."""
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_what_was_rejected_is_said_with_its_code(page: Page) -> None:
    section = page.locator("section", has=page.locator("h2", has_text="What was rejected"))
    assert "empty-file" in section.inner_text()
