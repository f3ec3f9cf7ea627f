"""The index of all sequences as data for report.js: a file that a page opened from the disk may load.

Browsers refuse `fetch` of files, but run scripts beside a page: so the data are a script, one assignment of JSON in
which no sign of HTML is left.
"""

from __future__ import annotations

import json
import math
from collections.abc import Container, Iterable
from typing import Any

from mimicme.commands.report.ranking import sequence_badness, worst_frame
from mimicme.commands.report.records import EXPECTED_ERROR, S2M_P95, FrameRecord, ItemRecord
from mimicme.pipeline.items import Item
from mimicme.pipeline.review import BAD

NAME = "REPORT"
FAILED, REJECTED, OUT_OF_DATE, BEGUN, OK = "failed", "no frame left", "out of date", "not finished", "ok"
MAX_WORDS = 160
COLUMNS = (
    "subject", "sequence", "expression", "state", "why", "score", "expected_error", "s2m_p95", "frames", "rejected",
    "noted", "reviewed", "bad", "codes", "picture", "view",
)  # fmt: skip
"""What a row has, in order; `subject`, `expression`, `state` and `codes` are places in lists of their names."""


class _Names:
    """Names, each kept once, by their places."""

    def __init__(self) -> None:
        self.places: dict[str, int] = {}

    def place(self, name: str) -> int:
        return self.places.setdefault(name, len(self.places))


def state_of(record: ItemRecord, last_stage: str) -> str:
    """How far a sequence is, in a word.

    Args:
        last_stage: whose frames are finished.
    """
    if record.failure:
        return FAILED
    if record.frames and record.rejected == len(record.frames):
        return REJECTED
    if record.outdated:
        return OUT_OF_DATE
    return OK if all(f.stage == last_stage or not f.ok for f in record.frames) else BEGUN


def codes_of(record: ItemRecord) -> list[str]:
    """Reasons and notes of the frames, each once, in order of appearance."""
    said = [code for f in record.frames for code in (f.reason, *f.note.split(",")) if code]
    return list(dict.fromkeys(said))


def order(records: Iterable[ItemRecord]) -> list[ItemRecord]:
    """Worst first (ranking.py)."""
    return sorted(records, key=lambda r: (-sequence_badness(r).score, r.item))


def index_data(
    records: Iterable[ItemRecord],
    last_stage: str,
    drawn: Container[tuple[Item, int]] = (),
    views: Container[Item] = (),
) -> dict[str, Any]:
    """The rows, worst first, and the names that they point to.

    Args:
        last_stage: see `state_of`.
        drawn: frames that have a picture, by item and number; views: sequences that have a page in 3D.
    """
    subjects, expressions, states, codes = _Names(), _Names(), _Names(), _Names()
    rows = []
    for record in order(records):
        score, why = sequence_badness(record)
        worst = worst_frame(record)
        pictured = worst is not None and (record.item, worst.number) in drawn
        verdicts = [f.verdict for f in record.frames if f.verdict]
        rows.append(
            [
                subjects.place(record.item.subject),
                record.item.sequence,
                expressions.place(record.expression),
                states.place(state_of(record, last_stage)),
                why[:MAX_WORDS],
                _number(score),
                _number(_figure(worst, EXPECTED_ERROR)),
                _number(_figure(worst, S2M_P95)),
                len(record.frames),
                record.rejected,
                sum(bool(f.ok and f.note) for f in record.frames),
                len(verdicts),
                verdicts.count(BAD),
                [codes.place(code) for code in codes_of(record)],
                worst.number if worst is not None and pictured else None,
                record.item in views,
            ]
        )
    return {
        "columns": list(COLUMNS),
        "subjects": list(subjects.places),
        "expressions": list(expressions.places),
        "states": list(states.places),
        "codes": list(codes.places),
        "rows": rows,
    }


def _figure(frame: FrameRecord | None, name: str) -> float | None:
    """Of a frame in use."""
    return frame.quality.get(name) if frame is not None and frame.ok else None


def _number(value: float | None) -> float | None:
    """With four digits; infinity, which JSON has no word for, as the largest number."""
    if value is None:
        return None
    return 1e9 if math.isinf(value) else float(f"{value:.4g}")


def script(data: dict[str, Any]) -> str:
    """The file's text."""
    return f"window.{NAME} = {_json(data)};\n"


def as_script(function: str, *arguments: Any) -> str:
    """A script that calls a function of report.js."""
    return f"{function}({', '.join(map(_json, arguments))});\n"


def _json(data: Any) -> str:
    """JSON in which no sign of HTML is left."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text
