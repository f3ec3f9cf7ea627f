"""report: what was decided of the captures stands on the page of each sequence, with the reason."""

from __future__ import annotations

from pathlib import Path

from shared_helpers import touch

from mimicme.commands.report.decisions import decided
from mimicme.pipeline.captures.catalogue import build
from mimicme.pipeline.captures.metadata import SubjectTable, read_subjects


def said(root: Path, table: SubjectTable, name: str) -> tuple[str, ...]:
    catalogue = build(root)
    (one,) = (s for s in catalogue.sequences if str(s.item) == name)
    return decided(catalogue, table, one)


def test_name_order_label_neutral_and_consent(tmp_path: Path) -> None:
    root = tmp_path / "captures"
    touch(
        root,
        "P 1/lächeln/f2.obj",
        "P 1/lächeln/f1.obj",
        "P 1/lächeln/f5.obj",
        "P 1/neutral/0.obj",
        "P2/x/0.obj",
    )
    touch(root, "P2/y/0.obj")
    people = tmp_path / "people.csv"
    people.write_text("subject,consent\nP 1,yes\n")
    table = read_subjects(people)
    name, order, label, consent = said(root, table, "P_1/lacheln")
    assert name == "name: lacheln, because its folder is called 'lächeln'"
    assert order.startswith(
        "order: frames 1 to 5, because of the numbers in their files' names (f1.obj to f5.obj)"
    )
    assert order.endswith("missing: 3 to 4")
    assert label == "shows: lächeln, because no label is known by it"
    assert consent == "consent: yes, because the table of subjects has it"
    order, label, neutral, _ = said(root, table, "P_1/neutral")
    assert order == "order: frames 0, because of the numbers in their files' names (0.obj)"
    assert label.startswith("shows: neutral, because its name") and neutral.startswith(
        "neutral: this sequence"
    )
    *_, neutral, consent = said(root, table, "P2/x")
    assert neutral.startswith("neutral: the calmest") and consent.startswith("consent: not known")
