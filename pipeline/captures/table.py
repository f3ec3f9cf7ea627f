"""Tables from labs as rows of text: CSV with commas, semicolons or tabs (TSV), and XLSX.  The content says which."""

from __future__ import annotations

import contextlib
import csv
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from mimicme.pipeline.captures import xlsx
from mimicme.pipeline.captures.xlsx import Row
from mimicme.pipeline.errors import InputError

MAX_BYTES = 64 << 20
_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs"}
_CODE_PAGES = (
    "gb18030",
    "big5",
    "shift_jis",
    "euc_jp",
    "euc_kr",
    "cp1251",
    "koi8_r",
    "cp1253",
    "cp1255",
    "cp1256",
)
_LETTER = r"[A-Za-z\u00c0-\u00ff]"
_STRANGE = re.compile(
    rf"[\ufffd\u0160\u0161\u017d\u017e\u0178\u0192\u00d0\u00dd\u00de\u00f0\u00fd\u00fe]"  # Š Ž Ÿ ƒ Ð Ý Þ
    rf"|{_LETTER}[^\x00-\x7f\u00c0-\u00ff\u0152\u0153\u2019\u00b0\u00ba\u00aa\u00b7\u2013\u2014]{_LETTER}"
    rf"|{_LETTER}[\u00b3\u00b9\u00a5\u00a3\u00b1\u00a7\u201e\u201a\u2020\u2021]|[\u00c0-\u00ff]{{4}}|^[\u00c0-\u00ff]{{3}}$|{_LETTER}[\u00d7\u00f7]"
)
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
    data: bytes,
    name: str,
    what: str,
    is_head: Callable[[list[str]], bool],
    messages: list[str],
    matters: Callable[[list[str]], set[int]] | None = None,
) -> list[Row]:
    """The rows, the header first, each with the number of its line and its cells without blanks around them.

    Text may be UTF-8 or UTF-16, with or without BOM, or plain western text in Windows-1252, which is said.

    Args:
        is_head: whether cells are the header of such a table; asked where a workbook has several sheets.
        messages: takes sentences about what was decided.
        matters: as of `xlsx.read_rows`.

    Raises:
        InputError: it is empty, no table of these formats, or has a cell that is too long, a quote that is not closed
            or a row with another delimiter than the header's; or its text is of another code page.
        MissingDependencyError: XLSX cannot be read here.
    """
    if xlsx.is_zip(data):
        rows = xlsx.read_rows(data, name, what, is_head, messages, matters)
        if any("\0" in cell for _, cells in rows for cell in cells):
            raise InputError("this is not a text table: it holds NUL characters", where=name)
        for number, cells in rows:
            _check_cells(cells, rows[0][1], number, name)
        return rows
    if data.startswith(_OLD_WORKBOOK):
        raise InputError(
            f"the {what} is an old or an encrypted workbook", where=name, todo="Save it as XLSX or CSV."
        )
    text = _text(data, name, messages)
    lines = text.splitlines(keepends=True)
    start, delimiter = _header(lines, name, what)
    return _split("".join(lines[start:]), delimiter, start, name, what)


def _split(text: str, delimiter: str, start: int, name: str, what: str) -> list[Row]:
    """The rows of a text that `start` lines go before.

    Raises:
        InputError: as `parse`.
    """
    taken: list[str] = []  # the lines of a row

    def lines() -> Iterator[str]:
        for line in io.StringIO(text, newline=""):
            taken.append(line)
            yield line

    rows: list[Row] = []
    last: list[str] = []
    reader = csv.reader(lines(), delimiter=delimiter, strict=False)
    try:
        for row in reader:
            number, cells = start + reader.line_num, [cell.strip() for cell in row]
            rows.append((number, cells))
            header = rows[0][1]
            _check_cells(cells, header, number, name)
            last = taken.copy()
            taken.clear()
            if other := _other_delimiter("".join(last), cells, header, delimiter):
                raise InputError(
                    f"line {number} has {_NAMES[other]} between its cells, the header {_NAMES[delimiter]}",
                    where=name,
                    todo="Write it as the header is; put a cell that holds such signs into double quotes.",
                )
        if list(csv.reader([*last, "x"], delimiter=delimiter))[-1] != ["x"]:
            raise InputError(
                f"line {start + reader.line_num - len(last) + 1} has a quote that is not closed",
                where=name,
                todo="Close it; what follows is read as one cell.",
            )
    except csv.Error as error:
        raise InputError(
            f"line {start + reader.line_num} of the {what} cannot be read", where=name, seen=error
        ) from error
    return rows


def _check_cells(cells: list[str], header: list[str], number: int, name: str) -> None:
    """Whether cells are as short as a table's are, and no row that stands in one cell.

    Raises:
        InputError: they are not.
    """
    if max(map(len, cells), default=0) > xlsx.MAX_CELL:
        raise InputError(f"line {number} has a cell of more than {xlsx.MAX_CELL} characters", where=name)
    filled = [cell for cell in cells if cell]
    held = [said for sign, said in _NAMES.items() if len(filled) == 1 and sign in filled[0]]
    if held and sum(map(bool, header)) > 1:
        raise InputError(
            f"line {number} is one cell that holds {' and '.join(held)}, the header has several",
            where=name,
            todo="Put each value into a cell of its own, with the delimiter that the header has.",
        )


def _other_delimiter(written: str, cells: list[str], header: list[str], delimiter: str) -> str:
    """The delimiter of a row with fewer filled cells than the header, if it is another than the header's; else empty.

    A row may lack its last cells, as spreadsheets leave them out; a decimal comma divides nothing.
    """
    filled = _filled(cells)
    if 1 < filled < _filled(header):
        plain = re.sub(r"(?<=\d),(?=\d)", "", re.sub(r'"[^"]*"', "", written)).strip()
        for other in (sign for sign in _NAMES if sign != delimiter):
            if plain.count(other) >= filled - (len(cells) < len(header)):
                return other
    return ""


def _filled(cells: list[str]) -> int:
    """Number of cells up to the last that is not empty."""
    return max((k for k, cell in enumerate(cells, 1) if cell), default=0)


def _text(data: bytes, name: str, messages: list[str]) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):  # what spreadsheets call "Unicode text"
        text = data.decode("utf-16", "replace")
    else:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = data.decode("cp1252", "replace")
            if found := _not_western(text):
                raise InputError(
                    "the table is not UTF-8, and in no plain western code page",
                    where=name,
                    seen=repr(found),
                    todo="Save it as UTF-8 (spreadsheets call it CSV UTF-8, or Unicode text), or as XLSX.",
                ) from None
            messages.append(f"{name} is not UTF-8; it was read as Windows-1252. Check names with accents.")
    if "\0" in text:
        raise InputError("this is not a text table: it holds NUL characters", where=name)
    return text


def _not_western(text: str) -> str:
    """The first word of a text, read as Windows-1252, that no western language writes so; empty: there is none.

    Other code pages put letters where it has signs, or Icelandic ones, and other scripts write whole words of them.
    """
    for word in re.findall(r"[^\s,;\t\"]+", text):
        if not word.isascii() and _STRANGE.search(word):
            return word
    return ""


def in_other_code_pages(data: bytes) -> Iterator[tuple[str, str]]:
    """What a table that is not Unicode says in code pages other than Windows-1252, by their names."""
    if xlsx.is_zip(data) or data.isascii() or data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return
    try:
        data.decode("utf-8-sig")
    except UnicodeDecodeError:
        for page in _CODE_PAGES:
            with contextlib.suppress(UnicodeDecodeError):
                yield page, data.decode(page)


def _header(lines: list[str], name: str, what: str) -> tuple[int, str]:
    """Number of lines before the header, and the delimiter."""
    for start, line in enumerate(lines):
        declared = re.fullmatch(r"sep=(.)", line.strip("\r\n"))  # a spreadsheet's own first line
        if declared or not line.strip(" \t\r\n,;"):
            continue
        plain = re.sub(r'"[^"]*"', "", line)
        return start, max(_NAMES, key=plain.count)
    raise InputError(f"the {what} is empty", where=name, expected="a header")
