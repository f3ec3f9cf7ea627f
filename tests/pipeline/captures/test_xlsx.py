"""A workbook says what its CSV would; what it leaves open keeps people out."""

from __future__ import annotations

import datetime
import io
import re
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
from openpyxl import Workbook
from openpyxl.cell.rich_text import CellRichText, TextBlock
from openpyxl.cell.text import InlineFont
from openpyxl.styles import Font

from mimicme.pipeline.captures import xlsx
from mimicme.pipeline.captures.consent import ConsentRules
from mimicme.pipeline.captures.expressions import read_mapping
from mimicme.pipeline.captures.metadata import parse_subjects
from mimicme.pipeline.errors import InputError, MissingDependencyError

ROWS = [
    ["subject", "age", "gender", "consent"],
    ["S1", 31, "f", "yes"],
    ["S2", 4.5, "m", "no"],
    [3, None, None, True],
    ["S4", 20, "x", False],
    ["S5", 20, "x", None],
    ["S6", 20, "x", 1],
    ["S7", 20, "x", "ja"],
]
CSV = b"""subject,age,gender,consent
S1,31,f,yes
S2,4.5,m,no
3,,,TRUE
S4,20,x,FALSE
S5,20,x,
S6,20,x,1
S7,20,x,ja
"""


def book(rows, **sheets):
    """A workbook as bytes; further sheets by title."""
    made = Workbook()
    made.active.title = "people"
    for row in rows:
        made.active.append(row)
    for title, content in sheets.items():
        sheet = made.create_sheet(title)
        for row in content:
            sheet.append(row)
    file = io.BytesIO()
    made.save(file)
    return file.getvalue()


def changed(data, part, change):
    """The workbook with one of its parts changed."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for member in old.infolist():
            content = old.read(member)
            new.writestr(member.filename, change(content) if member.filename == part else content)
    return out.getvalue()


SHEET = "xl/worksheets/sheet1.xml"


@pytest.mark.parametrize("missing", ["exclude", "include"])
def test_a_workbook_says_what_its_csv_says(missing):
    rules = ConsentRules(missing=missing)
    one, other = parse_subjects(book(ROWS), "t", rules), parse_subjects(CSV, "t", rules)
    assert one == other
    out = ["S2", "S4", "S7"] + (["S5"] if missing == "exclude" else [])
    assert sorted(one.excluded) == sorted(out)


def test_dates_and_whole_numbers_are_as_a_csv_has_them():
    born = datetime.datetime(1990, 5, 1)
    table = parse_subjects(book([["subject", "scanned", "age", "n"], [7.0, born, born, 2.5]]))
    assert table.rows == {"7": {"scanned": "1990-05-01", "n": "2.5"}}
    assert "date of birth" in " ".join(table.messages)


def test_empty_rows_and_columns_around_a_table():
    table = parse_subjects(
        book([[], [], [None, "subject", "consent"], [], [None, "S1", "no"], [None, None, None]])
    )
    assert "line 5" in table.excluded["S1"]


@pytest.mark.parametrize("missing", ["exclude", "include"])
@pytest.mark.parametrize("formula", ['="yes"', "=TRUE", '=IF(A2="S1","given","withdrawn")'])
def test_a_formula_without_a_value_is_no_yes(formula, missing):
    data = book([["subject", "consent", "age"], ["S1", formula, "=30+1"], ["S2", "yes", 3]])
    table = parse_subjects(data, rules=ConsentRules(missing=missing))
    assert list(table.excluded) == ["S1"]
    assert "(no value: a formula)" in table.excluded["S1"]
    assert "age" not in table.rows["S1"]


def test_nor_does_it_leave_a_yes_alone_where_it_may_take_it_back():
    data = book(
        [["subject", "consent", "withdrawn", "agreed"], ["A", "yes", "=1", None], ["B", "yes", None, "=1"]]
    )
    assert list(parse_subjects(data).excluded) == ["A", "B"]


def test_the_value_that_a_formula_had_counts():
    data = book([["subject", "consent"], ["S1", '="yes"'], ["S2", '="no"']])
    values = iter([b"yes", b"no"])

    def computed(content):
        content, count = re.subn(
            rb'<c r="(B\d)"><f>(.*?)</f><v ?/?>(?:</v>)?</c>',
            lambda m: b'<c r="%b" t="str"><f>%b</f><v>%b</v></c>' % (m[1], m[2], next(values)),
            content,
        )
        assert count == 2
        return content

    assert list(parse_subjects(changed(data, SHEET, computed)).excluded) == ["S2"]


def test_a_subject_by_a_formula_without_a_value_is_an_error():
    with pytest.raises(InputError, match="line 2 names no subject"):
        parse_subjects(book([["subject", "age"], ["=A1", 3]]))


def test_the_sheet_with_the_table_is_read_and_the_others_are_said():
    table = parse_subjects(book([["Project", "x"]], data=ROWS, empty=[]), "t.xlsx")
    assert table.rows["S1"]["age"] == 31
    assert "t.xlsx: the sheet 'data' is read; not read: people." in table.messages


@pytest.mark.parametrize("other", [[["ID", "age"], ["S1", 3]], [["Code", "Consent given"], ["S1", "no"]]])
def test_two_sheets_of_subjects_or_consents_are_an_error(other):
    with pytest.raises(InputError, match="which sheet has the metadata table.*people, more"):
        parse_subjects(book([["subject", "age"], ["S1", 3]], more=other))


def test_no_sheet_has_a_table():
    with pytest.raises(InputError, match="which sheet"):
        parse_subjects(book([["a"]], more=[["b"]]))
    with pytest.raises(InputError, match="empty"):
        parse_subjects(book([]))
    with pytest.raises(InputError, match="no column `subject`"):
        parse_subjects(book([["a", "b"], [1, 2]]))


def test_sizes_are_checked_before_anything_is_unpacked(monkeypatch):
    bomb = changed(book(ROWS), SHEET, lambda content: content + b" " * (xlsx.MAX_UNPACKED + 1))
    assert len(bomb) < 1 << 20
    with pytest.raises(InputError, match="too large"):
        parse_subjects(bomb)
    monkeypatch.setattr(xlsx, "MAX_MEMBERS", 2)
    with pytest.raises(InputError, match="too large"):
        parse_subjects(book(ROWS))


@pytest.mark.parametrize("place", ["A100001", "A2000000000", "AMZ9", "XFD9", "ALN9"])
def test_a_cell_far_away_is_no_table(place):
    far = b'<row r="%d"><c r="%b"><v>1</v></c></row></sheetData>' % (
        int(re.sub(r"\D", "", place)),
        place.encode(),
    )
    with pytest.raises(InputError, match=r"too large|cannot be read as XLSX"):
        parse_subjects(changed(book(ROWS), SHEET, lambda content: content.replace(b"</sheetData>", far)))


def test_a_document_type_is_refused():
    head = b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/hostname">]>'
    data = changed(book(ROWS), SHEET, lambda content: head + content)
    with pytest.raises(InputError, match="document type"):
        parse_subjects(data)
    wide = changed(book(ROWS), "xl/styles.xml", lambda content: (head + b"<a/>").decode().encode("utf-16"))
    with pytest.raises(InputError, match="document type"):
        parse_subjects(wide)


@pytest.mark.parametrize("name", ["xl/sheet.bin", "xl/worksheets/SHEET1.XML", "a.png"])
def test_a_document_type_is_refused_under_every_name(name):
    head = b'<!DOCTYPE x [<!ENTITY a "yes">]>'
    moved = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(book(ROWS))) as old, zipfile.ZipFile(moved, "w") as new:
        for member in old.infolist():
            content = old.read(member).replace(f"/{SHEET}".encode(), f"/{name}".encode())
            its = member.filename == SHEET
            new.writestr(name if its else member.filename, head + content if its else content)
    with pytest.raises(InputError, match=f"document type.*seen {name}"):
        parse_subjects(moved.getvalue())


def test_a_long_cell_is_an_error_where_the_table_is():
    rows = [["subject", "note"], ["S1", "x"], ["S2", " " * 5000 + "y"]]
    with pytest.raises(InputError, match="line 3 has a cell of more than 4096 characters"):
        parse_subjects(book(rows))
    assert parse_subjects(book([["subject", "age"], ["S1", 3]], notes=[["z" * 5000]])).rows == {
        "S1": {"age": 3}
    }


def shared(text, rows, columns):
    """A workbook with a column of subjects and cells that are all one text."""
    cells = "<row>" + '<c t="s"><v>0</v></c>' * columns + "</row>"
    head = '<row><c t="inlineStr"><is><t>subject</t></is></c></row>'
    data = changed(
        book([["subject"]]),
        SHEET,
        lambda content: re.sub(
            b"<sheetData>.*</sheetData>", f"<sheetData>{head}{cells * rows}</sheetData>".encode(), content
        ),
    )
    space = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"
    part = f'<Override PartName="/xl/sharedStrings.xml" ContentType="{kind}"/></Types>'.encode()
    data = changed(data, "[Content_Types].xml", lambda content: content.replace(b"</Types>", part))
    file = io.BytesIO(data)
    with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as made:
        made.writestr(
            "xl/sharedStrings.xml",
            f'<sst xmlns="{space}"><si><t xml:space="preserve">{text}</t></si></sst>',
        )
    return file.getvalue()


def test_a_long_text_that_many_cells_share_takes_no_memory():
    import tracemalloc

    data = shared("y" + " " * (1 << 20), 2, 200)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="line 2 has a cell of more than"):
            parse_subjects(data)
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()


def test_a_sheet_has_no_more_characters_than_a_csv_may_have(monkeypatch):
    data = shared("y" * 4000 + " ", 4, 10)
    monkeypatch.setattr(xlsx, "MAX_UNPACKED", 1 << 17)
    with pytest.raises(InputError, match=r"too large; seen [\d,]+ characters"):
        parse_subjects(data)


@pytest.mark.parametrize("cell", ["S1;30;no", "S1,30,no", "S1\t30\tno"])
def test_a_row_in_one_cell_is_an_error(cell):
    with pytest.raises(InputError, match="line 2 is one cell that holds"):
        parse_subjects(book([["subject", "age", "consent"], [cell, None, None]]))


def test_other_workbooks_are_named():
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
    with pytest.raises(InputError, match="no XLSX workbook.*Save it as XLSX or CSV"):
        parse_subjects(archive.getvalue())
    with pytest.raises(InputError, match="old or an encrypted workbook"):
        parse_subjects(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(512))
    with pytest.raises(InputError, match="no XLSX workbook"):
        parse_subjects(book(ROWS)[:300])
    with pytest.raises(InputError, match="cannot be read as XLSX"):
        parse_subjects(changed(book(ROWS), SHEET, lambda content: content[:-40]))


def test_without_openpyxl_the_way_out_is_said(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(MissingDependencyError, match="save the table as CSV"):
        parse_subjects(book(ROWS))


def test_expressions_may_be_a_workbook_or_have_other_delimiters(tmp_path):
    rows = [["Sequence", "Expression"], ["E01", "smile"], [2, "pain"]]
    (tmp_path / "a.xlsx").write_bytes(book(rows))
    (tmp_path / "a.tsv").write_text("\n".join("\t".join(map(str, row)) for row in rows))
    assert (
        read_mapping(tmp_path / "a.xlsx") == read_mapping(tmp_path / "a.tsv") == {"e01": "smile", "2": "pain"}
    )


def _struck(edit: Callable[[Any], None]) -> bytes:
    workbook = Workbook()
    for row in (["subject", "age", "consent"], ["S1", 30, True], ["S2", 31, "yes"]):
        workbook.active.append(row)
    edit(workbook.active)
    data = io.BytesIO()
    workbook.save(data)
    return data.getvalue()


def _cell(sheet: Any) -> None:
    sheet["A3"].font = Font(strike=True)


def _row(sheet: Any) -> None:
    sheet.row_dimensions[3].font = Font(strike=True)


def _part_of_a_text(sheet: Any) -> None:
    sheet["C3"] = CellRichText("given, ", TextBlock(InlineFont(strike=True), "yes"))


@pytest.mark.parametrize("edit", [_cell, _row, _part_of_a_text])
def test_a_row_that_is_struck_through_is_asked_about(edit: Callable[[Any], None]) -> None:
    with pytest.raises(InputError, match=r"struck through.*seen lines 3.*`withdrawn`"):
        parse_subjects(_struck(edit))


@pytest.mark.parametrize("at", ["B3", "B1", "A1"])
def test_an_age_or_a_head_that_is_struck_through_says_nothing_of_a_person(at: str) -> None:
    def edit(sheet: Any) -> None:
        sheet[at].font = Font(strike=True)

    assert not parse_subjects(_struck(edit)).excluded
