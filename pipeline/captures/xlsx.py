"""The one sheet of an XLSX workbook that has a table, as rows of text: what a CSV saved of it would hold.

Read with openpyxl, which runs no macros, computes no formulas and follows no links.  Sizes are checked before anything
is unpacked; a workbook with a document type, which an entity needs, in any of its parts is refused: which of them are
read, and under what names, the workbook itself says.
"""

from __future__ import annotations

import datetime
import io
import re
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from mimicme.pipeline.errors import InputError, MissingDependencyError, listed

UNCOMPUTED = "(no value: a formula)"
"""The cell of a formula whose value the workbook does not have; no consent, and not empty either."""

MAX_CELL = 4096  # characters
MAX_UNPACKED = 64 << 20  # bytes; and characters of a sheet, whose cells may share them
MAX_MEMBERS = 2000
MAX_ROWS = 100_000
MAX_COLUMNS = 1000
MAX_CELLS = 20_000_000  # empty ones too
MAX_FORMATTED_ROWS = 1 << 20  # rows that are empty and have a format, as a spreadsheet leaves them
_BROKEN = (zipfile.BadZipFile, zlib.error, OSError, ValueError, RuntimeError, EOFError)  # what zipfile raises
_DOCTYPE = re.compile(rb"<\x00?!\x00?D\x00?O\x00?C\x00?T\x00?Y\x00?P\x00?E", re.IGNORECASE)

Row = tuple[int, list[str]]


def is_zip(data: bytes) -> bool:
    return data[:4] == b"PK\x03\x04"


def read_rows(
    data: bytes,
    name: str,
    what: str,
    is_head: Callable[[list[str]], bool],
    messages: list[str],
    matters: Callable[[list[str]], set[int]] | None = None,
) -> list[Row]:
    """The rows that are not empty, from the head of the table on, with their numbers in the sheet.

    Args:
        what: the table in words, for errors: `metadata table`.
        is_head: whether a sheet's first row that is not empty is a table's head.
        messages: takes a sentence about sheets that are not read.
        matters: the columns, from a head, in which a cell that is struck through is asked about; else all are.

    Raises:
        InputError: it is no workbook, too large, or does not say which sheet has the table.
        MissingDependencyError: openpyxl is not installed.
    """
    try:
        from openpyxl import load_workbook
    except ImportError as error:
        raise MissingDependencyError(
            f"openpyxl is not installed: a {what} in XLSX cannot be read",
            where=name,
            todo="Run `make install`, or save the table as CSV.",
        ) from error
    _check(data, name, what)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about what openpyxl leaves out: colours, rules for cells
            options = {"read_only": True, "keep_links": False}
            as_written = load_workbook(io.BytesIO(data), data_only=False, **options)
            values = load_workbook(io.BytesIO(data), data_only=True, **options)
            sheets = {sheet.title: _cells(values[sheet.title], sheet) for sheet in as_written.worksheets}
            struck = _struck_through(data) if _has_strikes(data) else {}
    except _TooLarge as error:
        raise InputError(f"the {what} is too large", where=name, seen=error, expected=_LARGEST) from error
    except Exception as error:  # the parsers of a strange file raise whatever they like
        raise InputError(
            f"the {what} cannot be read as XLSX",
            where=name,
            seen=f"{type(error).__name__}: {error}"[:120],
            todo="Save it again, or as CSV.",
        ) from error
    sheets = {title: rows for title, rows in sheets.items() if rows}
    title = _the_one(sheets, name, what, is_head)
    head = sheets[title][0]
    of_them = matters(head[1]) if matters is not None else set(range(len(head[1])))
    lines = [n for n, columns in struck.get(title, {}).items() if n > head[0] and of_them & columns]
    if lines:
        raise InputError(
            f"rows of the {what} are struck through, which says no word of what is meant",
            where=name,
            seen=f"lines {listed(map(str, lines))}",
            todo="Take such a row out, or write what it means into it (`withdrawn`), and take the line away.",
        )
    others = [other for other in sheets if other != title]
    if others:
        messages.append(f"{name}: the sheet '{title}' is read; not read: {listed(others)}.")
    return sheets[title]


class _TooLarge(Exception):
    """A sheet has more rows, columns or characters than a table can have."""


_LARGEST = f"at most {MAX_ROWS:,} rows, {MAX_COLUMNS:,} columns and {MAX_UNPACKED:,} characters"


def _check(data: bytes, name: str, what: str) -> None:
    """Whether the archive is a workbook that may be unpacked.

    Raises:
        InputError: it is not.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            names = {member.filename for member in members}
            unpacked = sum(member.file_size for member in members)
            if len(members) > MAX_MEMBERS or unpacked > MAX_UNPACKED:
                raise InputError(
                    f"the {what} is too large",
                    where=name,
                    seen=f"{len(members):,} parts, {unpacked:,} bytes unpacked",
                    expected=f"at most {MAX_MEMBERS:,} and {MAX_UNPACKED:,}",
                )
            if "[Content_Types].xml" not in names or not any(n.startswith("xl/") for n in names):
                raise _no_workbook(name, what)
            for member in members:
                if _DOCTYPE.search(archive.read(member)):
                    raise InputError(
                        f"the {what} has a document type, which no workbook has",
                        where=name,
                        seen=member.filename,
                        todo="Save it as CSV; or take its pictures out, if it is one of them.",
                    )
    except _BROKEN as error:
        raise _no_workbook(name, what, error) from error


def _no_workbook(name: str, what: str, error: object = None) -> InputError:
    return InputError(
        f"the {what} is an archive, but no XLSX workbook",
        where=name,
        seen=None if error is None else f"{type(error).__name__}: {error}"[:120],
        todo="Save it as XLSX or CSV.",
    )


def _cells(values: Any, as_written: Any) -> list[Row]:
    """The rows of a sheet that are not empty, as text.

    A formula without a value is `UNCOMPUTED`.  A row of nothing else is empty where other formulas have values: there
    their value is the empty text.
    """
    rows: list[Row] = []
    computed = False
    characters = 0
    pairs = zip(_bounded(values), _bounded(as_written), strict=False)
    for number, (row, formulas) in enumerate(pairs, 1):
        cells = []
        for cell in row:
            cells.append(_text(cell.value))
            characters += len(cells[-1])
            if characters > MAX_UNPACKED:
                raise _TooLarge(f"{characters:,} characters in {number:,} rows")
        for at, written in enumerate(formulas[: len(cells)]):
            if written.data_type == "f":
                computed |= bool(cells[at])
                cells[at] = cells[at] or UNCOMPUTED
        if any(cells):
            rows.append((number, cells))
    if computed:
        rows = [(number, cells) for number, cells in rows if set(cells) - {"", UNCOMPUTED}]
    return rows


def _has_strikes(data: bytes) -> bool:
    """Whether anything in a workbook is struck through: to look at each cell's font takes long."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return any(b"strike" in archive.read(member) for member in archive.infolist())


def _struck_through(data: bytes) -> dict[str, dict[int, set[int]]]:
    """By sheet and row, the columns (from 0) that are struck through: so people are crossed out who left.

    By a cell's own font, that of the row, or that of a part of its text; not by rules for formats.  Called after a
    workbook's size is known to be bounded.
    """
    from openpyxl import load_workbook

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        book = load_workbook(io.BytesIO(data), keep_links=False, rich_text=True)
    return {
        sheet.title: {
            number: columns
            for number, row in enumerate(sheet.iter_rows(max_col=min(sheet.max_column, MAX_COLUMNS)), 1)
            if (columns := {k for k, cell in enumerate(row) if _is_struck(cell, sheet.row_dimensions)})
        }
        for sheet in book.worksheets
    }


def _is_struck(cell: Any, rows: Any) -> bool:
    if cell.value is None:
        return False
    parts = cell.value if isinstance(cell.value, list) else []
    fonts = [cell.font, *(getattr(part, "font", None) for part in parts)]
    if cell.row in rows:
        fonts.append(rows[cell.row].font)
    return any(font is not None and font.strike for font in fonts)


def _bounded(sheet: Any) -> Iterator[tuple[Any, ...]]:
    """The rows of a sheet; what it says of its own size need not be so."""
    sheet.reset_dimensions()
    seen = 0
    for number, row in enumerate(sheet.iter_rows(), 1):
        seen += len(row)
        far = any(cell.value is not None for cell in row[0 if number > MAX_ROWS else MAX_COLUMNS :])
        if far or seen > MAX_CELLS or number > MAX_FORMATTED_ROWS:
            raise _TooLarge(f"{number:,} rows, {len(row):,} columns")
        if number <= MAX_ROWS:
            yield row[:MAX_COLUMNS]


def _text(value: object) -> str:
    """A cell as a CSV would have it; dates as 2024-05-01.

    Of one longer than `MAX_CELL`, which no table may have, its beginning, still longer.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    if isinstance(value, datetime.datetime):
        return value.date().isoformat() if value.time() == datetime.time() else value.isoformat(" ")
    text = str(value)
    return text.strip() if len(text) <= MAX_CELL else text[: MAX_CELL + 1]


def _the_one(sheets: dict[str, list[Row]], name: str, what: str, is_head: Callable[[list[str]], bool]) -> str:
    """The title of the sheet that has the table.

    Raises:
        InputError: none has one, or several have.
    """
    if not sheets:
        raise InputError(f"the {what} is empty", where=name, expected="a header")
    if len(sheets) == 1:
        return next(iter(sheets))
    found = [title for title, rows in sheets.items() if is_head(rows[0][1])]
    if len(found) == 1:
        return found[0]
    raise InputError(
        f"which sheet has the {what}?",
        where=name,
        seen=listed(found or sheets),
        expected="one sheet with such a header",
        todo="Keep one, or save that sheet as CSV.",
    )
