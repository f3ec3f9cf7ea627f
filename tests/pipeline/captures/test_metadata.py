"""The subjects table: what it may look like, what of it enters a release, what is refused with the line."""

from __future__ import annotations

import pytest

from mimicme.pipeline.captures.consent import ConsentRules
from mimicme.pipeline.captures.metadata import SubjectTable, parse_subjects, read_subjects
from mimicme.pipeline.errors import ConfigError, InputError

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
    assert table.messages[1:] == (
        "metadata: what stands in device goes into the release as it is; none of it may identify a person.",
    )
    for column in ("full_name", "e_mail", "date_of_birth"):
        assert column in table.messages[0]
    assert "Doe" not in repr(table)


def test_of_german_tables_too_what_names_a_person_stays_out() -> None:
    head = "Proband;Vorname;Nachname;Geburtsdatum;Straße;Tel.-Nr.;Prénom;Fecha de nacimiento;Ethnie;Geschlecht;Größe"
    table = parse_subjects(
        f"{head}\nP1;Anna;Muster;1.2.1990;Weg 1;0123;A;x;y;weiblich;1,72\n".encode(), "t.csv"
    )
    assert table.rows == {"P1": {"ethnicity": "y", "gender": "weiblich", "größe": "1,72"}}
    assert "t.csv: what stands in größe goes into the release as it is" in " ".join(table.messages)


def test_an_empty_consent_and_a_missing_row_keep_out_unless_that_is_said() -> None:
    data = b"subject,consent\nS1,yes\nS2,\nS3,no\n"
    captured = ("S1", "S2", "S3", "S4")
    table = parse_subjects(data).matched(captured)
    assert sorted(table.excluded) == ["S2", "S3", "S4"] and not table.notices
    assert "its consent is empty (line 3)" in table.excluded["S2"]
    assert "has no row" in table.excluded["S4"]
    table = parse_subjects(data, rules=ConsentRules(missing="include")).matched(captured)
    assert list(table.excluded) == ["S3"]
    assert table.notices == (
        'consent_missing = "include": worked on without a consent in the table: S2, S4.',
    )
    header_alone = parse_subjects(b"subject,consent\n").matched(["S1"])
    assert list(header_alone.excluded) == ["S1"]


@pytest.mark.parametrize("data", [b"subject,age\nS1,3\n", b"subject\nS1\n"])
def test_without_a_column_of_consents_nobody_is_kept_out_and_that_is_said(data: bytes) -> None:
    table = parse_subjects(data).matched(["S1", "S2"])
    assert not table.excluded
    assert "no column `consent`: everybody is worked on" in table.notices[0]


@pytest.mark.parametrize(
    "name", ["Informed consent", "consent_given", "agreed", "consent (y/n)", "Einwilligung"]
)
def test_the_only_column_that_speaks_of_consent_is_the_consent(name: str) -> None:
    table = parse_subjects(f"subject,{name}\nS1,no\nS2,yes\n".encode())
    assert list(table.excluded) == ["S1"]
    assert "is read as `consent`" in table.messages[0]


def test_further_columns_that_speak_of_consent_may_take_it_back() -> None:
    table = parse_subjects(
        b"subject,consent,consent date,agreed,withdrawn\n"
        b"A,yes,2024-01-01,yes,\nB,yes,,no,\nC,yes,,,2024-05-01\nD,yes,,,no\n"
    )
    assert list(table.excluded) == ["B", "C"]
    assert "its withdrawn is '2024-05-01' (line 4)" in table.excluded["C"]
    alone = parse_subjects(b"subject,withdrawn\nA,\nB,yes\n")
    assert list(alone.excluded) == ["B"]
    (said,) = alone.matched(["A", "B"]).notices
    assert "everybody whom no other column keeps out is worked on" in said
    with pytest.raises(InputError, match="which column says who consents"):
        parse_subjects(b"subject,consent to scan,consent to publish\nA,yes,no\n")


@pytest.mark.parametrize("name", ["no consent", "consent_withdrawn", "Einwilligung widerrufen", "NoConsent"])
def test_a_yes_in_the_only_column_of_consent_may_be_a_refusal(name: str) -> None:
    table = parse_subjects(f"subject,{name}\nA,yes\nB,no\nC,\nD,maybe\n".encode())
    assert sorted(table.excluded) == ["A", "D"]
    assert not table.has_consent
    assert not any("is read as" in said for said in table.messages)


@pytest.mark.parametrize(
    "name", ["consent_version", "consent date", "Datenschutz", "consent to publish", "consents"]
)
def test_what_merely_speaks_of_consent_is_asked_about(name: str) -> None:
    data = f"subject,{name}\nA,yes\nB,no\n".encode()
    with pytest.raises(InputError, match=r"which column says who consents.*--column consent=COLUMN"):
        parse_subjects(data)
    assert list(parse_subjects(data, columns={"consent": name}).excluded) == ["B"]


def test_agreeableness_has_nothing_to_do_with_consent() -> None:
    assert not parse_subjects(b"subject,consent,agreeableness\nA,yes,2\n").excluded
    assert not parse_subjects(b"subject,agreeableness\nA,no\n").has_consent


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        ("einwilligung", "nein"), ("consent_release", "2"), ("consent to publish", "maybe"), ("consent date", "-"),
        ("consent date", "withdrawn 2024-05-01"), ("consent form", "2"), ("consent version", "0"),
        ("consent rescinded", "ja"), ("declined", "x"), ("zurückgezogen", "2024-05-01"), ("consent expires", "2020"),
        ("no_consent", "yes"), ("not_withdrawn", "no"), ("status", "withdrawn"), ("status", "Opted out 2024-05-01"),
        ("status", "Widerrufen"), ("status", "has withdrawn"), ("status", "participant withdrew by e-mail"),
        ("Notes", "came twice; opted out 2024-05-01"), ("comment", "consent was refused"),
        ("Bemerkung", "hat die Einwilligung widerrufen"), ("remarks", "declined consent for publication"),
    ],
)  # fmt: skip
def test_whatever_is_not_plainly_a_yes_beside_a_consent_keeps_out(column: str, cell: str) -> None:
    table = parse_subjects(f"subject,consent,{column}\nA,yes,{cell}\nB,yes,\n".encode())
    assert list(table.excluded) == ["A"]
    assert f"is '{cell}' (line 2)" in table.excluded["A"]


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        ("einwilligung", "yes"), ("consent date", "3 May 2024"), ("consent_version", "2.1"), ("agreed", "given 2024"),
        ("einwilligung widerrufen", "nein"), ("withdrawn", "no"), ("status", "complete"), ("status", "2"),
        ("status", "session cancelled and repeated"), ("consent_yes_no", "yes"),
        ("notes", "refused to take glasses off"),
        ("notes", "declined the second session"), ("comment", "consent form signed"),
    ],
)  # fmt: skip
def test_what_leaves_a_consent_as_it_is(column: str, cell: str) -> None:
    table = parse_subjects(f"subject,consent,{column}\nA,yes,{cell}\n".encode())
    assert not table.excluded
    assert not [said for said in table.messages if "goes into the release as it is" not in said]


def test_a_further_column_that_is_not_understood_is_said_once_with_the_way_out() -> None:
    table = parse_subjects(b"subject,consent,consent language\nA,yes,de\nB,yes,en\n")
    assert list(table.excluded) == ["A", "B"]
    enters, said = table.messages
    assert "what stands in consent_language goes into the release" in enters
    assert "the column `consent_language` speaks of consent; what it says of A, B is not understood" in said
    assert "Only an empty cell or a yes leaves a consent as it is" in said and "rename it" in said


def test_a_name_in_a_further_column_is_not_repeated() -> None:
    table = parse_subjects(b"subject,consent,consent signature\nA,yes,Jo Doe\n")
    assert list(table.excluded) == ["A"] and "Doe" not in repr(table)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"gender": "consent"}, "'consent' speaks of consent and cannot be `gender`"),
        ({"split": "Einwilligung"}, "'Einwilligung' speaks of consent"),
        ({"age": "withdrawn"}, "'withdrawn' speaks of consent"),
        ({"consent": "withdrawn"}, "takes a consent back"),
        ({"age": "x", "gender": "X"}, "cannot be both `age` and `gender`"),
    ],
)
def test_a_column_of_consent_is_not_taken_away_unseen(columns: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_subjects(b"subject,consent,einwilligung,withdrawn,x\nA,no,no,yes,1\n", columns=columns)


@pytest.mark.parametrize(
    "name",
    [
        "Proband", "Probandennummer", "Probanden-Nr.", "Teilnehmer", "Teilnehmer ID", "VP", "VP_Nr", "Versuchsperson",
        "sujet", "participant", "N\u00b0 sujet", "Num\u00e9ro sujet", "sujeto", "Participante", "Subject No.",
    ],
)  # fmt: skip
def test_subjects_are_called_so_in_other_languages(name: str) -> None:
    table = parse_subjects(f"{name},age\nS1,3\n".encode())
    assert table.rows == {"S1": {"age": 3}}
    assert table.messages == (f"metadata: the column '{name}' is read as `subject`.",)


def test_of_several_columns_of_subjects_the_usual_one_counts() -> None:
    assert list(parse_subjects(b"ID,participant_id\n9,S1\n").rows) == ["S1"]


def test_who_has_withdrawn_is_not_named_whatever_the_table_says() -> None:
    data = b"subject,consent\nS007,no\ns8,yes\n"
    table = parse_subjects(data).matched(["S008"], withdrawn=lambda name: name in ("S007",))
    assert "S007" not in repr((table.rows, table.excluded, table.doubts, table.without_captures))
    assert table.excluded == {} and table.compare(["S008"]) == []


def test_a_refusal_is_matched_up_to_case_zeros_and_prefix() -> None:
    data = b"subject,age,consent\n1,30,no\n2,31,yes\nsub-s03,32,withdrawn\n"
    table = parse_subjects(data).matched(["001", "subject_2", "S3"])
    assert sorted(table.excluded) == ["001", "S3"]
    assert (
        table.excluded["001"] == "Subject '001' (the table's '1') is left out: its consent is 'no' (line 2)."
    )
    assert table.attributes("subject_2")["age"] == 31
    assert table.compare(["subject_2"]) == []


def test_two_that_match_are_an_error_that_names_both() -> None:
    table = parse_subjects(b"subject,consent\n1,no\n")
    with pytest.raises(InputError, match="two capture folders may be one person; seen '001' and '01'"):
        table.matched(["01", "001"])
    with pytest.raises(InputError, match="two rows of the table may be one person; seen '1' and '001'"):
        parse_subjects(b"subject,consent\n1,no\n001,yes\n").matched(["001"])


def test_who_may_be_somebody_that_refuses_is_kept_out_until_somebody_says() -> None:
    data = b"subject,consent\nS01l,no\nS002,yes\nX9,no\n"
    rules = ConsentRules(missing="include")
    table = parse_subjects(data, rules=rules).matched(["S011", "S002"])
    assert sorted(table.excluded) == ["S011", "S01l", "X9"]
    (doubt,) = table.doubts
    assert "'S011'" in doubt and "'S01l'" in doubt and 'not_same = [["S01l", "S011"]]' in doubt
    assert table.without_captures == ("X9",)
    assert any("no captures here: X9" in said for said in table.compare(["S002"]))
    settled = parse_subjects(data, rules=ConsentRules((), "include", (("S01l", "S011"),)))
    assert "S011" not in settled.matched(["S011", "S002"]).excluded
    # whose own row says yes is nobody else
    assert not parse_subjects(b"subject,consent\nS001,no\nS002,yes\n").matched(["S002"]).doubts


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


def test_usual_names_of_columns_are_recognised_and_said() -> None:
    table = parse_subjects(b"Participant ID,Sex,Age (years),Race\nS1,f,31,x\n")
    assert table.rows["S1"] == {"gender": "f", "age": 31, "ethnicity": "x"}
    assert [m.partition("column ")[2] for m in table.messages] == [
        "'Participant ID' is read as `subject`.",
        "'Age (years)' is read as `age`.",
        "'Sex' is read as `gender`.",
        "'Race' is read as `ethnicity`.",
    ]
    assert parse_subjects(b"subject,sex,gender\nS1,f,w\n").rows["S1"] == {"sex": "f", "gender": "w"}


def test_columns_can_be_named() -> None:
    data = b"Code,Wie alt?,id,OK\nS1,31,7,ja\nS2,44,8,nein\n"
    names = {"subject": "Code", "age": "wie alt", "consent": "OK"}
    table = parse_subjects(data, rules=ConsentRules(yes=("ja",)), columns=names)
    assert table.rows["S1"] == {"age": 31, "id": "7", "consent": "ja"}
    assert list(table.excluded) == ["S2"]
    assert "the column 'Wie alt?' is read as `age`" in " ".join(table.messages)


@pytest.mark.parametrize(
    ("columns", "kind", "said"),
    [
        ({"age": "Alter"}, InputError, "no column 'Alter' for `age`; seen Code, consent, date of birth, ok"),
        ({"age": "date of birth"}, InputError, "can identify a person"),
        ({"consent": "ok"}, InputError, "more than once; seen consent"),
        ({"site": "ok"}, ConfigError, "no `site`"),
    ],
)
def test_columns_that_cannot_be_so_named(columns: dict[str, str], kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        parse_subjects(
            b"Code,consent,date of birth,ok\nS1,no,2000-01-01,yes\n", columns={"subject": "Code"} | columns
        )


def test_subjects_who_are_named_by_their_names_are_told() -> None:
    table = parse_subjects(b"Name,age\nS1,3\n", columns={"subject": "Name"})
    assert list(table.rows) == ["S1"]
    assert "can identify a person; as `subject` it enters a release" in table.messages[0]


def test_ages_are_checked_and_what_is_none_is_said() -> None:
    cells = ["23y", "20-29", "1990-05-01", "130", "-1", "n/a", "31", "old"]
    text = "subject,age\n" + "".join(f"S{k},{cell}\n" for k, cell in enumerate(cells))
    table = parse_subjects(text.encode(), "t.csv")
    ages = [table.rows[f"S{k}"].get("age") for k in range(len(cells))]
    assert ages == [23, "20-29", None, None, None, None, 31, "old"]
    assert table.attributes("S2")["age"] == "unknown"
    said = " ".join(table.messages)
    assert "1990" not in said and "read as years: S0 (line 2)" in said
    assert "kept as the text it is: S1 (line 3), S7 (line 9)" in said
    assert "date of birth is no age, identifies a person and is left out: S2 (line 4)" in said
    assert "not from 0 to 120 is left out: S3 (line 5), S4 (line 6)" in said


def test_spellings_that_may_be_one_are_said_and_kept() -> None:
    table = parse_subjects(b"subject,gender,ethnicity\nA,M,Asian\nB,male,asian \nC,Male,white\nD,f,White-\n")
    assert [table.rows[s]["gender"] for s in "ABCD"] == ["M", "male", "Male", "f"]
    assert table.messages == (
        "metadata: `gender` has 'M', 'male', 'Male', which may be one; each is kept as it is written.",
        "metadata: `ethnicity` has 'Asian', 'asian', which may be one; each is kept as it is written.",
        "metadata: `ethnicity` has 'white', 'White-', which may be one; each is kept as it is written.",
    )
    (coded,) = parse_subjects(b"subject,gender\nA,1\nB,2\n").messages
    assert "`gender` has numbers (1, 2)" in coded
    assert not parse_subjects(b"subject,gender\nA,female\nB,male\nC,\n").messages


def test_many_captures_without_a_row_are_one_sentence() -> None:
    said = parse_subjects(PLAIN.encode()).compare([f"X{k:02d}" for k in range(30)])
    assert len(said) == 12
    assert said[10].startswith("Nor are these in the metadata table: X10, X11")


def test_an_old_code_page_is_read_and_said() -> None:
    table = parse_subjects("subject,site\nS1,Zürich\n".encode("cp1252"))
    assert table.rows["S1"]["site"] == "Zürich"
    assert "Windows-1252" in table.messages[0]


def test_a_subject_with_two_rows_is_named_as_the_table_spells_it() -> None:
    with pytest.raises(
        InputError, match=r"seen 'Jörg #1' in lines 2, 4; 'A b' and 'A_b' in lines 3, 5\. Keep one"
    ):
        parse_subjects("subject,age\nJörg #1,30\nA b,4\nJörg #1,31\nA_b,5\n".encode())
