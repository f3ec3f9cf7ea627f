"""The page about a workspace: whole, self-contained, and never stopped by one bad thing."""

from __future__ import annotations

import html
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jinja2 import UndefinedError
from markupsafe import escape
from small import no_layout

from mimicme.commands.frames import in_order
from mimicme.commands.report import (
    bars,
    figures,
    histogram,
    read_item,
    read_view,
    report,
    report_for_others,
    sections,
    strips,
)
from mimicme.commands.report import close_ups as close_up_pictures
from mimicme.commands.report.close_ups import EAR, EYE, HEIGHT, HOLE_COLORS, MOUTH, ROW, Seen, close_ups
from mimicme.commands.report.index import COLUMNS, index_data, order, script
from mimicme.commands.report.page import asset, environment, make_section, render, render_page, render_section
from mimicme.commands.report.ranking import sequence_badness
from mimicme.commands.report.records import REVIEWED, FrameRecord, ItemRecord, decision_sentence
from mimicme.commands.report.sequence_files import remove_others
from mimicme.commands.report.svg import curve
from mimicme.pipeline.checkpoint import Checkpoint, writing
from mimicme.pipeline.drawing import pictures
from mimicme.pipeline.errors import FrameRejected, UsageError
from mimicme.pipeline.formats.image import decode
from mimicme.pipeline.geometry.mesh import Mesh
from mimicme.pipeline.geometry.spatial import Surface
from mimicme.pipeline.items import Item
from mimicme.pipeline.landmarks import GROUPS
from mimicme.pipeline.run.run_types import RunOptions
from mimicme.pipeline.run.runner import run
from mimicme.pipeline.template import load_prepared, prepare
from mimicme.pipeline.template.eyelids import EYES
from mimicme.pipeline.workspace import Workspace
from mimicme.stages import STAGES as ALL_STAGES
from mimicme.stages import align, ingest, landmarks
from mimicme.stages.landmarks.review import export, review
from mimicme.stages.register.regions import ears as ears_of

STAGES = (ingest.STAGE, landmarks.STAGE, align.STAGE)
LAYOUT = "{subject}/{sequence}/{frame}.obj"


class Page(HTMLParser):
    """Checks that tags close in order, and collects what a page links to."""

    VOID = ("meta", "img", "rect", "link", "input", "br", "line", "polyline", "circle")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [str(v) for k, v in attrs if k in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture(scope="module")
def worked_up(tmp_path_factory: pytest.TempPathFactory, small_captures: Path) -> Path:
    """A workspace, ingested and aligned; `register` is made up: the true answer, and one frame rejected.  Read only."""
    made = _created(tmp_path_factory.mktemp("report") / "ws <&>", small_captures)
    assert run(made, RunOptions(jobs=0), STAGES).exit_code == 0
    for sequence in made.sequences():
        _register(made, sequence.item, small_captures)
    return made.root


@pytest.fixture
def workspace(worked_up: Path, tmp_path: Path) -> Workspace:
    """A copy of that workspace, to do with as one likes."""
    shutil.copytree(worked_up, tmp_path / worked_up.name)
    return Workspace.open(tmp_path / worked_up.name)


@dataclass(frozen=True)
class Reported:
    """A report, and what was told while it was made."""

    index: Path
    told: list[str]


@pytest.fixture(scope="module")
def reported(worked_up: Path, tmp_path_factory: pytest.TempPathFactory) -> Reported:
    """The report on that workspace.  Read only."""
    told: list[str] = []
    folder = tmp_path_factory.mktemp("reported") / "out"
    return Reported(report(Workspace.open(worked_up), folder, ALL_STAGES, progress=told.append), told)


def _created(root: Path, synthetic: Path) -> Workspace:
    return Workspace.create(
        root,
        captures=synthetic / "captures",
        layout=LAYOUT,
        template=synthetic / "template" / "template.obj",
        stages=STAGES,
    )


def _register(workspace: Workspace, item: Item, captures: Path) -> None:
    with np.load(captures / "truth" / item.subject / f"{item.sequence}.npz") as truth:
        vertices = truth["vertices"].astype(float)
    with (
        Checkpoint(workspace.checkpoint("align", item)) as aligned,
        writing(workspace.checkpoint("register", item), stage="register", item=str(item), made_by={}) as out,
    ):
        ok = out.continue_from(aligned)
        placed = out.rows("vertices", vertices.shape[1:], "f4", "mm")
        poses = out.rows("pose", (4, 4), "f8", "mm")
        median, p95 = (out.rows(f"quality/{name}", (), "f4", "mm") for name in ("s2m_median", "s2m_p95"))
        for row in ok:
            pose = aligned["pose"][row]
            poses[row] = pose
            home = np.linalg.inv(pose)
            placed[row] = vertices[row] @ home[:3, :3].T + home[:3, 3]
            median[row] = 0.1 + row
            p95[row] = 0.3 + row
        if len(ok) > 1:
            out.reject(
                1, FrameRejected("large-residual", "the fit is <b>4 mm</b> off", todo="Look at the scan")
            )


def pages(index: Path) -> dict[str, str]:
    """The text of every page and of the data, by its place in the report."""
    folder = index.parent
    files = [*folder.rglob("*.html"), folder / "report-data.js"]
    return {path.relative_to(folder).as_posix(): path.read_text() for path in files}


def data_of(index: Path) -> dict[str, Any]:
    """What report.js gets."""
    text = (index.parent / "report-data.js").read_text()
    found: dict[str, Any] = json.loads(text.removeprefix("window.REPORT = ").removesuffix(";\n"))
    return found


def rows(index: Path) -> list[dict[str, Any]]:
    """The rows of the index, worst first, with names in place of numbers."""
    data = data_of(index)
    found = [dict(zip(data["columns"], row, strict=True)) for row in data["rows"]]
    for row in found:
        row["subject"], row["state"] = data["subjects"][row["subject"]], data["states"][row["state"]]
        row["codes"] = [data["codes"][code] for code in row["codes"]]
    return found


def test_pages_are_whole_and_need_no_network(reported: Reported) -> None:
    index = reported.index
    found = pages(index)
    drawn = ["1/2 sequences, S000/neutral", "2/2 sequences, S000/surprise"]
    before = [
        "looking at what is out of date",
        "0/2 sequences",
    ]  # before the first is drawn, which takes a while
    assert reported.told == [*before, *drawn, "the pages over all sequences"]
    assert set(found) == {
        "report.html", "report-data.js", "subjects/S000.html",
        "sequences/S000/neutral/index.html", "sequences/S000/surprise/index.html",
    }  # fmt: skip
    for name, text in found.items():
        assert not re.search(r"https?://", text) and "could not be made" not in text
        for link in Page(text).links if name.endswith(".html") else ():
            place = link.partition("#")[0]
            assert not place or (index.parent / name).parent.joinpath(place).resolve().is_file(), link
    text = found["report.html"]
    assert re.findall("<script[^>]*>", text) == ['<script src="report-data.js">', '<script src="report.js">']
    # unit and sentence beside the name: what is looked at first, then in the order of the flow
    said = {name: said for stage in ALL_STAGES for name, said in stage.reader.explained.items()}
    shown = re.findall(
        r"<tr><td>(\w+)</td><td>([^<]*)</td><td>([^<]*)</td><td>([^<]*)</td><td>\d+</td>", text
    )
    names = [name for name, *_ in shown]
    assert names == in_order(name for name in said if name in names)
    assert names[:3] == ["neutral_cost", "s2m_median", "s2m_p95"] and len(names) > 6
    assert [what for _, _, what, _ in shown] == [str(escape(said[name])) for name, *_ in shown]
    units = {name: (unit, way) for name, unit, _, way in shown}
    assert units["s2m_median"] == ("mm", "lower is better") and units["align_scale"] == ("no unit", "")
    assert "_decision" not in text and re.search(r"<li>unit: mm, because the eyes are ", text)
    assert "ws &lt;&amp;&gt;" in text
    # what comes from outside is text, not markup
    page = found["sequences/S000/surprise/index.html"]
    assert "&lt;b&gt;4 mm&lt;/b&gt;" in page and "<b>4 mm" not in page and "large-residual" in page
    assert "White patches" in page and "grey is further than 10 mm" in page
    assert "<td>s2m_p95</td><td>mm</td>" in page and "<line " in page
    assert "<b" not in found["report-data.js"]


def test_a_page_for_others_names_and_shows_nobody(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = report_for_others(workspace, tmp_path / "others", ALL_STAGES)
    page = index.read_text()
    assert "s2m_median" not in page and "fewer than 10 people are not shown" in page
    monkeypatch.setattr("mimicme.commands.report.PRIVATE", 1)
    index = report_for_others(workspace, tmp_path / "others", ALL_STAGES)
    assert sorted(path.name for path in index.parent.iterdir()) == ["report.css", "report.html"]
    page = index.read_text()
    assert "s2m_median" in page and "could not be made" not in page
    assert not re.search(r"S000|surprise/|<img|<script|ws &lt;", page)


def test_who_called_a_frame_bad_is_not_the_last_stage(workspace: Workspace) -> None:
    good, bad = FrameRecord(0, 0, "intensity", verdict="good"), FrameRecord(1, 1, "intensity", verdict="bad")
    bad.ok, bad.reason = False, REVIEWED
    lost = FrameRecord(2, 2, "align", False, "no-face")
    record = ItemRecord(Item("S", "q"), "smile", [good, bad, lost])
    counts = {c.stage: c for c in sections.overview(workspace, [record], ALL_STAGES, {}).stages}
    assert counts["intensity"].rejected == 0 and counts["align"].rejected == 1
    assert (counts["a person who looked"].arrived, counts["a person who looked"].rejected) == (2, 1)
    assert sequence_badness(record).why == "1 rejected: no-face"


def test_what_a_person_threw_out_whole_is_not_looked_at_first_again() -> None:
    def all_lost(name: str, *reasons: str) -> ItemRecord:
        frames = [FrameRecord(k, k, "align", False, reason) for k, reason in enumerate(reasons)]
        return ItemRecord(Item("S", name), "smile", frames)

    looked, both = all_lost("looked", REVIEWED, REVIEWED), all_lost("both", REVIEWED, "no-face")
    fine = ItemRecord(Item("S", "fine"), "smile", [FrameRecord(0, 0, quality={"expected_error": 0.5})])
    assert [r.item.sequence for r in order([looked, fine, both])] == ["both", "fine", "looked"]
    assert "called all of them bad" in sequence_badness(looked).why


def ordered_with(note: str) -> list[ItemRecord]:
    """Sequences `plain`, off by 0.9 mm, and `noted`, off by 0.5 mm with this note, as they are to be looked at."""

    def one(name: str, note: str, error: float) -> ItemRecord:
        frame = FrameRecord(0, 0, "bake", note=note, quality={"expected_error": error})
        return ItemRecord(Item("S", name), "smile", [frame])

    return order([one("plain", "texture-beside", 0.9), one("noted", note, 0.5)])


def test_what_only_a_look_can_settle_comes_before_what_is_off_by_a_little_more() -> None:
    """A scanner that hung raises no error of the surface."""
    found = ordered_with("frame-repeated")
    assert [r.item.sequence for r in found] == ["noted", "plain"]
    assert "frame-repeated" in sequence_badness(found[0]).why


def test_what_is_harmless_where_the_texture_is_right_ranks_nothing() -> None:
    """That EXIF data were ignored is said of whole captures at once, of which most are as they should be."""
    assert [r.item.sequence for r in ordered_with("texture-turned")] == ["plain", "noted"]


def test_the_index_has_the_figures_of_the_worst_frame_itself() -> None:
    """As its page, which names that frame, and not the largest of any frame."""
    noted = FrameRecord(
        0, 0, "bake", note="half-seen,lips-apart", quality={"expected_error": 0.5, "s2m_p95": 0.2}
    )
    far = FrameRecord(1, 1, "bake", quality={"expected_error": 1.0, "s2m_p95": 9.0})
    data = index_data([ItemRecord(Item("S", "q"), "smile", [noted, far])], "bake")
    row = dict(zip(data["columns"], data["rows"][0], strict=True))
    assert (row["expected_error"], row["s2m_p95"]) == (0.5, 0.2) and "frame 0" in row["why"]


def test_pictures_are_small_and_of_every_frame(reported: Reported) -> None:
    drawn = sorted((reported.index.parent / "sequences" / "S000" / "surprise").glob("[0-9]*.webp"))
    assert [path.stem for path in drawn] == ["0", "1", "2"]
    heights = []
    for path in drawn:
        picture = decode(path.read_bytes())
        assert picture.shape[1:] == (strips.TILE[1] * len(strips.TILES), 3)
        heights.append(picture.shape[0] - strips.TILE[0])
        assert path.stat().st_size <= strips.MAX_BYTES and np.ptp(picture) > 50
    assert sorted(heights) == [0, HEIGHT, HEIGHT]  # one is rejected before it is registered


def test_only_what_changed_is_made_again(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = report(workspace, tmp_path / "out", ALL_STAGES)
    drawn: list[str] = []
    monkeypatch.setattr(strips, "draw_strip", lambda *a: drawn.append(f"{a[2]} {a[3].number}") or b"new")
    folder = index.parent / "sequences" / "S000"

    def times() -> dict[str, int]:
        return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}

    before, words = times(), pages(index)
    report(Workspace.open(workspace.root), tmp_path / "out", ALL_STAGES)
    assert drawn == [] and times() == before and pages(index) == words
    # a verdict changes a page, and no picture
    (workspace.root / "review.csv").write_text(
        "subject,sequence,frame,verdict,reason\nS000,surprise,2,bad,<i>cut\n"
    )
    report(Workspace.open(workspace.root), tmp_path / "out", ALL_STAGES)
    changed = {name for name, time in times().items() if time != before[name]}
    assert drawn == [] and changed == {"surprise/index.html", "surprise/made.json"}
    page = pages(index)["sequences/S000/surprise/index.html"]
    assert "rejected: review" in page and "&lt;i&gt;cut" in page and "looked at: bad" in page
    (row,) = (row for row in rows(index) if row["sequence"] == "surprise")
    assert (row["rejected"], row["reviewed"], row["bad"]) == (2, 1, 1)
    assert row["codes"] == ["large-residual", "review"]
    # another checkpoint changes both
    path = workspace.checkpoint("register", Item("S000", "neutral"))
    path.rename(tmp_path / "moved.h5")
    shutil.copy(tmp_path / "moved.h5", path)
    report(Workspace.open(workspace.root), tmp_path / "out", ALL_STAGES)
    assert drawn == ["S000/neutral 0"] and (folder / "neutral" / "0.webp").read_bytes() == b"new"


def test_other_processes_make_the_same(worked_up: Path, reported: Reported, tmp_path: Path) -> None:
    two = report(Workspace.open(worked_up), tmp_path / "two", ALL_STAGES, jobs=2)
    assert pages(reported.index) == pages(two)
    pictures_of = [sorted(index.parent.rglob("[0-9]*.webp")) for index in (reported.index, two)]
    assert len(pictures_of[0]) == 4
    assert [p.read_bytes() for p in pictures_of[0]] == [p.read_bytes() for p in pictures_of[1]]


def test_the_worst_have_a_page_in_3d(workspace: Workspace, tmp_path: Path) -> None:
    asked: list[tuple[str, str]] = []

    def write(item: Item, path: Path) -> None:
        asked.append((str(item), path.relative_to(tmp_path / "out").as_posix()))
        path.write_text("3D")

    index = report(workspace, tmp_path / "out", ALL_STAGES, views=1, write_view=write)
    ((name, place),) = asked
    assert place == f"views/{name}.html" and [row["view"] for row in rows(index)].count(True) == 1
    assert f'href="../../../{place}"' in pages(index)[f"sequences/{name}/index.html"]
    report(workspace, tmp_path / "out", ALL_STAGES)
    assert not (tmp_path / "out" / place).exists()
    assert "../../../views/" not in pages(index)[f"sequences/{name}/index.html"]


def test_what_is_worst_comes_first_and_says_why() -> None:
    def record(name: str, *frames: FrameRecord, failure: str = "") -> ItemRecord:
        return ItemRecord(Item("S", name), "smile", list(frames), failure)

    def frame(
        number: int, error: float | None, note: str = "", reason: str = "", p95: float = 0.1
    ) -> FrameRecord:
        made = FrameRecord(number, number, "intensity", not reason, reason, note)
        made.quality = {"s2m_p95": p95} | ({} if error is None else {"expected_error": error})
        return made

    found = order(
        [
            record("calm", frame(0, 0.5), frame(1, 0.6, "no-texture")),
            record("slid", frame(0, 0.5), frame(7, 2.5)),
            record("far", frame(0, 0.6, p95=9.0)),
            record("unknown", frame(0, 0.4), frame(1, None)),
            record("open", frame(3, 0.7, "vertex-colours,lips-apart,half-seen")),
            record("gone", frame(2, None, reason="register-half")),
            record("part", frame(0, 0.4), frame(1, None, reason="no-face")),
            record("broken", failure="register: no memory"),
            record("empty"),
        ]
    )
    assert [r.item.sequence for r in found] == [
        "broken", "empty", "gone", "unknown", "open", "slid", "part", "calm", "far",
    ]  # fmt: skip
    why = {r.item.sequence: sequence_badness(r).why for r in found}
    assert why["open"] == "frame 3: expected error 0.70 mm, lips-apart, half-seen"
    assert why["slid"] == "frame 7: expected error 2.50 mm"
    assert why["unknown"] == "frame 1: expected error not known"
    assert why["part"] == "frame 0: expected error 0.40 mm; 1 rejected: no-face"
    assert why["gone"] == "no frame is left, the first rejected: register-half"
    assert why["broken"] == "failed: register: no memory"


def test_frames_are_drawn_that_are_worst_and_others_between() -> None:
    frames = [FrameRecord(n, n, "bake") for n in range(60)]
    for n, each in enumerate(frames):
        each.quality = {"expected_error": 3.0 if 20 <= n < 40 else 0.5}
    frames[50].ok = False
    chosen = [f.number for f in strips.choose_frames(ItemRecord(Item("S", "q"), "", frames), 9)]
    assert len(chosen) == 9 and chosen == sorted(chosen)
    assert {50, 20, 21} <= set(chosen) and 0 in chosen and len({n for n in chosen if 20 <= n < 40}) == 5
    assert strips.choose_frames(ItemRecord(Item("S", "q"), "", frames[:9]), 9) == frames[:9]


def test_every_figure_says_which_way_it_is_good() -> None:
    known = {name for stage in ALL_STAGES for name in stage.reader.explained}
    sets = (figures.LOWER_IS_BETTER, figures.HIGHER_IS_BETTER, figures.DESCRIBES)
    assert known == set().union(*sets) and sum(map(len, sets)) == len(known)


def test_data_of_94000_sequences_are_small_and_have_no_sign_of_html() -> None:
    frames = [FrameRecord(0, 0, "intensity", note="half-seen", quality={"expected_error": 1.23456})]
    records = [ItemRecord(Item(f"S{n:05d}", "</script>"), "smile", frames) for n in range(1000)]
    text = script(index_data(records, "intensity"))
    assert len(text) < 160_000 and not set("<>&") & set(text)
    found = json.loads(text.removeprefix("window.REPORT = ").removesuffix(";\n"))
    assert found["rows"][0][1] == "</script>" and found["rows"][0][6] == 1.235


@pytest.mark.parametrize(
    ("name", "said", "shown"),
    [
        ("unit_decision", "m: the eyes are 0.06 apart", "unit: m, because the eyes are 0.06 apart"),
        (
            "unit_decision",
            "mm assumed: no frame could be read",
            "unit: mm assumed, because no frame could be read",
        ),
        (
            "unit_decision",
            "cm as declared; the scan measures 240 mm",
            "unit: cm as declared; the scan measures 240 mm",
        ),
        ("up_decision", "+z is up: the scan says so", "+z is up, because the scan says so"),
        ("size_decision", "unusual size: 40 mm", "unusual size, because 40 mm"),
        ("scale_of_decision", "1: told: twice", "scale of: 1, because told: twice"),
    ],
)
def test_a_decision_is_a_sentence_without_a_key(name: str, said: str, shown: str) -> None:
    assert decision_sentence(name, said) == shown


def test_who_refuses_is_in_no_page_sheet_or_export(workspace: Workspace, tmp_path: Path) -> None:
    """Although the checkpoints of before lie there still."""
    before = report(workspace, tmp_path / "page", ALL_STAGES)
    assert "S000" in "".join(pages(before).values())
    table = tmp_path / "subjects.csv"
    table.write_text("subject,consent\nS000,withdrawn\n")
    refusing = Workspace.open(workspace.root, sets=(f"metadata.file={table}",))
    assert refusing.checkpoint("landmarks", Item("S000", "surprise")).is_file()
    drawn: list[str] = []
    index = report(refusing, tmp_path / "page", ALL_STAGES, progress=drawn.append)
    assert drawn and "S000" not in "".join(drawn)
    text = "".join(pages(index).values())
    assert "S000" not in text and not list(index.parent.rglob("[0-9]*.webp"))
    assert not list(index.parent.rglob("*S000*"))
    assert "could not be made" not in text
    for act in (
        lambda: review(refusing, tmp_path / "sheets"),
        lambda: export(refusing, tmp_path / "pts", ".pts"),
    ):
        with pytest.raises(UsageError, match="no landmarks to look at"):
            act()
    assert not (tmp_path / "sheets").exists() and not (tmp_path / "pts").exists()
    assert review(workspace, tmp_path / "sheets")


def test_frames_carry_the_stage_that_rejected_them(workspace: Workspace) -> None:
    records = {str(s.item): read_item(workspace, s, ALL_STAGES) for s in workspace.sequences()}
    frames = records["S000/surprise"].frames
    assert [f.ok for f in frames] == [True, False, True]
    assert (frames[1].stage, frames[1].reason) == ("register", "large-residual")
    assert frames[2].quality["s2m_p95"] == pytest.approx(2.3)
    assert records["S000/surprise"].worst("s2m_p95") == pytest.approx(2.3)
    again = ItemRecord.from_record(json.loads(json.dumps(records["S000/surprise"].to_record())))
    assert again == records["S000/surprise"]


def test_what_a_later_stage_rejects_is_noted_as_in_the_release(workspace: Workspace) -> None:
    """A texture that could not be baked leaves the mesh as good as it was."""
    item = Item("S000", "surprise")
    with (
        Checkpoint(workspace.checkpoint("register", item)) as before,
        writing(workspace.checkpoint("bake", item), stage="bake", item=str(item), made_by={}) as out,
    ):
        out.continue_from(before)
        out.reject(2, FrameRejected("no-texture", "the scan has no colours"))
    (sequence,) = (s for s in workspace.sequences() if s.item == item)
    first, second, third = read_item(workspace, sequence, ALL_STAGES).frames
    assert (first.ok, second.reason) == (True, "large-residual")
    assert third.ok and third.note.split(",")[-1] == "bake:no-texture" and "no colours" in third.message
    assert "bake:no-texture" in sequence_badness(ItemRecord(item, "", [third])).why


def test_view_is_drawn_in_the_canonical_frame(workspace: Workspace) -> None:
    """The registered truth lies on the scan once both are there: 0.15 mm noise and no more."""
    view = read_view(workspace, Item("S000", "surprise"), 0, ALL_STAGES)
    template = load_prepared(workspace.template)
    errors = pictures.scan_errors(view, template)
    assert 0.01 < np.nanmedian(errors) < 0.12
    drawn = pictures.draw_frame(view, template, (160, 140))
    assert {"scan", "landmarks on the scan", "registered mesh", "scan to registered mesh"} <= set(drawn)
    assert all(p.dtype == np.uint8 and p.ndim == 3 for p in drawn.values())
    assert np.ptp(drawn["registered mesh"]) > 50


def test_what_is_out_of_date_is_said_by_its_cause(workspace: Workspace, tmp_path: Path) -> None:
    index = report(workspace, tmp_path / "out", STAGES)
    assert "Everything on this page is current" in index.read_text()
    assert {row["state"] for row in rows(index)} == {"ok"}
    file = workspace.root / "mimicme.toml"
    file.write_text(file.read_text().replace("[ingest]", "[ingest]\nspeck_triangles = 61"))
    workspace.release.write_bytes(b"")
    index = report(Workspace.open(workspace.root), tmp_path / "out", ALL_STAGES)
    text = html.unescape(index.read_text())
    cause = re.search(r"<tr><td>ingest</td><td>setting 'speck_triangles' changed[^<]*</td><td>2</td>", text)
    assert cause is not None and "landmarks: 'ingest'" not in text
    assert re.search(r"<p>\d+ results of later stages follow from these", text)
    assert "packed, but out of date" in text
    assert {row["state"] for row in rows(index)} == {"out of date"}
    page = html.unescape(pages(index)["sequences/S000/surprise/index.html"])
    assert "Out of date: landmarks: 'ingest' is out of date" in page


def test_what_was_rejected_is_grouped_by_its_reason() -> None:
    frames = [FrameRecord(n, n, "register", ok=n > 6, reason="no-face" if n < 4 else "cut") for n in range(9)]
    frames[7].note, frames[8].note = "half-seen,no-texture", "half-seen"
    frames[0].message = "Look at the scan."
    found = sections.rejections([ItemRecord(Item("S", name), "", frames) for name in ("a", "b")])
    assert [(g.code, g.frames, g.sequences) for g in found.reasons] == [("no-face", 8, 2), ("cut", 6, 2)]
    assert found.reasons[0].examples == "S/a 0, S/a 1, S/a 2, S/a 3 and 4 more"
    assert found.reasons[0].message == "Look at the scan."
    assert [(g.code, g.frames) for g in found.notes] == [("half-seen", 4), ("no-texture", 2)]


def test_a_code_is_explained_by_its_own_words() -> None:
    """A frame's message has the words of all its codes; each row of the table those of one."""
    first, second = "It has no texture.", "Half of it is seen."
    both = FrameRecord(0, 0, note="no-texture,half-seen", message=f"{first} {second}")
    both.said = {"no-texture": first, "half-seen": second}
    alone = FrameRecord(1, 1, note="half-seen", message="A third of it is seen.")
    found = sections.rejections([ItemRecord(Item("S", "a"), "", [both, alone])])
    assert {g.code: g.message for g in found.notes} == {"half-seen": alone.message, "no-texture": first}


def test_a_failing_picture_does_not_stop_the_report(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no picture today")

    monkeypatch.setattr(strips, "read_view", broken)
    index = report(workspace, tmp_path / "out", ALL_STAGES)
    assert "large-residual" in index.read_text()
    assert len(list(index.parent.rglob("[0-9]*.webp"))) == 4  # cards


def test_a_damaged_checkpoint_is_said_and_the_rest_shown(workspace: Workspace, tmp_path: Path) -> None:
    workspace.checkpoint("register", Item("S000", "neutral")).write_bytes(b"not HDF5")
    index = report(workspace, tmp_path / "out", ALL_STAGES)
    for name, text in pages(index).items():
        assert name.endswith(".js") or Page(text)
    first, second = rows(index)
    assert first["state"] == "failed" and first["why"].startswith("failed: register:")
    assert second["sequence"] == "surprise" and "register:" in index.read_text()


def test_a_workspace_where_nothing_ran_has_a_report_too(tmp_path: Path, small_captures: Path) -> None:
    made = _created(tmp_path / "ws", small_captures)
    index = report(made, tmp_path / "out", ALL_STAGES)
    for name, text in pages(index).items():
        assert "could not be made" not in text and (name.endswith(".js") or Page(text))
    assert "Nothing is measured yet" in index.read_text()
    assert {row["state"] for row in rows(index)} == {"not finished"}


def test_frames_without_pictures_are_counted(workspace: Workspace, tmp_path: Path) -> None:
    index = report(workspace, tmp_path / "out", ALL_STAGES, max_frames=2)
    page = pages(index)["sequences/S000/surprise/index.html"]
    assert "1 more frames without pictures" in page and page.count("<img") == 2
    assert '<img loading="lazy" alt="frame 1"' in page  # the rejected one


def test_histogram_counts_everything() -> None:
    drawn = histogram([0.0, 0, 0, 1], 40, 30)
    heights = [float(h) for h in re.findall(r'<rect [^>]*height="([\d.]+)"', drawn)]
    assert heights == [30.0, 10.0] and "<a" not in drawn
    assert "<title>0 to 0.0417: 3 frames</title>" in drawn
    same = histogram([2.0, 2.0])  # no bounds of a bar, which would be the same number twice
    assert same.count("<rect") == 1 and same.count("<text") == 1 and "2: all 2 frames</text>" in same
    assert "<title>2: all 2 frames</title>" in same and "2: 1 frame</text>" in histogram([2.0])
    assert 'href="#bar=x/0"' in histogram([2.0, 2.0], figure="x")
    linked = histogram([0.0, 0, 0, 1], figure="s2m & more")
    assert re.findall(r'href="([^"]*)"', linked) == ["#bar=s2m%20%26%20more/0", "#bar=s2m%20%26%20more/23"]


def test_the_frames_behind_a_bar_are_those_that_it_counts() -> None:
    rng = np.random.default_rng(2)
    values = rng.gamma(2.0, size=600).round(2)
    frames = [FrameRecord(n, n, quality={"x": float(v)}) for n, v in enumerate(values)]
    records = [ItemRecord(Item("S", f"q{k}"), "", frames[300 * k : 300 * k + 300]) for k in range(2)]
    found = bars.behind("x", records)
    for k, (count, listed) in enumerate(zip(found["counts"], found["frames"], strict=True)):
        assert len(listed) == min(count, bars.MOST)
        for row, number, value in listed:
            assert value == pytest.approx(values[number], rel=1e-3) and row == number // 300
            assert found["edges"][k] - 0.01 <= value <= found["edges"][k + 1] + 0.01
    assert sum(found["counts"]) == 600


def test_bars_are_written_beside_the_index_and_old_ones_go(tmp_path: Path) -> None:
    records = [ItemRecord(Item("S", "q"), "", [FrameRecord(4, 0, quality={"x": 1.0, "../y": 2.0})])]
    (tmp_path / "bars").mkdir()
    (tmp_path / "bars" / "old.js").write_text("")
    bars.write_bars(tmp_path, records)
    assert [path.name for path in tmp_path.rglob("*.js")] == ["x.js"]
    assert (tmp_path / "bars" / "x.js").read_text().startswith('report.bars("x", {"edges":')


def test_a_curve_has_gaps_and_marks_what_is_rejected() -> None:
    drawn = curve([1.0, 3.0, np.nan, 2.0], [False, False, True, False], 30, 34)
    assert re.findall(r'points="([^"]*)"', drawn) == ["0.0,32.0 10.0,2.0"]
    assert re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', drawn) == [("30.0", "17.0")]
    assert re.findall(r'<line x1="([\d.]+)"', drawn) == ["20.0"]
    assert "polyline" not in curve([np.nan, np.nan], [True, True])
    assert 'points="0.0,17.0 220.0,17.0"' in curve([5.0, 5.0], [False, False])
    # a bound that is near is drawn, one that is far is not
    near = curve([1.0, 2.0], [False, False], 30, 34, [3.0, 30.0])
    assert near.count('class="bound"') == 1 and 'points="0.0,32.0 30.0,17.0"' in near


HOSTILE = """<script>alert("1")</script> '"><img src=x> {{ 7 * 191 }} {% raw %} &amp;"""


def hostile_records() -> list[ItemRecord]:
    """A sequence that says `HOSTILE` wherever captures, files and errors may put in words."""
    item = Item(f"S0{HOSTILE}", f"smile{HOSTILE}")
    rejected = FrameRecord(0, 0, "align", ok=False, reason=f"why{HOSTILE}", message=f"rejected{HOSTILE}")
    noted = FrameRecord(1, 1, "align", note=f"note{HOSTILE}", message=f"noted{HOSTILE}")
    noted.quality = {f"figure{HOSTILE}": 1.5, "s2m_median": 0.25, "s2m_p95": 1.25}
    return [
        ItemRecord(
            *(item, f"expression{HOSTILE}", [rejected, noted]),
            failure=f"failure{HOSTILE}",
            decisions=[f"decision{HOSTILE}"],
            outdated=[f"outdated{HOSTILE}"],
            units={f"figure{HOSTILE}": f"unit{HOSTILE}"},
        )
    ]


def test_what_comes_from_outside_is_escaped_and_never_evaluated(workspace: Workspace) -> None:
    records = hostile_records()
    overview = sections.overview(workspace, records, ALL_STAGES, {})
    shown: dict[str, object] = {
        "overview": replace(overview, facts=[*overview.facts, ("fact", f"value{HOSTILE}")]),
        "outdated": sections.outdated({(f"stage{HOSTILE}", f"item{HOSTILE}"): f"outdated{HOSTILE}"}),
        "rejections": sections.rejections(records),
        "quality": sections.quality(records, ALL_STAGES),
        "settings": sections.Settings([(f"heading{HOSTILE}", f"text{HOSTILE}")], f"versions{HOSTILE}"),
    }
    for macro, data in shown.items():
        text = render_section(macro, data)
        page = Page(text)
        assert HOSTILE in "".join(page.words), macro
        assert "<script" not in text and "<img src=x" not in text and "1337" not in text, macro
        assert all(re.fullmatch(r"#code=[\w%./-]+", link) for link in page.links)
    made = sections.sequence_page(workspace, records[0], [0, 1], {}, True, True, {}, True)
    of_subject = sections.subject_page("S", records, {(records[0].item, 1)})
    texts = [
        render("sequence.html.j2", replace(made, command=f"view{HOSTILE}")),
        render("subject.html.j2", replace(of_subject, subject=f"S0{HOSTILE}")),
    ]
    for text in texts:
        assert "<script" not in text and "<img src=x" not in text and "1337" not in text
        assert not any(set("<>\"'{ ") & set(link) for link in Page(text).links)
    texts += [render_section(macro, data) for macro, data in shown.items()]
    words = "".join(Page("".join(texts).replace("<!doctype html>", "")).words)
    for word in (
        "S0",
        "why",
        "rejected",
        "note",
        "noted",
        "figure",
        "unit",
        "failure",
        "decision",
        "outdated",
        "text",
    ):
        assert word + HOSTILE in words

    def broken() -> object:
        raise RuntimeError(HOSTILE)

    text = render_page(f"title{HOSTILE}", [make_section("Overview", "overview", broken)])
    assert text.count("<script") == 2 and "<script>" not in text and "1337" not in text
    words = "".join(Page(text).words)
    assert words.count(f"title{HOSTILE}") == 2
    assert f"This section could not be made: RuntimeError: {HOSTILE}" in words


def templates() -> Iterator[tuple[str, str]]:
    """Name and text of every template."""
    loader = environment().loader
    assert loader is not None
    for name in loader.list_templates():
        if name.endswith(".j2"):
            yield name, loader.get_source(environment(), name)[0]


def test_nothing_is_fetched_and_nothing_runs(reported: Reported) -> None:
    """Neither in a page nor in a branch of a template that no page here takes."""
    texts = dict(templates())
    assert {"report.html.j2", "sections.html.j2", "sequence.html.j2", "subject.html.j2"} <= set(texts)
    texts |= pages(reported.index)
    texts |= {name: asset(name) for name in ("report.js", "report.css")}
    own = r"<script src=\"report(-data)?\.js\">|<link rel=\"stylesheet\" href=\"[./]*report\.css\">"
    for name, text in texts.items():
        rest = re.sub(own, "", text)
        assert not re.search(r"https?:|=\s*[\"']?//|@import|url\(|<(script|link|iframe|object)\b", rest), name
        assert not re.search(r"innerHTML|document\.write|\beval\b|insertAdjacentHTML", text), name


def test_no_template_switches_escaping_off() -> None:
    for name, text in templates():
        assert not re.search(r"\|\s*safe\b|autoescape|Markup", text), name
    assert environment().autoescape is True


def test_a_section_that_cannot_be_made_says_so_and_the_others_stay(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no figures today")

    monkeypatch.setattr(sections, "quality", broken)  # while it is collected
    monkeypatch.setattr(sections, "rejections", lambda _: object())  # while it is written
    text = report(workspace, tmp_path / "out", ALL_STAGES).read_text()
    assert text.count("This section could not be made") == 2
    assert "RuntimeError: no figures today" in text and "UndefinedError" in text
    assert "(expected_error)" in text


def test_a_name_that_a_template_does_not_know_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        render_section("overview", object())


def test_headings_are_in_the_terms_of_the_field_with_the_figures_beside_them(reported: Reported) -> None:
    text = reported.index.read_text()
    headings = dict(re.findall(r'<button type="button" data-sort="(\w+)">(.*?)</button>', text))
    assert set(headings) <= set(COLUMNS) and all(headings.values())
    assert headings["expected_error"] == "expected error of the worst frame, mm (expected_error)"
    assert headings["s2m_p95"] == "scan to surface, 95th percentile of the worst frame, mm (s2m_p95)"


def test_pictures_of_who_is_no_longer_there_go_even_of_an_interrupted_report(tmp_path: Path) -> None:
    for name in (
        "sequences/S1/smile/3.webp", "sequences/S1/smile/index.html", "sequences/S2/smile/3.webp",
        "sequences/S2/smile/made.json", "sequences/lab/own/scan.obj", "views/S1/smile.html", "subjects/S1.html",
        "subjects/S2.html",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    remove_others(tmp_path, [Item("S2", "smile")])
    left = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file())
    assert left == [
        "sequences/S2/smile/3.webp", "sequences/S2/smile/made.json", "sequences/lab/own/scan.obj",
        "subjects/S2.html",
    ]  # fmt: skip
    assert not (tmp_path / "sequences" / "S1").exists()


def test_every_page_lets_nothing_in_but_the_reports_own_files(
    worked_up: Path, reported: Reported, tmp_path: Path
) -> None:
    """And has nothing of its own that the policy would refuse: no script, no style, no handler."""
    index = reported.index
    others = report_for_others(Workspace.open(worked_up), tmp_path / "others", ALL_STAGES)
    for path in (
        index,
        others,
        *index.parent.glob("subjects/*.html"),
        *index.parent.glob("sequences/*/*/*.html"),
    ):
        text = path.read_text(encoding="utf-8")
        (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]+)">', text)
        assert html.unescape(policy).startswith("default-src 'none'; script-src 'self' file:;")
        assert text.index("Content-Security-Policy") < text.index("<link")
        assert not re.search(r"<script(?! src=\")|<style|\sstyle=|\son[a-z]+=|javascript:|data:", text), path


def test_close_ups_show_the_rims_on_the_scan_and_the_mesh(workspace: Workspace) -> None:
    """A mesh that is its own scan: rims alone differ; one whose lower lip is 3 mm lower has them elsewhere."""
    head = load_prepared(workspace.template)
    mesh = Mesh(head.vertices, head.faces)
    seen = Seen(mesh, Surface(mesh.vertices, mesh.faces))
    row = close_ups(head, seen, seen)
    assert row is not None and row.shape == (HEIGHT, 960, 3)
    row = row[: ROW - 20]  # without the names
    mouth, bare = row[:, 320 : 320 + MOUTH[1]], row[:, 320 + MOUTH[1] : 320 + 2 * MOUTH[1]]
    blue = np.abs(mouth.astype(int) - bare).max(axis=2) > 40
    assert 0.005 < blue.mean() < 0.1
    on_scan, on_mesh = (row[first : first + EYE[0] - 32, : 2 * EYE[1]] for first in (0, EYE[0]))
    np.testing.assert_array_equal(on_scan, on_mesh)  # lids are as grey as the eyeball: with rims on both
    assert 0.005 < (on_mesh[..., 2].astype(int) - on_mesh[..., 0] > 40).mean() < 0.1
    lower = head.vertices.copy()
    marks = head.landmarks()
    lower[np.linalg.norm(lower - marks[57], axis=1) < 12] -= [0, 3, 0]
    moved = close_ups(head, Seen(Mesh(lower, head.faces), Surface(lower, head.faces)), seen)
    assert moved is not None
    moved = moved[: ROW - 20]
    there = np.abs(moved[:, 320 : 320 + MOUTH[1]].astype(int) - bare).max(axis=2) > 40
    assert (
        np.ptp(np.flatnonzero(there[40:].any(axis=1))) >= np.ptp(np.flatnonzero(blue.any(axis=1))) + 5
    )  # of 9 px
    missing = close_ups(head, seen, None)
    assert missing is not None and missing.shape == (HEIGHT, 960, 3)


def test_holes_of_the_scan_are_hatched_and_the_background_is_not(workspace: Workspace) -> None:
    head = load_prepared(workspace.template)
    mesh = Mesh(head.vertices, head.faces)
    beside = head.landmarks()[54] + [15, 0, -5]  # of the cheek: behind the lips there is more to be seen
    place = head.vertices[np.linalg.norm(head.vertices - beside, axis=1).argmin()]
    near = np.linalg.norm(head.vertices[head.faces].mean(axis=1) - place, axis=1) < 8
    cut = Mesh(head.vertices, head.faces[~near])
    whole = Seen(mesh, Surface(mesh.vertices, mesh.faces))
    before, row = (
        close_ups(head, whole, whole),
        close_ups(head, whole, Seen(cut, Surface(cut.vertices, cut.faces))),
    )
    assert before is not None and row is not None
    hole = (before != row).any(axis=-1)
    mouth = hole[:ROW, 320 : 320 + MOUTH[1]]
    striped = np.any(
        [(row[:ROW, 320 : 320 + MOUTH[1]] == color).all(axis=-1) for color in HOLE_COLORS], axis=0
    )
    assert 1000 < (striped & mouth).sum() < 2600  # 8 mm round are 1810; beside it the shading is another
    assert not hole[ROW:, : EAR[1]].any()  # the other side, and what is white around it
    assert not hole[:ROW, 320 + MOUTH[1] :].any()  # the mesh has none


def test_close_ups_have_names(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sides are the subject's own: of a head that looks at us its right ear is on our left."""
    head = load_prepared(workspace.template)
    mesh = Mesh(head.vertices, head.faces)
    seen = Seen(mesh, Surface(mesh.vertices, mesh.faces))
    named, written = [], close_up_pictures._named

    def note(picture: Any, name: str) -> Any:
        named.append(name)
        shown = written(picture, name)
        changed = (shown != picture).any(axis=2)
        assert changed[-20:].any() and not changed[:-32].any()
        return shown

    monkeypatch.setattr(close_up_pictures, "_named", note)
    close_ups(head, seen, seen)
    places = ("right eye", "left eye", "lips", "right ear", "left ear")
    assert set(named) == {f"{place}, {what}" for place in places for what in ("scan", "mesh")}
    for eye, name in zip(EYES, close_up_pictures.EYE_NAMES, strict=True):
        assert ("left" in name) == (head.landmarks()[GROUPS[eye], 0].mean() > 0)


def test_close_ups_show_whole_ears() -> None:
    """The outline of an ear, from its upper end to the lobe and to the face, lies inside its picture."""
    with no_layout():  # it is drawn in the colours of its vertices
        head = prepare("menpo3d")
    white = np.full((len(head.vertices), 3), 255, np.uint8)
    ears = ears_of(head.vertices, head.faces, head.landmarks()).max(axis=-1, initial=0) > 0.5
    white[ears] = (255, 0, 0)
    mesh = Mesh(head.vertices, head.faces, colors=white)
    row = close_ups(head, Seen(mesh, Surface(mesh.vertices, mesh.faces)), None)
    assert row is not None
    for start in range(0, 960, 2 * EAR[1]):
        tile = row[ROW:, start + EAR[1] : start + 2 * EAR[1]].astype(int)
        red = tile[..., 0] - tile[..., 1] > 60
        assert red.mean() > 0.1
        assert not np.concatenate([red[0], red[-1], red[:, 0], red[:, -1]]).any()
