"""What a cell says of consent: a yes and nothing else lets somebody in."""

from __future__ import annotations

import datetime

import pytest

from mimicme.pipeline.captures import consent
from mimicme.pipeline.captures.consent import ConsentRules
from mimicme.pipeline.captures.metadata import parse_subjects
from mimicme.pipeline.errors import ConfigError


@pytest.mark.parametrize(
    "word", ["no", "No", "N", "0", "false", "withdrawn 2024-05-01", "WITHDRAWN", "not given"]
)
def test_refusals_are_excluded(word: str) -> None:
    table = parse_subjects(f"subject,consent\nS1,{word}\nS2,yes\n".encode())
    assert list(table.excluded) == ["S1"]
    assert "line 2" in table.excluded["S1"]


@pytest.mark.parametrize(
    "word",
    ["yes", "Y", "given", "signed 2024-01-01", "1", "full", "Yes.", "given on 3 May 2024", "signed (form 2)"],
)
def test_a_yes_lets_the_subject_in(word: str) -> None:
    table = parse_subjects(f"subject,consent\nS1,{word}\n".encode())
    assert not table.excluded and not table.messages


@pytest.mark.parametrize(
    "word", ["full withdrawal", "given 2019, revoked 2023", "yes - no longer", "agreed: no", "\u200bno"]
)
def test_a_refusal_counts_wherever_it_stands(word: str) -> None:
    assert list(parse_subjects(f'subject,consent\nS1,"{word}"\n'.encode()).excluded) == ["S1"]


@pytest.mark.parametrize(
    "word",
    [
        "nein",
        "maybe",
        "2024-01-01",
        "да",
        "research only",
        "nominal",
        "yes - opted out",
        "signed; rescinded",
        "given 2019 cancelled 2023",
        "given Widerruf 2023",
        "yes (expires 2020)",
        "y/n",
        "Y (N)",
        "1 -> 0",
        "yes?",
        "-1",
        "отказ; signed 2019",
        "撤回 1",
        "❌ yes",
        "1 0",
    ],
)
def test_a_consent_that_is_not_understood_keeps_the_subject_out(word: str) -> None:
    data = f"subject,consent\nS1,yes\nS2,{word}\nS3,{word}\nS4,no\n".encode()
    table = parse_subjects(data)
    assert list(table.excluded) == ["S2", "S3", "S4"]
    assert f"its consent '{word}' is not understood (line 3)" in table.excluded["S2"]
    (words,) = table.messages
    assert "the consent of S2, S3 is not understood and keeps them out." in words and "consent_yes" in words
    assert "A word that is a no needs nothing more." in words
    let_in, keep_out = words.split(";")
    assert let_in.endswith("let a subject in: yes, y, true, 1, given, granted, signed, full")
    for refusal in ("no", "false", "withdrawn", "revoked", "pending"):
        assert f" {refusal}," in keep_out or f" {refusal}." in keep_out
    said_to_be_a_yes = parse_subjects(data, rules=ConsentRules(yes=(word,)))
    assert list(said_to_be_a_yes.excluded) == ["S4"] and not said_to_be_a_yes.messages


def test_a_word_that_sounds_like_a_refusal_is_one_until_it_is_said_to_be_a_yes() -> None:
    data = b"subject,consent\nS1,n/a\n"
    assert list(parse_subjects(data).excluded) == ["S1"]
    assert not parse_subjects(data, rules=ConsentRules(yes=("n/a",))).excluded


def test_a_word_that_is_a_yes_counts_first_or_whole() -> None:
    rules = ConsentRules(yes=("JA", "no restrictions"))
    data = (
        b"subject,consent\nA,ja 2024\nB,no restrictions\nC,no\nD,jawohl\nE,ja - widerrufen\nF,ja withdrawn\n"
    )
    assert list(parse_subjects(data, rules=rules).excluded) == ["C", "D", "E", "F"]


@pytest.mark.parametrize("word", ["", " ", "no", "Withdrawn", "?"])
def test_a_refusal_cannot_be_said_to_be_a_yes(word: str) -> None:
    with pytest.raises(ConfigError, match="cannot be a yes"):
        ConsentRules(yes=(word,))


@pytest.mark.parametrize(
    "word",
    [
        "yes 2019-2021",
        "given 2020 / 2021",
        "yes 01.02.2019 - 01.02.2021",
        "signed 1.2.19-1.2.21",
        "yes 2019-21",
        "1 2",
    ],
)
def test_a_second_date_may_be_the_end_of_a_yes(word: str) -> None:
    assert list(parse_subjects(f'subject,consent\nS1,"{word}"\n'.encode()).excluded) == ["S1"]


@pytest.mark.parametrize(
    "word",
    [
        "yes (signed consent form, version 2, dated 5 May 2021)",
        "signed 2024-05-01 10:30:00",
        "1 (2024-05-01)",
        "yes 2019-05",
    ],
)
def test_one_date_and_the_number_of_a_form_leave_a_yes(word: str) -> None:
    assert not parse_subjects(f'subject,consent\nS1,"{word}"\n'.encode()).excluded


@pytest.mark.parametrize("codes", ["1 2", "0 1 2", "1 9", "1 -1"])
def test_a_one_beside_other_codes_is_no_yes(codes: str) -> None:
    """1 and 2 are yes and no, or no and yes; of 0, 1 and 2 the 1 may be a form that nobody has checked."""
    rows = "".join(f"S{k},{code}\n" for k, code in enumerate(codes.split()))
    data = f"subject,consent\n{rows}Y,yes\n".encode()
    table = parse_subjects(data)
    assert len(table.excluded) == len(codes.split())
    assert any("nobody can know whether 1 is the yes" in said and '["1"]' in said for said in table.messages)
    who = f"S{codes.split().index('1')}"
    assert who not in parse_subjects(data, rules=ConsentRules(yes=("1",))).excluded


def test_a_decimal_one_is_no_yes_whatever_stands_beside_it() -> None:
    rules = ConsentRules(yes=("1",))
    assert list(parse_subjects(b"subject,consent\nA,1.0\nB,2.0\n", rules=rules).excluded) == ["A", "B"]


@pytest.mark.parametrize("codes", ["1 0", "0 1 9", "0 1 99 -9"])
def test_a_one_beside_a_zero_and_missing_codes_is_a_yes(codes: str) -> None:
    rows = "".join(f"S{code},{code}\n" for code in codes.split())
    table = parse_subjects(f"subject,consent\n{rows}".encode())
    assert "S1" not in table.excluded and len(table.excluded) == len(codes.split()) - 1


def test_codes_beside_the_consent_count_alike() -> None:
    table = parse_subjects(b"subject,consent,consent photos\nA,yes,1\nB,yes,2\nC,1,\nD,no,\n")
    assert list(table.excluded) == ["A", "B", "D"]


def test_what_is_said_of_a_one_holds_for_columns_with_its_codes_alone() -> None:
    """Beside a consent of 1 and 2, a permission of 0, 1 and 2 is coded otherwise."""
    rules = ConsentRules(yes=("1",))
    same = b"subject,consent,photo permission\nA,1,1\nB,2,2\n"
    other = b"subject,consent,photo permission\nA,1,1\nB,2,2\nC,1,0\n"
    assert list(parse_subjects(same, rules=rules).excluded) == ["B"]
    table = parse_subjects(other, rules=rules)
    assert list(table.excluded) == ["A", "B", "C"]
    assert any("`photo_permission` has other numbers" in m and "consent_yes" not in m for m in table.messages)


def test_codes_of_a_refusal_are_not_asked_about() -> None:
    data = b"subject,consent,withdrawn\nA,yes,1\nB,yes,2\nC,1,0\n"
    table = parse_subjects(data)
    assert list(table.excluded) == ["A", "B"]
    assert not any("consent_yes" in said for said in table.messages)
    assert list(parse_subjects(data, rules=ConsentRules(yes=("1",))).excluded) == ["A", "B"]


@pytest.mark.parametrize(
    "cell",
    [
        "granted 20190501 20200501", "granted 2019-05-01/20200501", "yes 2019,21", "yes dec 19 jan 21", "yes (19/21)",
        "yes may 19 21", "granted 201905 202005", "yes 5/19 5/21", "yes 2097-01-01", "yes 20970101", "yes 2097",
    ],
)  # fmt: skip
def test_a_second_date_or_one_to_come_is_an_end(cell: str) -> None:
    assert list(parse_subjects(f'subject,consent\nA,"{cell}"\n'.encode()).excluded) == ["A"]


@pytest.mark.parametrize(
    "cell", ["yes 12/19", "yes 5 may 21", "yes may 2021", "signed form 2 version 3 2020", "signed 3. 5. 21", "yes 2"]
)  # fmt: skip
def test_one_date_however_it_is_written(cell: str) -> None:
    assert not parse_subjects(f'subject,consent\nA,"{cell}"\n'.encode()).excluded


def test_a_year_is_to_come_after_today(monkeypatch) -> None:
    monkeypatch.setattr(consent, "_today", lambda: datetime.date(2030, 6, 1))
    assert not parse_subjects(b"subject,consent\nA,yes 2030-06-01\nB,yes 2030\n").excluded
    assert list(parse_subjects(b"subject,consent\nA,yes 2030-06-02\nB,yes 2031\n").excluded) == ["A", "B"]
