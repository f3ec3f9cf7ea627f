"""Tables from labs as rows of text: CSV with commas, semicolons or tabs (TSV), and XLSX.  The content says which."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path

from mimicme.pipeline.captures import xlsx
from mimicme.pipeline.captures.xlsx import Row
from mimicme.pipeline.errors import InputError

MAX_BYTES = 64 << 20
_OLD_WORKBOOK = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"  # .xls, and an XLSX with a password


def read_bytes(path: Path, what: str) -> bytes:
    """A table's file.

    Args:
        what: the table in words, for errors: `metadata table`.

    Raises:
        InputError: it cannot be read, or is too large.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"the {what} is too large", where=path, expected=f"at most {MAX_BYTES:,} bytes")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"the {what} cannot be read", where=path, seen=error.strerror) from error


def parse(
    data: bytes, name: str, what: str, is_head: Callable[[list[str]], bool], messages: list[str]
) -> list[Row]:
    """The rows, the header first, each with the number of its line and its cells without blanks around them.

    Text may be UTF-8 or UTF-16, with or without BOM, or Windows-1252, which is said.

    Args:
        is_head: whether cells are the header of such a table; asked where a workbook has several sheets.
        messages: takes sentences about what was decided.

    Raises:
        InputError: it is empty, or no table of these formats.
        MissingDependencyError: XLSX cannot be read here.
    """
    if xlsx.is_zip(data):
        rows = xlsx.read_rows(data, name, what, is_head, messages)
        if any("\0" in cell for _, cells in rows for cell in cells):
            raise InputError("this is not a text table: it holds NUL characters", where=name)
        return rows
    if data.startswith(_OLD_WORKBOOK):
        raise InputError(
            f"the {what} is an old or an encrypted workbook", where=name, todo="Save it as XLSX or CSV."
        )
    text = _text(data, name, messages)
    lines = text.splitlines(keepends=True)
    start, delimiter = _header(lines, name, what)
    reader = csv.reader(io.StringIO("".join(lines[start:]), newline=""), delimiter=delimiter, strict=False)
    try:
        return [(start + reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except csv.Error as error:
        raise InputError(
            f"line {start + reader.line_num} of the {what} cannot be read", where=name, seen=error
        ) from error


def _text(data: bytes, name: str, messages: list[str]) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):  # what spreadsheets call "Unicode text"
        text = data.decode("utf-16", "replace")
    else:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = data.decode("cp1252", "replace")
            messages.append(f"{name} is not UTF-8; it was read as Windows-1252. Check names with accents.")
    if "\0" in text:
        raise InputError("this is not a text table: it holds NUL characters", where=name)
    return text


def _header(lines: list[str], name: str, what: str) -> tuple[int, str]:
    """Number of lines before the header, and the delimiter."""
    for start, line in enumerate(lines):
        declared = re.fullmatch(r"sep=(.)", line.strip("\r\n"))  # a spreadsheet's own first line
        if declared or not line.strip(" \t\r\n,;"):
            continue
        plain = re.sub(r'"[^"]*"', "", line)
        return start, max(",;\t", key=plain.count)
    raise InputError(f"the {what} is empty", where=name, expected="a header")
