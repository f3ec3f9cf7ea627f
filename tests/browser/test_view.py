"""The viewer in a real browser, drawn by software: as a file without a network, and over the loopback server."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from patience import SLACK, pause
from playwright.sync_api import Page, sync_playwright
from shared_helpers import MAIN, mimicme

from mimicme.pipeline.items import Item
from mimicme.pipeline.landmarks.files import read_landmarks
from mimicme.pipeline.model_file import Blendshapes, FaceModel, write_model
from mimicme.pipeline.release import Release
from mimicme.pipeline.template import prepare
from mimicme.pipeline.workspace import Workspace
from mimicme.stages.register.checkpoint import RegisteredCheckpoint

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
DRAWN_BY_SOFTWARE = (
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
)
READY_S, DRAWN_MS = 20.0 * SLACK, 1000.0 * SLACK


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, small_captures: Path) -> Path:
    workspace = tmp_path_factory.mktemp("browser-view") / "ws"
    template = small_captures / "template" / "template.obj"
    mimicme("init", workspace, "--captures", small_captures / "captures", "--template", template)
    mimicme("run", workspace, "--jobs", 0, "--set", "bake.size=256")
    return workspace


@pytest.fixture
def page() -> Iterator[Page]:
    """A window; whatever a page complains of, or asks beyond this machine for, fails the test."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    complaints: list[str] = []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=[*DRAWN_BY_SOFTWARE])
        window = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
        window.on("console", lambda message: complaints.append(message.text))
        window.on("pageerror", lambda error: complaints.append(str(error)))
        here = ("file:", "data:", "blob:", "http://127.0.0.1:")
        window.on("request", lambda asked: asked.url.startswith(here) or complaints.append(asked.url))
        yield window
        browser.close()
    assert not complaints


def ready(page: Page) -> None:
    """Wait until the viewer has a frame; a page's policy lets no condition be waited for inside it."""
    end = time.monotonic() + READY_S
    while time.monotonic() < end:
        if page.evaluate("Boolean(window.viewer && viewer.timing.ready_ms !== null)"):
            return
        pause(page, 50)
    raise AssertionError(page.inner_text("body"))


def colors(page: Page) -> int:
    """Number of different colours in the picture, of a grid of its points."""
    pause(page, 300)
    count: int = page.evaluate(
        """() => { const c = document.getElementById('canvas'); const g = c.getContext('webgl2');
        const p = new Uint8Array(4); const seen = new Set();
        for (let x = 0; x < c.width; x += 24) for (let y = 0; y < c.height; y += 24) {
          g.readPixels(x, y, 1, 1, g.RGBA, g.UNSIGNED_BYTE, p); seen.add(p.slice(0, 3).join()); }
        return seen.size; }"""
    )
    return count


def test_a_file_is_drawn_scrubbed_and_played(page: Page, workspace: Path, tmp_path: Path) -> None:
    file = tmp_path / "view.html"
    mimicme("view", workspace, "S000/surprise", "--scans", "--output", file)
    page.goto(file.as_uri())
    ready(page)
    assert page.evaluate("viewer.measure()") < DRAWN_MS
    assert "S000/surprise, frame 0" in page.inner_text("header")
    seen = {}
    for key in ("t", "s", "e", "2", "3", "4", "w", "l"):
        page.keyboard.press(key)
        seen[key] = colors(page)
    assert min(seen.values()) > 20
    assert page.is_visible("#legend") and page.input_value("#slider") == "0"
    page.keyboard.press("End")
    pause(page, 200)
    assert page.evaluate("viewer.state().number") == 2 and "3 of 3" in page.inner_text("footer")
    page.fill("#slider", "1")
    pause(page, 200)
    assert "frame 1" in page.inner_text("header")
    page.keyboard.press(" ")
    pause(page, 1000)
    page.keyboard.press(" ")
    assert not page.is_visible("#review") and page.inner_text("#message") == ""


@contextmanager
def served(place: Path) -> Iterator[str]:
    """The address of a server."""
    command = [*MAIN, "view", str(place), "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as serving:
        try:
            assert serving.stdout is not None
            yield serving.stdout.readline().strip()
        finally:
            serving.terminate()


@pytest.fixture
def address(workspace: Path) -> Iterator[str]:
    """Of a server for the workspace, which is as it was afterwards."""
    with served(workspace) as address:
        yield address
    (workspace / "review.csv").unlink(missing_ok=True)
    shutil.rmtree(workspace / "corrections", ignore_errors=True)


def test_a_frame_is_called_bad_in_the_browser(page: Page, workspace: Path, address: str) -> None:
    page.goto(address)
    ready(page)
    page.fill("#search", "surp")
    page.click("#hits button")
    pause(page, 500)
    page.fill("#slider", "1")
    pause(page, 500)
    page.fill("#reason", "g<b>lasses")  # keys in a field give no verdict
    page.click("#bad")
    pause(page, 500)
    assert "bad: g<b>lasses" in page.inner_text("#verdict")
    assert "rejected: review" in page.inner_text("header")
    lines = (workspace / "review.csv").read_text().splitlines()
    assert lines[1:] == ["S000,surprise,1,bad,g<b>lasses"]


def test_what_is_being_typed_stays_and_pictures_are_given_back(page: Page, address: str) -> None:
    page.add_init_script(
        "window.open_ = 0; const made = createImageBitmap, gone = ImageBitmap.prototype.close;"
        "window.createImageBitmap = (...all) => { open_++; return made(...all); };"
        "ImageBitmap.prototype.close = function () { open_--; gone.call(this); };"
    )
    page.goto(address)
    for key in ("End", "ArrowRight", " ", "r"):  # before there is anything
        page.keyboard.press(key)
    ready(page)
    page.fill("#reason", "half a wor")
    page.evaluate("window.dispatchEvent(new Event('focus'))")  # as after a look at another window
    pause(page, 300)
    assert page.input_value("#reason") == "half a wor"
    for name in ("surp", "neut", "surp", "neut"):
        page.fill("#search", name)
        page.click("#hits button")
        pause(page, 400)
        page.keyboard.press("End")
        pause(page, 600)
        assert page.input_value("#reason") == ""
    # of four visits to four frames there are those of the last sequence, and perhaps what was drawn before
    assert 1 <= page.evaluate("open_") <= 3
    assert colors(page) > 20
    page.focus("#canvas")
    for _ in range(3):  # play, stop, play, before a frame has come: one film, not two
        page.keyboard.press(" ")
    page.keyboard.press(" ")
    at = page.evaluate("viewer.state().row")
    pause(page, 400)
    assert page.evaluate("viewer.state().row") == at


def test_a_landmark_is_dragged_and_saved(page: Page, workspace: Path, address: str) -> None:
    page.goto(address)
    ready(page)
    page.keyboard.press("m")
    pause(page, 500)
    assert page.is_checked("input[value=scan]") and page.is_disabled("#save")
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    # a point that is chosen is put down first, so that there is one to be dragged
    page.select_option("#point", label="nose_3")
    page.mouse.dblclick(x, y)
    pause(page, 200)
    assert page.is_enabled("#save")
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 20, y, steps=4)
    page.mouse.up()
    page.click("#save")
    pause(page, 1000)
    assert "Written to corrections" in page.inner_text("#corrected") and page.is_disabled("#save")
    saved = workspace / "corrections" / "S000" / "neutral" / "0.ljson"
    assert read_landmarks(saved.read_bytes(), saved.name).points.shape == (68, 3)
    page.click("#back")
    pause(page, 1000)
    assert not saved.exists()


def test_what_is_said_in_the_browser_counts(page: Page, workspace: Path, tmp_path: Path) -> None:
    """A frame called bad is gone after pack; a point that is moved moves the mesh in the next run, and on the page."""
    root = tmp_path / "ws"
    shutil.copytree(workspace, root)
    item = Item("S000", "surprise")
    with served(root) as address:
        page.goto(address)
        ready(page)
        page.fill("#search", "surp")
        page.click("#hits button")
        pause(page, 500)
        page.fill("#slider", "1")
        pause(page, 500)
        page.fill("#reason", "blinks")
        page.click("#bad")
        pause(page, 500)
        mimicme("pack", root, "--jobs", 0, "--set", "bake.size=256")
        with Release(root / "release.h5") as release:
            place = next(info for info in release.sequences() if info.item == item)
            frame = release.frame(place.start + 1)
        assert not frame.ok and frame.reason == "review" and "blinks" in frame.message
        assert np.isnan(frame.vertices).all()
        page.click("#none")
        page.keyboard.press("m")
        page.select_option("#point", label="nose_3")
        pause(page, 500)
        box = page.locator("#canvas").bounding_box()
        assert box is not None
        page.mouse.dblclick(box["x"] + box["width"] / 2 + 40, box["y"] + box["height"] / 2)
        page.click("#save")
        pause(page, 1000)
        assert "were corrected since" in page.inner_text("#remark")
        with Workspace.open(root).read(RegisteredCheckpoint, item) as before:
            old = before.vertices(1)
        drawn = page.evaluate("viewer.positions().join()")
        mimicme("run", root, "--jobs", 0, "--set", "bake.size=256")
        with Workspace.open(root).read(RegisteredCheckpoint, item) as after:
            assert np.linalg.norm(after.vertices(1) - old, axis=1).max() > 0.5
        page.keyboard.press("1")
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("ArrowRight")
        pause(page, 1500)
        assert "frame 1" in page.inner_text("header") and page.inner_text("#remark") == ""
        assert page.evaluate("viewer.positions().join()") != drawn


def test_the_shapes_of_a_model_are_moved(page: Page, small_template: Path, tmp_path: Path) -> None:
    template = prepare(small_template)
    deltas = np.zeros((2, len(template.vertices), 3), np.float32)
    deltas[0, :, 0], deltas[1, :, 1] = 10, -20
    shapes = Blendshapes(("aside", "down"), deltas, np.array([3, 3], np.int32))
    write_model(tmp_path / "m.h5", FaceModel(template, {}, shapes))
    mimicme("view", tmp_path / "m.h5", "--output", tmp_path / "m.html")
    page.goto((tmp_path / "m.html").as_uri())
    ready(page)
    assert page.inner_text("#sliders summary") == "Blendshapes" and not page.is_visible("#layout")
    start = np.array(page.evaluate("viewer.positions()")).reshape(-1, 3)
    page.locator("#sliders input").nth(0).fill("0.5")
    page.locator("#sliders input").nth(1).focus()
    page.keyboard.press("End")  # to the end of the slider, not of a sequence
    pause(page, 300)
    moved = np.array(page.evaluate("viewer.positions()")).reshape(-1, 3) - start
    np.testing.assert_allclose(moved, np.broadcast_to([5.0, -30.0, 0.0], moved.shape), atol=0.02)
    page.keyboard.press("0")
    pause(page, 300)
    again = np.array(page.evaluate("viewer.positions()")).reshape(-1, 3)
    np.testing.assert_allclose(again, start, atol=1e-4)
