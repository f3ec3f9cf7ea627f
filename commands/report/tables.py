"""Everything the report knows as tables for other programs: `frames.tsv`, `sequences.tsv`, and both in `report.json`.

Written line by line: 280,000 frames with fifty figures are never in memory as text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mimicme.commands.report.figures import Bound, direction
from mimicme.commands.report.index import codes_of, state_of
from mimicme.commands.report.ranking import badness, sequence_badness
from mimicme.commands.report.records import FrameRecord, ItemRecord
from mimicme.pipeline.whole_file import whole_file

FRAMES, SEQUENCES, ALL = "frames.tsv", "sequences.tsv", "report.json"
FRAME_COLUMNS = (
    "subject", "sequence", "expression", "frame", "status", "reason", "notes", "message", "verdict", "last_stage",
    "score",
)  # fmt: skip
SEQUENCE_COLUMNS = (
    "subject", "sequence", "expression", "state", "score", "why", "frames", "rejected", "reviewed", "codes", "failure",
    "outdated", "decisions",
)  # fmt: skip
_SPACE = re.compile(r"\s+")
_FORMULA = "=+-@"


def write_tables(
    output: Path,
    ranked: Sequence[ItemRecord],
    last_stage: str,
    meanings: Mapping[str, str],
    bounds: Mapping[str, Sequence[Bound]],
) -> None:
    """Write the three files, sequences worst first.

    Args:
        last_stage: whose frames are finished.
        meanings, bounds: of the figures, by name.
    """
    names = sorted({name for record in ranked for frame in record.frames for name in frame.quality})
    _write(output / FRAMES, _lines((*FRAME_COLUMNS, *names), _frame_rows(ranked, names)))
    rows = ([*_sequence(record, last_stage).values()] for record in ranked)
    _write(output / SEQUENCES, _lines(SEQUENCE_COLUMNS, rows))
    units = {name: unit for record in ranked for name, unit in record.units.items()}
    figures = {
        name: {
            "unit": units.get(name, ""),
            "meaning": meanings.get(name, ""),
            "which_way": direction(name),
            "bounds": [{"value": bound.value, "what": bound.said} for bound in bounds.get(name, ())],
        }
        for name in names
    }
    _write(output / ALL, _json(figures, ranked, last_stage))


def _write(path: Path, lines: Iterable[str]) -> None:
    with (
        whole_file(path) as temporary,
        open(temporary, "w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        file.writelines(lines)


def _lines(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    yield "\t".join(columns) + "\n"
    for row in rows:
        yield "\t".join(map(_cell, row)) + "\n"


def _cell(value: Any) -> str:
    """A value without tabs and line breaks; text that a spreadsheet would take for a formula has a `'` before it."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return _cell("; ".join(map(str, value)))
    text = _SPACE.sub(" ", str(value)).strip()
    return f"'{text}" if isinstance(value, str) and text[:1] in _FORMULA and text else text


def _frame_rows(ranked: Iterable[ItemRecord], names: Sequence[str]) -> Iterator[list[Any]]:
    for record in ranked:
        own = (record.item.subject, record.item.sequence, record.expression)
        for frame in record.frames:
            yield [*own, *_frame(frame).values(), *(frame.quality.get(name) for name in names)]


def _frame(frame: FrameRecord) -> dict[str, Any]:
    """A frame without its figures; the keys are those of `FRAME_COLUMNS`."""
    return {
        "frame": frame.number,
        "status": "ok" if frame.ok else "rejected",
        "reason": frame.reason,
        "notes": frame.note.split(",") if frame.note else [],
        "message": frame.message,
        "verdict": frame.verdict,
        "last_stage": frame.stage,
        "score": badness(frame).score if frame.ok else None,
    }


def _sequence(record: ItemRecord, last_stage: str) -> dict[str, Any]:
    """A sequence without its frames; the keys are `SEQUENCE_COLUMNS`."""
    score, why = sequence_badness(record)
    return {
        "subject": record.item.subject,
        "sequence": record.item.sequence,
        "expression": record.expression,
        "state": state_of(record, last_stage),
        "score": score if score < float("inf") else None,
        "why": why,
        "frames": len(record.frames),
        "rejected": record.rejected,
        "reviewed": sum(bool(frame.verdict) for frame in record.frames),
        "codes": codes_of(record),
        "failure": record.failure,
        "outdated": record.outdated,
        "decisions": [*record.decided, *record.decisions],
    }


def _json(figures: Mapping[str, Any], ranked: Iterable[ItemRecord], last_stage: str) -> Iterator[str]:
    """JSON, a sequence a line: numbers as they were measured, `null` where there is no score."""
    yield f'{{"figures": {json.dumps(figures)},\n"sequences": ['
    comma = ""
    for record in ranked:
        frames = [{**_frame(frame), "figures": frame.quality} for frame in record.frames]
        said = {**_sequence(record, last_stage), "frames": frames}
        yield f"{comma}\n{json.dumps(said, allow_nan=False)}"
        comma = ","
    yield "\n]}\n"
