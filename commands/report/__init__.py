"""One page about a workspace that opens without a network: what arrived, how good it is, and how it looks.

Reads the checkpoints, so that it can be made at any moment, also before the release is packed; what is out of date
is shown and marked.  Pictures are inside the page.  A picture that cannot be drawn becomes a card that says why; it
never stops the page.

records.py reads what the checkpoints say, sections.py makes of it what each section shows, with drawings from
contact_sheets.py and svg.py, and page.py fills the templates in.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mimicme.commands.report import sections
from mimicme.commands.report.contact_sheets import read_view
from mimicme.commands.report.page import make_section, render_page
from mimicme.commands.report.records import read_item, read_outdated
from mimicme.commands.report.sections import Progress
from mimicme.commands.report.svg import histogram
from mimicme.pipeline.stage import Stage
from mimicme.pipeline.whole_file import write_whole
from mimicme.pipeline.workspace import Workspace

__all__ = ["PAGE", "histogram", "read_item", "read_view", "report"]

PAGE = "report.html"


def report(
    workspace: Workspace,
    output: Path,
    stages: Iterable[Stage],
    max_subjects: int = 40,
    max_frames: int = 8,
    progress: Progress | None = None,
) -> Path:
    """Write `report.html` into the folder `output` and return its path.

    A section that cannot be made says so, and the others stay.

    Args:
        stages: all of them, in order of the flow.
        max_subjects: subjects with pictures, worst first; the page says how many are left out.
        max_frames: pictures of a subject, worst first.
        progress: called with the subject that is being drawn.
    """
    stages = tuple(stages)
    outdated = read_outdated(workspace, stages)
    records = [read_item(workspace, sequence, stages, outdated) for sequence in workspace.sequences()]
    shown = [
        make_section("Overview", "overview", lambda: sections.overview(workspace, records, stages, outdated)),
        make_section("What is out of date", "outdated", lambda: records),
        make_section("What was rejected", "rejections", lambda: sections.rejections(records)),
        make_section("Quality", "quality", lambda: sections.quality(records, stages)),
        make_section(
            "Pictures",
            "pictures",
            lambda: sections.pictures(workspace, records, stages, max_subjects, max_frames, progress),
        ),
        make_section("Sequences", "sequences", lambda: sections.sequences(records)),
        make_section("Settings and versions", "settings", lambda: sections.settings(workspace)),
    ]
    page = render_page(f"mimicme: {workspace.root.name}", shown)
    output.mkdir(parents=True, exist_ok=True)
    write_whole(output / PAGE, page)
    return output / PAGE
