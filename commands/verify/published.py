"""The folder of a published release: its pages are those that it was published with, and speak of who is in it."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Iterator
from pathlib import Path

from mimicme.commands.verify.finding import Finding, named
from mimicme.pipeline.release import digest, guard, publication, shards
from mimicme.pipeline.release.publication import PAGES, SUMS

MAX_PAGE_BYTES = 64 << 20
"""Of a table of some hundred thousand subjects."""
_LINE = re.compile(r"([0-9a-f]{64}) [ *]([A-Za-z0-9_.@+-]+)")
_AGAIN = "Publish again, or copy the folder again."


@named("pages")
def check_published(path: Path) -> Iterator[Finding]:
    """The pages beside a published release fit their checksums, and the table lists who is in it."""
    if publication.of_file(path) is None:
        return
    folder = shards.folder_of(path)
    sums = text_of(folder / SUMS)
    if sums is None:
        yield Finding(
            "warning", SUMS, f"It is missing: a publication or a withdrawal was interrupted. {_AGAIN}"
        )
    else:
        yield from _check_sums(folder, sums)
    table = text_of(folder / "subjects.csv")
    if table is not None:
        yield from _check_table(path, table)


def pages(folder: Path) -> Iterator[tuple[str, str]]:
    """Names and texts of what lies beside a published release."""
    for name in (*PAGES, SUMS):
        text = text_of(folder / name)
        if text is not None:
            yield name, text


def _check_sums(folder: Path, sums: str) -> Iterator[Finding]:
    listed = _sums(sums)
    if len(listed) < len(sums.splitlines()):
        yield Finding("warning", SUMS, f"Some lines are no checksums as sha256sum writes them. {_AGAIN}")
    for name, wanted in sorted(listed.items()):
        if name.endswith(digest.ENDING) or name in PAGES:
            data = _bytes(folder / name)
            if data is None:
                yield Finding("warning", name, f"It is missing, though {SUMS} names it. {_AGAIN}")
            elif hashlib.sha256(data).hexdigest() != wanted:
                yield Finding("warning", name, f"It is not the one that {SUMS} is of. {_AGAIN}")
    beside = text_of(folder / f"release.h5{digest.ENDING}") or ""
    for name, wanted in sorted(_sums(beside).items()):
        if listed.get(name) != wanted:
            yield Finding("warning", SUMS, f"Of '{name}' it says another checksum than the release. {_AGAIN}")


def _sums(text: str) -> dict[str, str]:
    """Checksums by name."""
    return {found[2]: found[1] for line in text.splitlines() if (found := _LINE.fullmatch(line))}


def _check_table(path: Path, table: str) -> Iterator[Finding]:
    with guard.opened(path) as file:
        people = set(guard.names(guard.subgroup(guard.rooted(file), "subjects", "/"), "/subjects"))
    try:
        listed = {row.get("subject") or "" for row in csv.DictReader(io.StringIO(table))}
    except csv.Error as error:
        yield Finding("warning", "subjects.csv", f"It is no table: {error}. {_AGAIN}")
        return
    if gone := sorted(listed - people):
        yield Finding(
            "error",
            "subjects.csv",
            f"It lists '{gone[0]}' and {len(gone) - 1} more who are not in the release. {_AGAIN}"
            if len(gone) > 1
            else f"It lists '{gone[0]}', who is not in the release. {_AGAIN}",
        )
    if missing := sorted(people - listed):
        yield Finding("warning", "subjects.csv", f"'{missing[0]}' is in the release and not listed. {_AGAIN}")


def text_of(path: Path) -> str | None:
    """The text of a plain file beside a release, as far as one of a publication is long; None where there is none."""
    data = _bytes(path)
    return None if data is None else data.decode("utf-8", "replace")


def _bytes(path: Path) -> bytes | None:
    """A plain file, as far as one of a publication is long; None where there is none."""
    if path.is_symlink() or not path.is_file():
        return None
    with open(path, "rb") as handle:
        return handle.read(MAX_PAGE_BYTES)
