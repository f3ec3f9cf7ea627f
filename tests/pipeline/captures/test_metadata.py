"""The subjects table: what it may look like, what of it enters a release, what is refused with the line."""

from __future__ import annotations

import pytest

from mimicme.pipeline.captures.metadata import SubjectTable, parse_subjects, read_subjects
from mimicme.pipeline.errors import InputError

PLAIN = "subject,age,gender,ethnicity,consent\nS1,31,female,white,yes\nS2,4.5,male,asian,yes\n"


def test_values_and_missing_ones() -> None:
    table = parse_subjects(PLAIN.encode())
    row = {"age": 31, "gender": "female", "ethnicity": "white", "consent": "yes", "split": "unknown"}
    assert table.attributes("S1") == row
    assert table.attributes("S2")["age"] == 4.5
    assert set(table.attributes("nobody").values()) == {"unknown"}
    assert not table.messages
    assert not table.excluded


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbf" + PLAIN.encode(),
        PLAIN.replace(",", ";").encode(),
        PLAIN.replace(",", "\t").encode("utf-16"),
        ("sep=;\n" + PLAIN.replace(",", ";")).encode(),
        PLAIN.replace("\n", "\r\n").encode(),
        PLAIN.replace("subject,age", "Subject , AGE").encode(),
        ("\n\n" + PLAIN + ",,,,\n\n").encode(),
        PLAIN.replace("gender", "sex").replace("subject", "Participant ID").encode(),
    ],
    ids=["bom", "semicolon", "utf16-tab", "sep-line", "crlf", "case", "blank-lines", "aliases"],
)
def test_dialects_read_alike(data: bytes) -> None:
    assert parse_subjects(data).rows == parse_subjects(PLAIN.encode()).rows


def test_further_columns_are_kept_and_personal_ones_are_not() -> None:
    table = parse_subjects(
        b'subject,Full Name,e-mail,date of birth,Device\nS1,"Doe, Jo",a@b.c,1990-01-01,rig 2\n'
    )
    assert table.columns == ("device",)
    assert table.rows["S1"] == {"device": "rig 2"}
    assert len(table.messages) == 1
    for column in ("full_name", "e_mail", "date_of_birth"):
        assert column in table.messages[0]
    assert "Doe" not in repr(table)


@pytest.mark.parametrize(
    "word", ["no", "No", "N", "0", "false", "withdrawn 2024-05-01", "WITHDRAWN", "not given"]
)
def test_refusals_are_excluded(word: str) -> None:
    table = parse_subjects(f"subject,consent\nS1,{word}\nS2,yes\n".encode())
    assert list(table.excluded) == ["S1"]
    assert "line 2" in table.excluded["S1"]


@pytest.mark.parametrize("word", ["yes", "Y", "given", "", "research only", "nominal"])
def test_other_words_are_not(word: str) -> None:
    assert not parse_subjects(f"subject,consent\nS1,{word}\n".encode()).excluded


@pytest.mark.parametrize("word", ["nein", "maybe", "2024-01-01", "да"])
def test_a_consent_that_is_not_understood_is_said_to_let_the_subject_in(word: str) -> None:
    table = parse_subjects(f"subject,consent\nS1,yes\nS2,{word}\nS3,{word}\nS4,no\n".encode())
    assert list(table.excluded) == ["S4"]
    first, second, words = table.messages
    for said, subject, line in ((first, "S2", 3), (second, "S3", 4)):
        assert f"Subject '{subject}': consent '{word}' (line {line}) is not understood" in said
        assert "does NOT keep the subject out" in said
        assert "enters the release" in said
    let_in, keep_out = words.split(";")
    assert "yes, y, true, 1, given, granted, signed, full let a subject in" in let_in
    for refusal in ("no", "false", "withdrawn", "revoked", "pending"):
        assert f" {refusal}," in keep_out or f" {refusal} keep" in keep_out


@pytest.mark.parametrize("word", ["yes", "signed 2024-01-01", "", "no", "withdrawn 2024-05-01"])
def test_nothing_is_said_of_a_consent_that_is_understood(word: str) -> None:
    assert parse_subjects(f"subject,consent\nS1,{word}\n".encode()).messages == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("subject,age\nS1,3\nS2,4\nS1,5\n", "lines 2, 4"),
        ("subject,age\nS1,3,4\n", "line 2"),
        ("subject,age\n,3\n", "line 2"),
        ("subject,age,AGE\nS1,3,4\n", "age"),
        ("person,age\nS1,3\n", "person, age"),
        ("", "empty"),
        ("subject\nS\0\n", "NUL"),
    ],
)
def test_errors_name_the_place(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        parse_subjects(text.encode())


def test_a_file_that_is_not_there(tmp_path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_subjects(tmp_path / "none.csv")


def test_comparison_with_the_captures() -> None:
    table = parse_subjects(PLAIN.encode())
    said = table.compare(["s1", "S2", "X"])
    assert any("'s1'" in s and "'S1'" in s for s in said)
    assert any("'X'" in s for s in said)
    assert any("without captures: S1" in s for s in said)
    assert table.compare(["S1", "S2"]) == []
    refused = parse_subjects(b"subject,consent\nS1,yes\nS2,no\n")
    assert refused.compare(["S1"]) == []  # whether S2 has captures is not known: nobody lists them
    assert SubjectTable().compare(["S1"]) == []


def test_an_old_code_page_is_read_and_said() -> None:
    table = parse_subjects("subject,site\nS1,Zürich\n".encode("cp1252"))
    assert table.rows["S1"]["site"] == "Zürich"
    assert "Windows-1252" in table.messages[0]
