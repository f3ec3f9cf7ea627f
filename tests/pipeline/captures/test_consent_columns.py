"""Which columns speak of consent, and what their cells say of it."""

from __future__ import annotations

import unicodedata

import pytest

from mimicme.pipeline.captures import consent_columns as columns
from mimicme.pipeline.captures import consent_remarks as remarks


@pytest.mark.parametrize(
    "name",
    [
        "consent", "Informed consent", "consent_given", "agreed", "consent (y/n)", "Consent (1=yes, 0=no)",
        "Einwilligung", "Einwilligung (ja/nein)", "Einverst\u00e4ndnis", "einverstaendnis", "Zustimmung",
        "consentement \u00e9clair\u00e9", "consentimiento", "consenso informato", "toestemming", "zgoda", "samtycke",
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_plainly_positive_names_are_the_consent(name, form):
    name = unicodedata.normalize(form, name)
    assert columns.is_consent(name) and columns.speaks_of_consent(name)
    assert not columns.is_of_refusals(name)


def test_every_such_name_speaks_of_consent():
    assert [name for name in columns._CONSENT if not columns.speaks_of_consent(name)] == []


@pytest.mark.parametrize(
    "name",
    [
        "consent_withdrawn", "no_consent", "no consent given", "NoConsent", "noconsent", "non-consent", "consentNot",
        "consent_refused", "consent declined", "consent denied", "consent_revoked", "rescinded", "cancelled",
        "revocation", "opt-out", "opted out", "consent expired", "consent end date", "consent valid until",
        "missing consent", "consent_pending", "not agreed", "einwilligung_widerrufen", "keine Einwilligung",
        "nicht eingewilligt", "Einwilligung zur\u00fcckgezogen", "zurueckgezogen", "sans consentement",
        "consentement refus\u00e9", "sin consentimiento", "consentimiento revocado", "disagreed", "Widerspruch",
    ],
)  # fmt: skip
def test_names_of_refusals(name):
    assert columns.is_of_refusals(name) and columns.speaks_of_consent(name)
    assert not columns.is_consent(name)
    assert not columns.leaves_consent(name, "yes", True)
    assert not columns.leaves_consent(name, "2024-05-01", False)
    assert columns.leaves_consent(name, "no", False) and columns.leaves_consent(name, "", False)


@pytest.mark.parametrize(
    "name", ["consent_version", "consent date", "Datenschutz", "consent for photos", "Freigabe"]
)
def test_names_that_merely_speak_of_it(name):
    assert columns.speaks_of_consent(name)
    assert not columns.is_consent(name) and not columns.is_of_refusals(name)


@pytest.mark.parametrize(
    "name", ["agreeableness", "consensus", "age", "status", "nominal", "sentiment", "denim"]
)
def test_names_of_other_things(name):
    assert not columns.speaks_of_consent(name)


@pytest.mark.parametrize("name", ["not_withdrawn", "kein Widerruf", "consent not revoked"])
def test_of_a_denied_refusal_nobody_knows_what_a_cell_means(name):
    assert not any(columns.leaves_consent(name, cell, cell == "yes") for cell in ("yes", "no", "x"))
    assert columns.leaves_consent(name, "", False)
    assert columns.what_leaves_consent(name) == "an empty cell"


@pytest.mark.parametrize(
    ("cell", "date"),
    [
        ("2024-05-01", True), ("2024-05-01 10:30:00", True), ("2024-05-01T10:30Z", True), ("20240501", True),
        ("1.5.2024", True), ("01/05/24", True), ("3 May 2024", True), ("May 3, 2024", True), ("3-Dec-2024", True),
        ("0000-00-00", False), ("9999-12-31", False), ("3 declined 2024", False), ("2024", False),
        ("2024-05-01 withdrawn", False), ("no", False), ("0", False), ("2024-05-01?", False),
    ],
)  # fmt: skip
def test_dates(cell, date):
    assert columns.is_date(cell) is date
    assert columns.leaves_consent("consent date", cell, False) is date
    assert not columns.leaves_consent("consent", cell, False)


@pytest.mark.parametrize(
    ("cell", "version"),
    [("1", True), ("v2.1", True), ("Version 3", True), ("0", False), ("-1", False), ("x", False)],
)
def test_versions(cell, version):
    assert columns.leaves_consent("consent_version", cell, False) is version
    assert not columns.leaves_consent("consent_release", cell, False)


@pytest.mark.parametrize(
    ("cell", "refusal"),
    [
        ("withdrawn", True), ("Withdrawn 2024-05-01", True), ("consent withdrawn", True), ("opted-out", True),
        ("revoked", True), ("zur\u00fcckgezogen", True), ("n/a", False), ("active", False), ("", False), ("0", False),
        ("cancelled one session", False),
    ],
)  # fmt: skip
def test_words_of_refusal(cell, refusal):
    assert remarks.is_word_of_refusal(cell) is refusal


@pytest.mark.parametrize(
    "cell",
    [
        "has withdrawn", "participant withdrew by e-mail", "came twice; opted out", "consent was refused",
        "zog Zustimmung zurück",
        "hat die Einwilligung widerrufen", "ha ritirato il consenso", "declined consent for publication",
    ],
)  # fmt: skip
def test_sentences_that_tell_of_a_withdrawal(cell):
    assert remarks.tells_of_refusal(cell)


@pytest.mark.parametrize(
    "cell",
    [
        "", "no withdrawal", "consent not withdrawn", "never withdrew consent",
        "right to withdraw explained to subject",
        "alcohol withdrawal", "socially withdrawn, quiet", "agrees to share, declined follow-up",
        "refused to take glasses off",
        "declined the second session", "consent form signed", "camera cable revoked",
    ],
)  # fmt: skip
def test_sentences_that_tell_of_none(cell):
    assert not remarks.tells_of_refusal(cell)


@pytest.mark.parametrize(
    "column",
    [
        "consent removed date",
        "consent annulled on",
        "date consent taken back",
        "deletion of consent date",
        "Einwilligung aufgehoben am",
        "consentement annulé date",
        "consent closed version",
    ],
)
def test_a_date_of_something_else_than_a_consent_keeps_out(column: str) -> None:
    assert not columns.leaves_consent(column, "2020-01-01", False)
    assert columns.leaves_consent(column, "", False)


@pytest.mark.parametrize(
    "column", ["consent date", "date of consent", "consent_signed_on", "Einwilligung Datum"]
)
def test_the_date_of_a_consent_leaves_it(column: str) -> None:
    assert columns.leaves_consent(column, "2020-01-01", False)
