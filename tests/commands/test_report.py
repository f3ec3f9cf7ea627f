"""The page about a workspace: whole, self-contained, and never stopped by one bad thing."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from jinja2 import UndefinedError
from markupsafe import escape

from mimicme.commands.report import histogram, read_item, read_view, report, sections
from mimicme.commands.report.page import environment, make_section, render_page, render_section
from mimicme.commands.report.records import FrameRecord, ItemRecord, decision_sentence
from mimicme.pipeline.checkpoint import Checkpoint, writing
from mimicme.pipeline.drawing import pictures
from mimicme.pipeline.errors import FrameRejected, UsageError
from mimicme.pipeline.items import Item
from mimicme.pipeline.run.run_types import RunOptions
from mimicme.pipeline.run.runner import run
from mimicme.pipeline.template import load_prepared
from mimicme.pipeline.workspace import Workspace
from mimicme.stages import STAGES as ALL_STAGES
from mimicme.stages import align, ingest, landmarks
from mimicme.stages.landmarks.review import export, review

STAGES = (ingest.STAGE, landmarks.STAGE, align.STAGE)
LAYOUT = "{subject}/{sequence}/{frame}.obj"


class Page(HTMLParser):
    """Checks that tags close in order, and collects what a page links to."""

    VOID = ("meta", "img", "rect")

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


@pytest.fixture
def workspace(tmp_path: Path, small_captures: Path) -> Workspace:
    """Ingested and aligned; `register` is made up: the true answer, and one frame rejected."""
    made = _created(tmp_path / "ws <&>", small_captures)
    assert run(made, RunOptions(jobs=0), STAGES).exit_code == 0
    for sequence in made.sequences():
        _register(made, sequence.item, small_captures)
    return made


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


def test_page_is_whole_and_needs_no_network(workspace: Workspace, tmp_path: Path) -> None:
    drawn: list[str] = []
    path = report(workspace, tmp_path / "out", ALL_STAGES, progress=drawn.append)
    text = path.read_text()
    page = Page(text)
    assert drawn == ["S000"]
    assert page.links and all(link.startswith("data:image/jpeg;base64,") for link in page.links)
    assert not re.search(r"https?://|<script", text)
    for words in ("S000/surprise", "large-residual", "s2m_p95", "could not be made"):
        assert (words in text) == (words != "could not be made")
    # unit and sentence beside the name, in the order of the flow
    said = {name: said for stage in ALL_STAGES for name, said in stage.reader.explained.items()}
    shown = re.findall(r"<tr><td>(\w+)</td><td>([^<]*)</td><td>([^<]*)</td><td>\d+</td>", text)
    assert [name for name, *_ in shown] == [name for name in said if name in {n for n, *_ in shown}]
    assert [what for _, _, what in shown] == [str(escape(said[name])) for name, *_ in shown]
    units = {name: unit for name, unit, _ in shown}
    assert (units["s2m_median"], units["align_scale"]) == ("mm", "no unit")
    assert "White patches" in text and "grey is further than 10 mm" in text
    assert "_decision" not in text and re.search(r"<li>unit: mm, because the eyes are ", text)
    # what comes from outside is text, not markup
    assert "&lt;b&gt;4 mm&lt;/b&gt;" in text and "<b>4 mm" not in text
    assert "ws &lt;&amp;&gt;" in text


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
    assert "S000" in report(workspace, tmp_path / "before", ALL_STAGES).read_text()
    table = tmp_path / "subjects.csv"
    table.write_text("subject,consent\nS000,withdrawn\n")
    refusing = Workspace.open(workspace.root, sets=(f"metadata.file={table}",))
    assert refusing.checkpoint("landmarks", Item("S000", "surprise")).is_file()
    drawn: list[str] = []
    text = report(refusing, tmp_path / "page", ALL_STAGES, progress=drawn.append).read_text()
    assert drawn == []
    assert "S000" not in text and "<img" not in text
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
    assert records["S000/surprise"].worst == float("inf")
    assert records["S000/neutral"].worst == pytest.approx(0.3)


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


def test_what_is_out_of_date_is_marked(workspace: Workspace, tmp_path: Path) -> None:
    fresh = report(workspace, tmp_path / "out", STAGES).read_text()
    assert "Everything on this page is current" in fresh and "<td>out of date</td>" not in fresh
    file = workspace.root / "mimicme.toml"
    file.write_text(file.read_text().replace("[ingest]", "[ingest]\nspeck_triangles = 61"))
    workspace.release.write_bytes(b"")
    text = report(Workspace.open(workspace.root), tmp_path / "out", ALL_STAGES).read_text()
    Page(text)
    assert "ingest: setting 'speck_triangles' changed" in html.unescape(text)
    assert "landmarks: 'ingest' is out of date" in html.unescape(text)
    assert "packed, but out of date" in text
    assert text.count("<td>out of date</td>") == 2


def test_a_failing_picture_does_not_stop_the_page(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no picture today")

    monkeypatch.setattr(pictures, "draw_frame", broken)
    text = report(workspace, tmp_path / "out", ALL_STAGES).read_text()
    assert "large-residual" in text
    assert len(Page(text).links) == 1  # the sheet of cards


def test_a_damaged_checkpoint_is_said_and_the_rest_shown(workspace: Workspace, tmp_path: Path) -> None:
    workspace.checkpoint("register", Item("S000", "neutral")).write_bytes(b"not HDF5")
    text = report(workspace, tmp_path / "out", ALL_STAGES).read_text()
    Page(text)
    assert "register:" in text and "S000/surprise" in text


def test_a_workspace_where_nothing_ran_has_a_page_too(tmp_path: Path, small_captures: Path) -> None:
    made = _created(tmp_path / "ws", small_captures)
    text = report(made, tmp_path / "out", ALL_STAGES).read_text()
    Page(text)
    assert "Nothing is measured yet" in text and "could not be made" not in text


def test_left_out_subjects_are_named(workspace: Workspace, tmp_path: Path) -> None:
    text = report(workspace, tmp_path / "out", ALL_STAGES, max_subjects=0).read_text()
    assert "1 more subjects without pictures" in text


def test_histogram_counts_everything() -> None:
    heights = [
        float(h) for h in re.findall(r'<rect [^>]*height="([\d.]+)"', histogram([0.0, 0, 0, 1], 4, 40, 30))
    ]
    assert heights == [30.0, 0.0, 0.0, 10.0]
    assert histogram([2.0, 2.0]).count("<rect") == 24


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
    sheet = sections.SubjectSheet(records[0].item.subject, "AAAA", 10)
    shown: dict[str, object] = {
        "overview": replace(overview, facts=[*overview.facts, ("fact", f"value{HOSTILE}")]),
        "outdated": records,
        "rejections": sections.rejections(records),
        "quality": sections.quality(records, ALL_STAGES),
        "pictures": sections.Pictures(comparable=True, sheets=[sheet]),
        "sequences": sections.sequences(records),
        "settings": sections.Settings([(f"heading{HOSTILE}", f"text{HOSTILE}")], f"versions{HOSTILE}"),
    }
    for macro, data in shown.items():
        text = render_section(macro, data)
        page = Page(text)
        assert HOSTILE in "".join(page.words), macro
        assert "<script" not in text and "<img src=x" not in text and "1337" not in text, macro
        assert page.links == (["data:image/jpeg;base64,AAAA"] if macro == "pictures" else [])
    words = "".join(Page("".join(render_section(macro, data) for macro, data in shown.items())).words)
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
    assert "<script" not in text and "1337" not in text
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


def test_nothing_is_fetched_and_nothing_runs(workspace: Workspace, tmp_path: Path) -> None:
    """Neither in a page nor in a branch of a template that no page here takes."""
    texts = dict(templates())
    assert {"report.html.j2", "sections.html.j2"} <= set(texts)
    texts["page"] = report(workspace, tmp_path / "out", ALL_STAGES).read_text()
    for name, text in texts.items():
        assert not re.search(r"https?:|=\s*[\"']?//|@import|url\(|<(script|link|iframe|object)\b", text), name


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
    assert "(s2m_median)" in text and len(Page(text).links) == 1


def test_a_name_that_a_template_does_not_know_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        render_section("overview", object())


def test_headings_are_in_the_terms_of_the_field_with_the_figures_beside_them(
    workspace: Workspace, tmp_path: Path
) -> None:
    text = report(workspace, tmp_path / "out", ALL_STAGES, max_subjects=0).read_text()
    headings = re.findall("<th>(.*?)</th>", text)
    assert all(headings)
    assert "scan to surface, median, mm (s2m_median)" in headings
    assert "scan to surface, 95th percentile of the worst frame, mm (s2m_p95)" in headings
