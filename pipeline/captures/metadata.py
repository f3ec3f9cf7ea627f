"""The table of subjects: who they are, what they consented to, and what of it may enter a release.

A table (CSV, TSV or XLSX) with a header; one row per subject.  Columns `subject`, `age`, `gender`, `ethnicity`,
`consent`, and optionally `split`; further columns are kept, except those that name a person.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mimicme.pipeline.captures import (
    consent,
    consent_columns,
    consent_remarks,
    consent_words,
    permission_columns,
    refusal_words,
    who,
)
from mimicme.pipeline.captures import table as tables
from mimicme.pipeline.captures.ages import age_of
from mimicme.pipeline.captures.consent import ConsentRules
from mimicme.pipeline.captures.layouts import safe_name
from mimicme.pipeline.captures.personal_columns import is_personal
from mimicme.pipeline.captures.xlsx import UNCOMPUTED
from mimicme.pipeline.errors import ConfigError, InputError, counted, listed

UNKNOWN = "unknown"
COLUMNS = ("age", "gender", "ethnicity", "consent", "split")
_WHAT = "metadata table"
# without blanks and the like; earlier ones go first
_SUBJECT_NAMES = (
    *("subject", "subjectid", "participant", "participantid", "subj", "subjid", "subjectcode"),
    *("participantcode", "subjectnumber", "subjectno", "subjectnr", "participantnumber", "participantno"),
    "participantnr",
    *("proband", "probandin", "probandid", "probandenid", "probandnr", "probandennr", "probandennummer"),
    *("probandencode", "teilnehmer", "teilnehmerin", "teilnehmerid", "teilnehmernr", "teilnehmernummer"),
    *("teilnehmercode", "versuchsperson", "versuchspersonid", "versuchspersonnr", "versuchspersonennr"),
    *("versuchspersonennummer", "vp", "vpid", "vpnr", "vpnummer", "vpcode", "vpn", "vpnnr"),
    *("sujet", "sujetid", "idsujet", "nsujet", "nosujet", "numerosujet", "numérosujet", "codesujet"),
    *("idparticipant", "codeparticipant", "numeroparticipant", "numéroparticipant"),
    *("sujeto", "sujetoid", "idsujeto", "nsujeto", "nosujeto", "codigosujeto", "códigosujeto"),
    *("participante", "idparticipante", "codigoparticipante", "códigoparticipante"),
    *("recordid", "id"),
)
# usual names of columns, where the table has no column of the name itself
_ALIASES: dict[str, tuple[str, ...]] = {
    "age": (
        "age_years",
        "age_in_years",
        "age_y",
        "age_yrs",
        "age_at_scan",
        "age_at_capture",
        "years",
        "alter",
    ),
    "gender": ("sex", "geschlecht", "sexe"),
    "ethnicity": (
        *("ethnic_group", "ethnic_origin", "ethnic_background", "race"),
        *("ethnie", "ethnizität", "ethnische_herkunft", "origine_ethnique", "origen_étnico", "etnia"),
    ),
}
# words of a category that mean one, in small letters
_SAME_WORDS = (
    ("m", "male", "man", "männlich", "mann"),
    ("f", "w", "female", "woman", "weiblich", "frau"),
    ("d", "diverse", "nonbinary", "non binary", "nb", "divers"),
)

# what is read of the table; what else it has goes into a release as it is
_OWN_COLUMNS = frozenset({"age", "gender", "ethnicity", "consent", "split"})

# words of columns in which somebody may have written that a person withdrew, without accents
_STATUS = frozenset(
    ["status", "state", "statut", "stato", "estado", "statuts", "zustand", "статус", "状态", "狀態"]
)
_REMARKS = _STATUS | frozenset(
    ["remark", "remarks", "comment", "comments", "note", "notes", "reason", "reasons", "memo", "bemerkung"]
    + ["bemerkungen", "kommentar", "kommentare", "anmerkung", "anmerkungen", "notiz", "notizen", "grund", "hinweis"]
    + ["hinweise", "remarque", "remarques", "commentaire", "commentaires", "raison", "motif", "observacion"]
    + ["observaciones", "comentario", "comentarios", "nota", "notas", "motivo", "osservazioni", "opmerking"]
    + ["opmerkingen", "uwagi", "poznamka", "poznamky", "anmarkning", "merknad", "примечание", "примечания"]
    + ["комментарии", "备注", "備註", "说明", "說明", "原因", "備考", "메모", "비고"]
)  # fmt: skip
# what a column says whose status it is: of smoking or of a scan, a `no` says nothing of a person
_WHOSE_STATUS = frozenset(
    [
        "study",
        "studie",
        "etude",
        "estudio",
        "studio",
        "participation",
        "participant",
        "subject",
        "person",
        "patient",
    ]
    + [
        "proband",
        "teilnahme",
        "teilnehmer",
        "consent",
        "einwilligung",
        "enrolment",
        "enrollment",
        "recruitment",
    ]
    + ["current", "final", "of", "the", "der", "de", "la", "du", "del"]
)
_REMARK_WORDS = frozenset(map(consent_words.folded, _REMARKS))
_STATUS_WORDS = frozenset(map(consent_words.folded, _STATUS))
_MOST_SENTENCES = 10  # about single subjects; more are said in one


@dataclass(frozen=True)
class SubjectTable:
    """Subjects by id, as the table has them.

    Attributes:
        rows: per subject (as safe for file names, like the catalogue's) its values by column, missing ones
            left out; without personal columns.
        columns: the columns that are kept, in order, without `subject`.
        excluded: subjects that must not enter a release, with the sentence why.
        messages: what a user should know about the table: columns dropped, words not understood.
        notices: what a run says first: who is worked on without a consent, because that was asked for.
        doubts: captures that may be those of somebody who refuses; somebody has to say.
        rules: what lets a subject in.
        without_captures: rows of subjects that refuse and have no captures.
        by_names: what the names of the captures say of a subject, for what the table does not say.
    """

    rows: Mapping[str, Mapping[str, str | int | float]] = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    excluded: Mapping[str, str] = field(default_factory=dict)
    messages: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    rules: ConsentRules = field(default_factory=ConsentRules)
    without_captures: tuple[str, ...] = ()
    by_names: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def has_consent(self) -> bool:
        """Whether the table has a column `consent`: then who is silent is left out."""
        return "consent" in self.columns

    def matched(
        self, subjects: Iterable[str], withdrawn: Callable[[str], bool] = lambda name: False
    ) -> SubjectTable:
        """The same table by captured subject: rows and refusals under the names of the captures' folders.

        Fails closed: a subject is left out whose row refuses it under whatever spelling, whose consent is missing
        (`rules`), or that may be somebody who refuses and has no captures of their own.

        Args:
            withdrawn: says of a name whether it is somebody's who has withdrawn: no sentence is to name them.

        Raises:
            InputError: two rows or two folders may be one person.
        """
        captured = sorted({s for s in subjects if not withdrawn(s)})
        if not self.rows and not self.has_consent:
            return self
        notices: list[str] = []
        if not self.has_consent:
            known = (
                f"its columns are subject, {', '.join(self.columns)}"
                if self.columns
                else "it has subjects alone"
            )
            but = " whom no other column keeps out" if self.excluded else ""
            notices.append(
                f"The table of subjects has no column `consent`: everybody{but} is worked on; {known}. "
                'If one of these is the consent, say so: columns = {consent = "..."} in [metadata].'
            )
        listed_rows = {row: values for row, values in self.rows.items() if not withdrawn(row)}
        found = who.match(listed_rows, captured)
        rows = {folder: listed_rows[row] for folder, row in found.row_of.items()}
        excluded = {
            folder: _spelled(folder, row, self.excluded[row])
            for folder, row in found.row_of.items()
            if row in self.excluded
        }
        if self.has_consent and self.rules.missing == "exclude":
            for folder in found.folders_alone:
                excluded[folder] = (
                    f"Subject '{folder}' is left out: the table of subjects has no row for it; add one, or correct the "
                    "name in the row that is its. Only where everybody in the captures is known to consent: "
                    'consent_missing = "include" in [captures].'
                )
        doubts, without = [], []
        for row in (row for row in found.rows_alone if row in self.excluded):
            near = [f for f in who.near(row, found.folders_alone) if (row, f) not in self.rules.not_same]
            for folder in near:
                doubts.append(
                    f"Subject '{folder}' is left out: it may be the table's '{row}', whose row keeps it out and has no "
                    f'captures. If they are two persons, say so: not_same = [["{row}", "{folder}"]] under [captures] '
                    "in mimicme.toml (adopt: --not-same ROW FOLDER); if not, rename one of them."
                )
                excluded[folder] = doubts[-1]
            if not near:
                without.append(row)
        silent = [f for f in captured if f not in excluded and not rows.get(f, {}).get("consent")]
        if self.has_consent and silent:
            notices.append(
                f'consent_missing = "include": worked on without a consent in the table: {listed(silent, 20)}.'
            )
        kept = {row: listed_rows[row] for row in found.rows_alone}
        return replace(
            self,
            rows=rows | kept,
            excluded={row: why for row, why in self.excluded.items() if row in kept} | excluded,
            notices=tuple(notices),
            doubts=tuple(doubts),
            without_captures=tuple(without),
        )

    def __contains__(self, subject: str) -> bool:
        return subject in self.rows

    def attributes(self, subject: str) -> dict[str, str | int | float]:
        """A value for each of the table's columns and `COLUMNS`; `unknown` where there is none."""
        row = {**self.by_names.get(subject, {}), **self.rows.get(subject, {})}
        names = dict.fromkeys((*COLUMNS, *self.columns))
        return {name: row.get(name, UNKNOWN) for name in names}

    def with_names(self, found: Mapping[str, Mapping[str, str]]) -> SubjectTable:
        """The same table, with what the names of the captures say where it says nothing itself (`bu_names.people`)."""
        if not found:
            return self
        columns = [c for c in COLUMNS if any(c in values for values in found.values())]
        people = counted(len(found), "subject")
        said = [
            f"The {' and '.join(columns)} of {people} {'are' if len(columns) > 1 else 'is'} read from names as BU-3DFE "
            "and BU-4DFE have them; what a table of subjects says goes first."
        ]
        other = [
            f"{subject} ('{row['gender']}')"
            for subject, values in found.items()
            if "gender" in (row := self.rows.get(subject, {}))
            and _meant("gender", str(row["gender"])) != _meant("gender", values["gender"])
        ]
        if other:
            said.append(f"The table's gender of {listed(other, 5)} is another than the captures' names say.")
        return replace(self, by_names=dict(found), messages=(*self.messages, *said))

    def compare(self, subjects: Iterable[str]) -> list[str]:
        """Sentences about captured subjects that the table lacks, and rows that have no captures."""
        captured = sorted(set(subjects))
        said: list[str] = []
        if not self.rows:
            return said
        missing = [subject for subject in captured if subject not in self.rows]
        for subject in missing[:_MOST_SENTENCES]:
            close = who.near(subject, self.rows)
            hint = f" Is it the table's '{close[0]}'?" if close else ""
            said.append(f"Subject '{subject}' is not in the metadata table; its values are unknown.{hint}")
        if missing[_MOST_SENTENCES:]:
            others = listed(missing[_MOST_SENTENCES:], 50)
            said.append(f"Nor are these in the metadata table: {others}.")
        # whose consent is a refusal is not among the captured, whether there are captures or not
        absent = sorted(set(self.rows) - set(captured) - set(self.excluded))
        if absent:
            said.append(f"The metadata table has subjects without captures: {listed(absent, 20)}.")
        if self.without_captures:
            said.append(
                f"Who is kept out by the metadata table and has no captures here: {listed(self.without_captures, 20)}."
            )
        return said


def _spelled(folder: str, row: str, why: str) -> str:
    """A sentence about a row, about the folder that it is matched with."""
    if folder == row:
        return why
    return why.replace(f"Subject '{row}'", f"Subject '{folder}' (the table's '{row}')", 1)


def read_subjects(
    path: Path, rules: ConsentRules | None = None, columns: Mapping[str, str] | None = None
) -> SubjectTable:
    """Read a subjects table from a file.

    Raises:
        InputError: it cannot be read, or as `parse_subjects`.
        MissingDependencyError: as `parse_subjects`.
    """
    return parse_subjects(tables.read_bytes(path, _WHAT), path.name, rules, columns)


def parse_subjects(
    data: bytes,
    name: str = "metadata",
    rules: ConsentRules | None = None,
    columns: Mapping[str, str] | None = None,
) -> SubjectTable:
    """Parse a subjects table: see `table.parse` for its formats.

    A subject whose consent is not a yes - a refusal (`no`, `withdrawn`, ...), a word that is not understood, and, as
    `rules` say, nothing - is listed in `excluded`, and so is one whose consent a further column takes back
    (`consent_columns`).

    Args:
        columns: the table's column by name here, `{"age": "Age at scan"}`, where it is called otherwise.

    Raises:
        InputError: no header, no `subject` column, a column twice, a subject twice, a row longer than the
            header, columns of which none is plainly the consent; with the numbers of the lines; or as `table.parse`.
        ConfigError: `columns` speaks of something else, names one column twice, or takes a column of consent away.
        MissingDependencyError: it is XLSX, and openpyxl is not installed.
    """
    rules, columns = rules or ConsentRules(), columns or {}
    messages: list[str] = []
    _check_code_page(data, name)
    numbered = tables.parse(
        data,
        name,
        _WHAT,
        lambda cells: _is_head(cells, columns),
        messages,
        lambda cells: _of_persons(cells, columns),
    )
    written = numbered[0][1]
    header = _columns(written, name, columns, messages)
    personal = _personal(header, written)
    if personal:
        messages.append(f"{name}: {', '.join(personal)} can identify a person and will not enter a release.")
    rows = _Rows(name, header, written, rules, [cells for _, cells in numbered[1:]])
    further = [c for c in rows.columns if c not in _OWN_COLUMNS]
    if further:
        messages.append(
            f"{name}: what stands in {', '.join(further)} goes into the release as it is; none of it may identify a "
            "person."
        )
    for line, cells in numbered[1:]:
        if any(cells):
            rows.add(line, cells)
    rows.check_each_stands_once()
    messages += _without_unclear_permissions(rows.values, name)
    return SubjectTable(rows.values, rows.columns, rows.excluded, (*messages, *rows.messages()), rules=rules)


class _Rows:
    """What the rows of a table say, added one by one.

    Attributes:
        values: by subject, its values by column.
        columns: those that are kept, without `subject`.
        excluded: as of `SubjectTable`.
    """

    def __init__(
        self,
        name: str,
        header: list[str],
        written: list[str],
        rules: ConsentRules,
        written_below: Sequence[list[str]] = (),
    ) -> None:
        """Begin with none.

        Args:
            header: the columns' names here.
            written: the cells of the header.
            written_below: those of all rows, for what only a whole column says.
        """
        self.name, self.header, self.rules = name, header, rules
        self.subject_at = header.index("subject")
        self._personal = _personal(header, written)
        self.kept = [
            (i, c) for i, c in enumerate(header) if i != self.subject_at and c and c not in self._personal
        ]
        self.columns = tuple(c for _, c in self.kept)
        self.beside_consent = [
            (i, c) for i, c in enumerate(header) if c != "consent" and consent_columns.speaks_of_consent(c)
        ]
        self.remarks = [
            (i, plain)
            for i, plain in enumerate(map(_plain, written[: len(header)]))
            if header[i] != "consent" and not _REMARK_WORDS.isdisjoint(_words(plain))
        ]
        cells_of = {
            i: [cells[i] for cells in written_below if i < len(cells)]
            for i, c in enumerate(header)
            if c == "consent" or consent_columns.speaks_of_consent(c)
        }
        self._one_is_yes = {i: consent.codes_are_clear(cells) for i, cells in cells_of.items()}
        self._codes = {i: consent.codes(cells) for i, cells in cells_of.items()}
        # columns whose 1 keeps somebody out, because other codes stand beside it
        self._unclear_codes: dict[str, list[str]] = {}
        self.values: dict[str, dict[str, str | int | float]] = {}
        self.excluded: dict[str, str] = {}
        self._lines: dict[str, dict[int, str]] = {}
        # by subject: its lines, with its name as each spells it
        self._unclear: list[str] = []
        self._unclear_beside: dict[str, list[str]] = {}
        self._ages: dict[str, list[str]] = {}

    def add(self, line: int, cells: list[str]) -> None:
        """Read one row.

        Raises:
            InputError: it is longer than the header, or names no subject.
        """
        if any(cells[len(self.header) :]):
            raise InputError(
                f"line {line} has more cells than the header",
                where=self.name,
                seen=len(cells),
                expected=len(self.header),
                todo="Put cells that hold the delimiter into double quotes.",
            )
        cells = cells + [""] * (len(self.header) - len(cells))
        called = cells[self.subject_at]
        if called in ("", UNCOMPUTED):
            raise InputError(f"line {line} names no subject", where=self.name, seen=called or None)
        subject = safe_name(called)
        self._lines.setdefault(subject, {})[line] = called
        self.values[subject] = self._row(subject, line, cells)
        said = str(self.values[subject].get("consent", ""))
        at = self.header.index("consent") if "consent" in self.header else -1
        why = consent.kept_out(said, at >= 0, self.rules, self._is_one_a_yes(at, said, subject))
        if why:
            self.excluded[subject] = f"Subject '{subject}' is left out: its consent {why} (line {line})."
            if why.endswith(consent.UNCLEAR) and subject not in self._unclear_codes.get("consent", ()):
                self._unclear.append(subject)
        elif column_and_cell := self._taken_back(subject, cells):
            column, cell = column_and_cell
            told = "keeps it out" if column in self._personal else f"is '{cell}'"
            self.excluded[subject] = (
                f"Subject '{subject}' is left out: its {column} {told} (line {line}). If that says no refusal, "
                "correct the cell or rename the column."
            )

    def _is_one_a_yes(self, at: int, cell: str, subject: str) -> bool:
        """Whether a 1 in a column is a yes; whom it keeps out where not is noted."""
        clear = self._one_is_yes.get(at, True)
        if not clear and self.rules.is_yes(cell) and not self.rules.is_yes(cell, one_is_yes=False):
            self._unclear_codes.setdefault(self.header[at], []).append(subject)
        return clear

    def _is_yes_beside(self, at: int, cell: str, subject: str) -> bool:
        """Whether a cell beside the consent is a yes; `consent_yes` speaks of a 1 where both columns have one code."""
        if self._one_is_yes.get(at, True) or self._has_the_codes_of_consent(at):
            return self.rules.is_yes(cell, self._is_one_a_yes(at, cell, subject))
        own = replace(self.rules, yes=tuple(word for word in self.rules.yes if word.strip() != "1"))
        if own.is_yes(cell) and not own.is_yes(cell, one_is_yes=False):
            self._unclear_codes.setdefault(self.header[at], []).append(subject)
        return own.is_yes(cell, one_is_yes=False)

    def _has_the_codes_of_consent(self, at: int) -> bool:
        return "consent" in self.header and self._codes[at] == self._codes[self.header.index("consent")]

    def _row(self, subject: str, line: int, cells: list[str]) -> dict[str, str | int | float]:
        """The values of a row by column, missing ones left out."""
        row: dict[str, str | int | float] = {}
        for i, column in self.kept:
            if not cells[i] or (cells[i] == UNCOMPUTED and column != "consent"):
                continue
            if column != "age":
                row[column] = cells[i]
                continue
            age, remark = age_of(cells[i])
            self._ages.setdefault(remark, []).append(f"{subject} (line {line})")
            if age is not None:
                row[column] = age
        return row

    def _taken_back(self, subject: str, cells: list[str]) -> tuple[str, str] | None:
        """The first column that takes a row's consent back, and its cell."""
        found = []
        for i, column in self.beside_consent:
            is_yes = not consent_columns.is_of_refusals(column) and self._is_yes_beside(i, cells[i], subject)
            if consent_columns.leaves_consent(column, cells[i], is_yes):
                continue
            found.append((column, cells[i]))
            if not (is_yes or consent.is_refusal(cells[i]) or consent_columns.is_date(cells[i])):
                self._unclear_beside.setdefault(column, []).append(subject)
        for i, column in self.remarks:
            if _says_a_refusal(column, cells[i]):
                found.append((column, cells[i]))
        return found[0] if found else None

    def check_each_stands_once(self) -> None:
        """Refuse a table that says two things of one person.

        Raises:
            InputError: a subject has more than one row.
        """
        twice = [lines for lines in self._lines.values() if len(lines) > 1]
        if twice:
            names = [" and ".join(map(repr, dict.fromkeys(lines.values()))) for lines in twice]
            seen = "; ".join(
                f"{called} in lines {', '.join(map(str, lines))}"
                for called, lines in list(zip(names, twice, strict=True))[:5]
            )
            raise InputError(
                "a subject has more than one row",
                where=self.name,
                seen=seen,
                todo="Keep one row each. A consent is a person's: of who gives it for some recordings alone, take the "
                "captures of the others away.",
            )

    def _or_say_it(self, column: str) -> str:
        """What else may be done where a 1 is a yes: the setting speaks of the codes of `consent` alone."""
        same = column == "consent" or self._has_the_codes_of_consent(self.header.index(column))
        return '; or, if 1 is a yes, consent_yes = ["1"] in [captures]' if same else ""

    def messages(self) -> list[str]:
        """What a user should know of the rows together."""
        said: list[str] = []
        if self._unclear:
            said.append(
                f"the consent of {listed(self._unclear)} is not understood and keeps them out. These, alone or with a "
                f"date, let a subject in: {', '.join(consent.GIVEN)}; these keep it out: "
                f"{', '.join(refusal_words.REFUSED)}. A word that is a no needs nothing more. "
                'If one is a yes, write it into the settings, [captures] consent_yes = ["..."], or correct the table.'
            )
        said += [
            f"the column `{column}` has other numbers beside 1, such as 2: nobody can know whether 1 is the yes, and "
            f"it keeps out {listed(those)}. Write yes and no{self._or_say_it(column)}."
            for column, those in self._unclear_codes.items()
        ]
        said += [
            f"the column `{column}` speaks of consent; what it says of {listed(those)} is not understood and keeps "
            f"them out. Only {consent_columns.what_leaves_consent(column)} leaves a consent as it is. If the column "
            "says nothing of who consents, rename it."
            for column, those in self._unclear_beside.items()
        ]
        said += [f"{remark}: {listed(those, 5)}." for remark, those in self._ages.items() if remark]
        said += [
            words for column in ("gender", "ethnicity", "split") for words in _spellings(self.values, column)
        ]
        return [f"{self.name}: {sentence}" for sentence in said]


def _is_status_of_a_person(column: str) -> bool:
    """Whether a column, as it is written, is the state of a person: `status`, `study status`, not `smoking_status`."""
    words = {word for word in _words(column) if len(word) > 2 and not word.isdecimal()}
    return words <= _STATUS_WORDS | _WHOSE_STATUS


def _says_a_refusal(column: str, cell: str) -> bool:
    """Whether a remark or a state of something says that a person refuses or has left."""
    if _STATUS_WORDS.isdisjoint(_words(column)):
        return consent_remarks.tells_of_refusal(cell)
    if _is_status_of_a_person(column):
        return consent_remarks.is_word_of_refusal(cell) or consent_remarks.tells_of_refusal(cell)
    alone = re.fullmatch(r"\w*", cell.strip()) is not None
    return consent_remarks.is_word_of_leaving(cell) or (not alone and consent_remarks.tells_of_refusal(cell))


def _check_code_page(data: bytes, name: str) -> None:
    """Whether a table that is not Unicode speaks of consent in another code page than it is read in.

    Raises:
        InputError: it does: what it says would not be seen.
    """
    for page, text in tables.in_other_code_pages(data):
        found = next((word for word in refusal_words.OTHER_SCRIPTS if word in text.casefold()), None)
        if found is not None:
            raise InputError(
                "the table is not UTF-8, and speaks of consent in another code page",
                where=name,
                seen=f"{found} ({page})",
                todo="Save it as UTF-8 (spreadsheets call it CSV UTF-8, or Unicode text), or as XLSX.",
            )


def _spellings(rows: Mapping[str, Mapping[str, object]], column: str) -> list[str]:
    """Sentences about words of a column that may mean one, and about a column of codes."""
    words = dict.fromkeys(str(row[column]) for row in rows.values() if column in row)
    groups: dict[str, list[str]] = {}
    for word in words:
        groups.setdefault(_meant(column, word), []).append(word)
    said = [
        f"`{column}` has {', '.join(map(repr, group))}, which may be one; each is kept as it is written."
        for group in groups.values()
        if len(group) > 1
    ]
    if words and all(word.isdecimal() for word in words) and column != "split":
        said.append(
            f"`{column}` has numbers ({listed(words)}); write words, for nobody can know what they mean."
        )
    return said


def _meant(column: str, word: str) -> str:
    """A word of a category without its spelling; one of those that mean the same stands for all."""
    key = " ".join(re.findall(r"\w+", word.casefold().replace("_", " ")))
    same = next((words for words in _SAME_WORDS if column == "gender" and key in words), (key,))
    return same[0]


def _plain(cell: str) -> str:
    """A cell in small letters, `_` for what is neither letter nor digit; signs of vowels (Thai, Hindi) are letters."""
    kept = []
    for c in unicodedata.normalize("NFKC", cell).strip().lower():
        kind = unicodedata.category(c)
        if kind != "Cf":
            kept.append(c if c.isalnum() or kind.startswith("M") else "_")
    return re.sub(r"_+", "_", "".join(kept)).strip("_")


def _words(column: str) -> list[str]:
    return consent_words.folded(column).split("_")


def _subject_column(header: list[str]) -> str | None:
    """The column that a table without `subject` has for it."""
    found = {c.replace("_", ""): c for c in reversed(header)}
    return next((found[name] for name in _SUBJECT_NAMES if name in found), None)


def _is_head(cells: list[str], columns: Mapping[str, str]) -> bool:
    """Whether cells name a column of subjects or of consent: a second sheet with either is not passed over."""
    header = [_plain(cell) for cell in cells]
    own = {_plain(columns[name]) for name in ("subject", "consent") if name in columns}
    return (
        _subject_column(header) is not None
        or not own.isdisjoint(header)
        or any(map(consent_columns.speaks_of_consent, header))
    )


def _of_persons(cells: list[str], columns: Mapping[str, str]) -> set[int]:
    """Where a head has the subjects and what speaks of consent: who is struck through there may have left."""
    header = [_plain(cell) for cell in cells]
    own = {_plain(columns[name]) for name in ("subject", "consent") if name in columns}
    own |= {"subject", _subject_column(header) or "subject"}
    return {k for k, c in enumerate(header) if c in own or consent_columns.speaks_of_consent(c)}


def _columns(cells: list[str], name: str, columns: Mapping[str, str], messages: list[str]) -> list[str]:
    """The names of the columns here.

    Raises:
        InputError: no subjects, a column twice, or it must be said which column is the consent.
        ConfigError: `columns` has a name that is none, one column twice, or takes a column of consent away.
    """
    written = [_plain(c) for c in cells]
    header = written.copy()

    def read_as(at: int, column: str) -> None:
        messages.append(f"{name}: the column '{cells[at].strip()}' is read as `{column}`.")
        header[at] = column

    for column, at in _named_columns(cells, written, name, columns).items():
        if column == "subject" and is_personal(cells[at]):
            messages.append(
                f"{name}: the column '{columns[column]}' can identify a person; as `subject` it enters a release."
            )
        read_as(at, column)
    if "subject" not in header:
        other = _subject_column(header)
        if other is None:
            raise InputError(
                "the metadata table has no column `subject`",
                where=name,
                seen=", ".join(header) or "nothing",
                todo="Name the column that has them: --column subject=COLUMN, or `columns` in [metadata].",
            )
        read_as(header.index(other), "subject")
    for new, usual in _ALIASES.items():
        other = next((c for c in usual if c in header), None)
        if other is not None and new not in header:
            read_as(header.index(other), new)
    if "consent" not in header and (consents := _consent_column(header, name)) is not None:
        read_as(header.index(consents), "consent")
    twice = sorted({c for c in header if c and header.count(c) > 1})
    if twice:
        raise InputError("a column appears more than once", where=name, seen=", ".join(twice))
    return header


def _without_unclear_permissions(rows: dict[str, dict[str, str | int | float]], name: str) -> list[str]:
    """Take the codes away of which nobody can know whether they permit a use, for a release may hold some of these
    people alone; a sentence a column."""
    said = []
    for column in sorted(permission_columns.with_unclear_codes(rows.values())):
        codes = {
            str(row[column]) for row in rows.values() if permission_columns.is_code(str(row.get(column)))
        }
        for row in rows.values():
            if str(row.get(column)) in codes:
                del row[column]
        said.append(
            f"{name}: `{column}` has codes ({listed(sorted(codes))}) of which nobody can know what they permit: they "
            "permit nothing. Write `yes` and `no`."
        )
    return said


def _personal(header: Sequence[str], written: Sequence[str]) -> list[str]:
    """The columns that identify a person, as they are called here: told of how they are written, where capitals part
    words; not those that are read as another."""
    return [
        column
        for column, cell in zip(header, written, strict=True)
        if is_personal(column) or (column == _plain(cell) and is_personal(cell))
    ]


def _named_columns(
    cells: list[str], written: list[str], name: str, columns: Mapping[str, str]
) -> dict[str, int]:
    """Where the columns stand that a user has named, by their names here.

    Args:
        written: the cells, without what is no letter or digit.

    Raises:
        InputError: the table has no such column, or it can identify a person.
        ConfigError: a name that is none, one column twice, or a column of consent that is taken away.
    """
    todo = "Correct `columns` in [metadata] (--column)."
    found: dict[str, int] = {}
    for column, called in columns.items():
        if column not in ("subject", *COLUMNS):
            raise ConfigError(
                f"the metadata has no `{column}`", where="columns", expected=f"subject, {', '.join(COLUMNS)}"
            )
        at = next((k for k, c in enumerate(cells) if c.strip() == called.strip()), -1)
        at = at if at >= 0 else next((k for k, c in enumerate(written) if c and c == _plain(called)), -1)
        if at < 0:
            raise InputError(
                f"the metadata table has no column '{called}' for `{column}`",
                where=name,
                seen=listed((c.strip() for c in cells), 20),
                todo=todo,
            )
        other = next((c for c, place in found.items() if place == at), None)
        if other is not None:
            raise ConfigError(
                f"the column '{called}' cannot be both `{other}` and `{column}`", where="columns", todo=todo
            )
        _check_consent(written[at], column, called)
        if is_personal(cells[at]) and column != "subject":
            raise InputError(
                f"the column '{called}' can identify a person and cannot be `{column}`", where=name
            )
        found[column] = at
    return found


def _consent_column(header: list[str], name: str) -> str | None:
    """The column that a table without `consent` has for it; none where no column speaks of consent.

    Raises:
        InputError: several may be it, or one of which it is not plain.
    """
    named = [c for c in header if consent_columns.is_consent(c)]
    like = [
        c for c in header if consent_columns.speaks_of_consent(c) and not consent_columns.is_of_refusals(c)
    ]
    if len(named) != 1 and like:
        raise InputError(
            "which column says who consents?",
            where=name,
            seen=", ".join(like),
            expected="one column `consent`",
            todo="Name the column: --column consent=COLUMN, or `columns` in [metadata]. If none of them does, "
            "rename them.",
        )
    return named[0] if named else None


def _check_consent(column: str, name: str, called: str) -> None:
    """Whether a table's column may be called so: none that speaks of consent is taken away unseen.

    Raises:
        ConfigError: it may not.
    """
    if name != "consent" and consent_columns.speaks_of_consent(column):
        raise ConfigError(
            f"the column '{called}' speaks of consent and cannot be `{name}`",
            where="columns",
            todo="Correct `columns` in [metadata] (--column), or rename the column if it says nothing of who consents.",
        )
    if name == "consent" and consent_columns.is_of_refusals(column):
        raise ConfigError(
            f"a yes in the column '{called}' takes a consent back: it cannot be `consent`",
            where="columns",
            todo="Leave it as it is: it keeps out whom it names. If a yes in it is a consent, rename it.",
        )
