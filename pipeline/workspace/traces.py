"""Where a subject is named in records of the others, and how it is taken out of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from mimicme.pipeline.captures.who import person_key
from mimicme.pipeline.errors import InputError
from mimicme.pipeline.review import Review
from mimicme.pipeline.whole_file import write_whole


def forget_failures(records: Iterable[Path], subject: str) -> list[Path]:
    """Remove the failure records that name a subject, of others too: what failed is tried again.

    Args:
        records: `<stage>/<subject>/<sequence>.json`.

    Returns:
        Those that were removed.
    """
    removed = []
    for record in records:
        # that of a release speaks of everyone
        if record.parts[-2:] == ("release", "release.json") or _record_mentions(record, subject):
            removed.append(record)
            record.unlink()
    return removed


def forget_verdicts(file: Path, subject: str) -> None:
    """Take a subject out of review.csv; of a file that cannot be read, every line that names it."""
    key = person_key(subject)
    if not file.is_file():
        return
    try:
        old = Review.read(file)
    except InputError:
        text = file.read_text(encoding="utf-8", errors="replace")
        kept = "".join(line for line in text.splitlines(True) if not _word(subject).search(line))
        if kept != text:
            write_whole(file, kept)
        return
    new = old.without(lambda other: other == subject or person_key(other) == key)
    if len(new.lines) < len(old.lines):
        new.write(file)


def forget_in_log(log: Path, subject: str) -> None:
    """Take the lines that speak of a subject out of a run's log, and out of the others the globs that name it."""
    if not log.is_file():
        return
    lines = log.read_text(encoding="utf-8").splitlines()
    kept = [_without_globs(line, subject) for line in lines if not _line_mentions(line, subject)]
    if kept != lines:
        write_whole(log, "".join(f"{line}\n" for line in kept))


def _record_mentions(record: Path, subject: str) -> bool:
    """Whether a failure record names a subject; one that cannot be read may."""
    try:
        said = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return True
    return _word(subject).search(json.dumps(said, ensure_ascii=False)) is not None


def _line_mentions(line: str, subject: str) -> bool:
    """Whether a line of a run log speaks of a subject."""
    try:
        record = json.loads(line)
        item, message = str(record.get("item", "")), str(record.get("message", ""))
    except (ValueError, AttributeError):
        return subject in line
    return item.split("/")[0] == subject or _word(subject).search(message) is not None


def _without_globs(line: str, subject: str) -> str:
    """A line of a run log, with nothing in place of each glob (`--only`) that names a subject; a run that named them
    alone is so told from one that named nobody."""
    if '"only"' not in line:
        return line
    try:
        record = json.loads(line)
        named = [_names(re.sub(r"\[(.)\]", r"\1", one), subject) for one in record["only"]]
    except (ValueError, KeyError, TypeError):
        return line
    if not any(named):
        return line
    only = ["" if names else one for one, names in zip(record["only"], named, strict=True)]
    return json.dumps({**record, "only": only})


def _names(glob: str, subject: str) -> bool:
    """Whether a glob, with nothing escaped, names a subject, also where it spells them otherwise."""
    return _word(subject).search(glob) is not None or person_key(glob.split("/")[0]) == person_key(subject)


def _word(subject: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w-]){re.escape(subject)}(?![\w-])")
