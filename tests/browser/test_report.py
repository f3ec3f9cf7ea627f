"""The report in a real browser: it opens without a network, shows its pictures and complains of nothing.

`make test-browser` installs what it needs: a driver (playwright), and Chromium by the system's packages.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from patience import SLACK, pause
from playwright.sync_api import Page, sync_playwright
from shared_helpers import mimicme

from mimicme.commands.report import sections
from mimicme.commands.report.index import index_data, script
from mimicme.commands.report.page import asset, make_section, render_page
from mimicme.commands.report.records import FrameRecord, ItemRecord
from mimicme.pipeline.items import Item

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
SMALL = ("--set", "bake.size=256")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, small_captures: Path) -> Path:
    """The index of a workspace of four frames, one of them rejected, with a name that HTML must not believe."""
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
    assert {"Overview", "Sequences, worst first", "What was rejected", "Quality"} <= set(headings)
    assert "could not be made" not in page.inner_text("body")
    page.locator("#all").scroll_into_view_if_needed()
    pause(page, 500)
    widths = page.eval_on_selector_all("img", "images => images.map(i => i.complete && i.naturalWidth)")
    assert len(widths) == 2 and all(widths)


def test_names_of_folders_are_text(page: Page) -> None:
    assert "a & <b>bold" in page.inner_text("body") and not page.locator("b").count()


def test_it_fits_the_window(page: Page) -> None:
    """Wide tables and pictures scroll within themselves; the page does not."""
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_what_was_rejected_leads_to_the_sequences_with_it(page: Page) -> None:
    section = page.locator("section", has=page.locator("h2", has_text="What was rejected"))
    section.get_by_text("empty-file", exact=True).click()
    assert page.locator("#rows tr").count() == 1 and "of 1, of 2 in all" in page.inner_text("#count")


def test_the_table_is_searched_filtered_and_sorted(page: Page) -> None:
    def names() -> list[str]:
        pause(page, 200)
        return page.locator("#rows td:first-child").all_inner_texts()

    both = names()
    assert len(both) == 2
    page.click("[data-sort=score]")
    assert names() == both[::-1]
    page.click("[data-sort=sequence]")
    assert names() == sorted(both)
    page.fill("#search", "EMPTY-FILE")
    (found,) = names()
    assert found.startswith("S000/a")
    page.fill("#search", "nobody")
    assert names() == [] and page.inner_text("#count").startswith("0 to 0 of 0")
    page.fill("#search", "")
    page.select_option("#expression", label="neutral")
    assert names() == ["S000/neutral"]
    page.select_option("#expression", label="any")
    page.select_option("#reviewed", "bad")
    assert names() == []


def test_a_sequence_has_a_page_and_a_way_back(page: Page) -> None:
    page.click("#rows a >> text=S000/a")
    assert page.locator("figure img").count() == 4  # three frames and the film of their textures
    assert "empty-file" in page.inner_text("body")
    page.eval_on_selector_all("img", "images => images.forEach(i => i.scrollIntoView())")
    pause(page, 500)
    widths = page.eval_on_selector_all("img", "images => images.map(i => i.complete && i.naturalWidth)")
    assert all(widths)
    page.click("text=S000 >> nth=0")
    assert page.locator("h3").count() == 2
    page.click("text=all sequences")
    assert page.locator("#rows tr").count() == 2


def test_94000_sequences_open_and_are_searched_at_once(page: Page, tmp_path: Path) -> None:
    frames = [FrameRecord(n, n, "intensity", note="half-seen" if n else "") for n in range(2)]
    frames[0].quality = {"expected_error": 1.0, "s2m_p95": 0.5}
    records = [
        ItemRecord(Item(f"S{n // 20:04d}", f"take{n % 20:02d}"), f"expression {n % 20}", frames)
        for n in range(94_000)
    ]
    head = sections.Sequences([("sequence", "sequence"), ("score", "why")], "mimicme view ws")
    (tmp_path / "report-data.js").write_text(script(index_data(records, "intensity")))
    (tmp_path / "report.html").write_text(
        render_page("many", [make_section("Sequences", "sequences", lambda: head)])
    )
    for name in ("report.js", "report.css"):
        (tmp_path / name).write_text(asset(name))
    began = time.monotonic()
    page.goto((tmp_path / "report.html").as_uri())
    assert time.monotonic() - began < 3.0 * SLACK
    took = page.evaluate(
        """() => { const box = document.getElementById('search'); return ['s1234 half', 'take07', ''].map((word) => {
        box.value = word; const began = performance.now(); report.filter(); return performance.now() - began; }); }"""
    )
    assert max(took) < 300.0 * SLACK
    assert page.evaluate("report.count()") == 94_000
