"""The table of subjects: who they are, what they consented to, and what of it may enter a release.

A text table with a header; one row per subject.  Columns `subject`, `age`, `gender`, `ethnicity`,
`consent`, and optionally `split`; further columns are kept, except those that name a person.
"""

from __future__ import annotations

import csv
import difflib
import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mimicme.pipeline.captures.layouts import safe_name
from mimicme.pipeline.errors import InputError, listed

UNKNOWN = "unknown"
COLUMNS = ("age", "gender", "ethnicity", "consent", "split")
_SUBJECT_NAMES = ("subject", "subject_id", "subjectid", "participant", "participant_id", "id")
_ALIASES = {"sex": "gender", "agreed": "consent", "consented": "consent"}

# a release is given away: what identifies a person never enters it
_PERSONAL_WORDS = frozenset(
    ["name", "names", "surname", "firstname", "lastname", "fullname", "forename", "initials", "email", "mail"]
    + ["phone", "telephone", "mobile", "address", "street", "postcode", "zip", "dob", "birthday", "birthdate"]
    + ["born", "passport", "ssn", "contact", "signature"]
)
_PERSONAL_NAMES = frozenset({"date_of_birth", "birth_date", "national_id", "social_security", "id_number"})

# in the order in which a message lists them
_REFUSED = (
    *("no", "n", "false", "0", "not", "none", "withdrawn", "withdrew", "withdraw", "refused", "refuses"),
    *("denied", "declined", "revoked", "expired", "pending"),
)
_GIVEN = ("yes", "y", "true", "1", "given", "granted", "signed", "full")
_MAX_BYTES = 64 << 20
_MAX_CELL = 4096


@dataclass(frozen=True)
class SubjectTable:
    """Subjects by id, as the table has them.

    Attributes:
        rows: per subject (as safe for file names, like the catalogue's) its values by column, missing ones
            left out; without personal columns.
        columns: the columns that are kept, in order, without `subject`.
        excluded: subjects that must not enter a release, with the sentence why.
        messages: what a user should know about the table: columns dropped, words not understood.
    """

    rows: Mapping[str, Mapping[str, str | int | float]] = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    excluded: Mapping[str, str] = field(default_factory=dict)
    messages: tuple[str, ...] = ()

    def __contains__(self, subject: str) -> bool:
        return subject in self.rows

    def attributes(self, subject: str) -> dict[str, str | int | float]:
        """A value for each of the table's columns and `COLUMNS`; `unknown` where there is none."""
        row = self.rows.get(subject, {})
        names = dict.fromkeys((*COLUMNS, *self.columns))
        return {name: row.get(name, UNKNOWN) for name in names}

    def compare(self, subjects: Iterable[str]) -> list[str]:
        """Sentences about captured subjects that the table lacks, and rows that have no captures."""
        captured = sorted(set(subjects))
        said: list[str] = []
        if not self.rows:
            return said
        folded = {s.casefold(): s for s in self.rows}
        for subject in captured:
            if subject not in self.rows:
                near = folded.get(subject.casefold())
                close = [near] if near else difflib.get_close_matches(subject, self.rows, 1, 0.8)
                hint = f" Is it the table's '{close[0]}'?" if close else ""
                said.append(
                    f"Subject '{subject}' is not in the metadata table; its values are unknown.{hint}"
                )
        # whose consent is a refusal is not among the captured, whether there are captures or not
        absent = sorted(set(self.rows) - set(captured) - set(self.excluded))
        if absent:
            said.append(f"The metadata table has subjects without captures: {listed(absent, 5)}.")
        return said


def read_subjects(path: Path) -> SubjectTable:
    """Read a subjects table from a file.

    Raises:
        InputError: it cannot be read, or as `parse_subjects`.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InputError(
                "the metadata table is too large", where=path, expected=f"at most {_MAX_BYTES:,}"
            )
        data = path.read_bytes()
    except OSError as error:
        raise InputError("the metadata table cannot be read", where=path, seen=error.strerror) from error
    return parse_subjects(data, path.name)


def parse_subjects(data: bytes, name: str = "metadata") -> SubjectTable:
    """Parse a subjects table: UTF-8 or UTF-16, with or without BOM; commas, semicolons or tabs.

    A subject whose consent starts with a word of refusal (`no`, `withdrawn`, ...) is listed in `excluded`.

    Raises:
        InputError: no header, no `subject` column, a column twice, a subject twice, a row longer than the
            header; with the numbers of the lines.
    """
    messages: list[str] = []
    text = _text(data, name, messages)
    lines = text.splitlines(keepends=True)
    start, delimiter = _header(lines, name)
    reader = csv.reader(io.StringIO("".join(lines[start:]), newline=""), delimiter=delimiter, strict=False)
    numbered = [(start + reader.line_num, [cell.strip() for cell in row]) for row in reader]
    header = _columns(numbered[0][1], name)
    at = header.index("subject")
    personal = [c for c in header if _is_personal(c)]
    if personal:
        messages.append(f"{name}: {', '.join(personal)} can identify a person and will not enter a release.")
    keep = [(i, c) for i, c in enumerate(header) if i != at and c and c not in personal]

    rows: dict[str, dict[str, str | int | float]] = {}
    line_of: dict[str, list[int]] = {}
    excluded: dict[str, str] = {}
    unclear: list[str] = []
    for line, cells in numbered[1:]:
        if not any(cells):
            continue
        if any(cells[len(header) :]):
            raise InputError(
                f"line {line} has more cells than the header",
                where=name,
                seen=len(cells),
                expected=len(header),
                todo="Put cells that hold the delimiter into double quotes.",
            )
        cells += [""] * (len(header) - len(cells))
        if max(map(len, cells)) > _MAX_CELL:
            raise InputError(f"line {line} has a cell of more than {_MAX_CELL} characters", where=name)
        if not cells[at]:
            raise InputError(f"line {line} names no subject", where=name)
        subject = safe_name(cells[at])
        line_of.setdefault(subject, []).append(line)
        row = {c: _value(c, cells[i]) for i, c in keep if cells[i]}
        rows[subject] = row
        consent = str(row.get("consent", ""))
        if is_refusal(consent):
            excluded[subject] = f"Subject '{subject}' is left out: its consent is '{consent}' (line {line})."
        elif consent and _first_word(consent) not in _GIVEN:
            unclear.append(
                f"Subject '{subject}': consent '{consent}' (line {line}) is not understood, and does NOT keep "
                "the subject out: it is worked on and enters the release."
            )
    twice = {s: n for s, n in line_of.items() if len(n) > 1}
    if twice:
        listed = "; ".join(f"'{s}' in lines {', '.join(map(str, n))}" for s, n in list(twice.items())[:5])
        raise InputError(
            "a subject has more than one row", where=name, seen=listed, todo="Keep one row each."
        )
    if unclear:
        messages += [
            *unclear,
            f"A consent is understood by its first word: {', '.join(_GIVEN)} let a subject in; "
            f"{', '.join(_REFUSED)} keep it out.",
        ]
    return SubjectTable(rows, tuple(c for _, c in keep), excluded, tuple(messages))


def is_refusal(consent: str) -> bool:
    """Whether a consent starts with a word of refusal: `no`, `withdrawn 2024-05-01`, `not given`."""
    return _first_word(consent) in _REFUSED


def _first_word(text: str) -> str:
    return (re.findall(r"[a-z]+|\d+", text.lower()) or [""])[0]


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


def _header(lines: list[str], name: str) -> tuple[int, str]:
    """Number of lines before the header, and the delimiter."""
    for start, line in enumerate(lines):
        declared = re.fullmatch(r"sep=(.)", line.strip("\r\n"))  # a spreadsheet's own first line
        if declared or not line.strip(" \t\r\n,;"):
            continue
        plain = re.sub(r'"[^"]*"', "", line)
        return start, max(",;\t", key=plain.count)
    raise InputError("the metadata table is empty", where=name, expected="a header with a column `subject`")


def _columns(cells: list[str], name: str) -> list[str]:
    header = [re.sub(r"\W+", "_", c.strip().lower()).strip("_") for c in cells]
    if "subject" not in header:
        other = next((n for n in _SUBJECT_NAMES if n in header), None)
        if other is None:
            raise InputError(
                "the metadata table has no column `subject`", where=name, seen=", ".join(header) or "nothing"
            )
        header[header.index(other)] = "subject"
    for old, new in _ALIASES.items():
        if old in header and new not in header:
            header[header.index(old)] = new
    twice = sorted({c for c in header if c and header.count(c) > 1})
    if twice:
        raise InputError("a column appears more than once", where=name, seen=", ".join(twice))
    return header


def _is_personal(column: str) -> bool:
    return column in _PERSONAL_NAMES or not _PERSONAL_WORDS.isdisjoint(column.split("_"))


def _value(column: str, cell: str) -> str | int | float:
    """Ages that are numbers become numbers; everything else stays the text it is."""
    if column == "age":
        if re.fullmatch(r"\d{1,3}", cell):
            return int(cell)
        if re.fullmatch(r"\d{1,3}[.,]\d+", cell):
            return float(cell.replace(",", "."))
    return cell
