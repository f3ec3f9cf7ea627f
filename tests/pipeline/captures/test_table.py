"""Tables as rows of text: no row loses a cell unseen."""

from __future__ import annotations

import pytest

from mimicme.pipeline.captures.consent import ConsentRules
from mimicme.pipeline.captures.metadata import parse_subjects
from mimicme.pipeline.captures.table import parse
from mimicme.pipeline.errors import InputError

HEAD = "subject,age,note,consent\n"


def rows(text: str) -> list[list[str]]:
    return [cells for _, cells in parse(text.encode(), "t.csv", "table", lambda cells: True, [])]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEAD + "S0,3,,yes\nS1;30;;no\n", "line 3 is one cell that holds semicolons"),
        (HEAD + "S1\t30\t\tno\n", "line 2 is one cell that holds tabs"),
        (HEAD + '"S1";"30";"";"no"\n', "line 2 is one cell that holds semicolons"),
        (HEAD + '"S1,30,,no"\n', "line 2 is one cell that holds commas"),
        (HEAD + "S1;30;;no,,,\n", "line 2 is one cell that holds semicolons"),
        (HEAD + "S1;30,5;;no\n", "line 2 has semicolons between its cells, the header commas"),
        (HEAD + "S1,30;;no\n", "line 2 has semicolons between its cells, the header commas"),
        (HEAD.replace(",", ";") + "S1,30,1,no\n", "line 2 is one cell that holds commas"),
        (HEAD.replace(",", ";") + "S1,30,1,0\n", "line 2 is one cell that holds commas"),
        (HEAD.replace(",", "\t") + "S1;30;;no\n", "line 2 is one cell that holds semicolons"),
    ],
)
def test_a_row_with_another_delimiter_than_the_header_is_an_error(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        rows(text)
    with pytest.raises(InputError, match=said):
        parse_subjects(text.encode(), rules=ConsentRules(missing="include"))


@pytest.mark.parametrize(
    ("text", "last"),
    [
        (HEAD + "S1,30\n", ["S1", "30"]),
        (HEAD + "S1\n", ["S1"]),
        (HEAD + "S1,30,a; b; c,yes\n", ["S1", "30", "a; b; c", "yes"]),
        (HEAD + 'S1,"30; 31"\n', ["S1", "30; 31"]),
        (HEAD.replace(",", ";") + "S1;30,5\n", ["S1", "30,5"]),
        (HEAD.replace(",", ";") + "S1;30,5;;\n", ["S1", "30,5", "", ""]),
        (HEAD + 'S1,30,"two\nlines",yes\n', ["S1", "30", "two\nlines", "yes"]),
        (HEAD + 'S1,30,5" tall,yes', ["S1", "30", '5" tall', "yes"]),
        ("subject\nDoe; J\n", ["Doe; J"]),
    ],
)
def test_a_row_may_lack_its_last_cells_and_hold_other_signs(text: str, last: list[str]) -> None:
    assert rows(text)[-1] == last


def test_a_quote_that_is_not_closed_swallows_nobody() -> None:
    with pytest.raises(InputError, match="line 3 has a quote that is not closed"):
        rows(HEAD + 'S1,30,,yes\nS2,30,"a note,yes\nS3,31,,no\n')


def test_a_long_cell_is_an_error() -> None:
    with pytest.raises(InputError, match="line 2 has a cell of more than 4096 characters"):
        rows(HEAD + "S1,30," + "x" * 4097 + ",yes\n")
