"""Consent and its refusal in names and sentences of many languages: who is asked, and who is kept out."""

from __future__ import annotations

import pytest

from mimicme.pipeline.captures import consent_columns as columns
from mimicme.pipeline.captures.metadata import parse_subjects
from mimicme.pipeline.errors import InputError


@pytest.mark.parametrize(
    "name",
    [
        "同意书", "授权", "동의서", "Согласие на обработку", "rıza", "suostumus", "informovaný souhlas", "hozzájárulás",
        "consimțământ", "συναίνεση", "موافقة", "הסכמה", "सहमति", "ยินยอม", "đồng ý", "persetujuan", "GDPR", "DSGVO ok",
        "RGPD", "opt-in", "ICF signed", "parental assent", "Einw.", "Bildrechte",
    ],
)  # fmt: skip
def test_a_column_of_consent_in_another_language_is_asked_about(name: str) -> None:
    data = f"subject,{name}\nA,yes\nB,no\n".encode()
    with pytest.raises(InputError, match="which column says who consents"):
        parse_subjects(data)
    assert list(parse_subjects(data, columns={"consent": name}).excluded) == ["B"]


@pytest.mark.parametrize(
    "name",
    [
        "撤回", "撤回日期", "拒绝", "退出", "不同意", "철회", "отзыв согласия", "отозвано", "ritirato", "retrait",
        "retiré", "date de retrait", "rétractation", "Austritt", "Rücktritt", "drop-out", "left study",
        "deleted", "to delete", "gelöscht", "删除", "do_not_use", "nicht verwenden", "ne pas utiliser",
        "valid until", "gültig bis", "expires", "expiry date", "有效期",
    ],
)  # fmt: skip
def test_a_column_of_refusals_or_of_an_end_keeps_out(name: str) -> None:
    table = parse_subjects(
        f"subject,consent,{name}\nA,yes,2020-01-01\nB,yes,yes\nC,yes,\nD,yes,no\n".encode()
    )
    assert list(table.excluded) == ["A", "B"]


@pytest.mark.parametrize(
    "name",
    [
        "retired", "retention phase", "deletion 22q11", "deleted frames", "image_right", "optical_power", "accordion",
        "expiratory_volume", "liquid", "dropped_markers", "说明", "性别", "возраст", "ηλικία", "valid",
    ],
)  # fmt: skip
def test_names_of_other_things(name: str) -> None:
    assert not columns.speaks_of_consent(name)


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        ("备注", "参与者撤回同意"), ("примечание", "отозвал согласие"), ("Notes", "wants data deleted"),
        ("comments VL", "asked to be removed"), ("Bemerkung", "möchte gelöscht werden"), ("note", "DO NOT PUBLISH"),
        ("remarks 2", "bitte nicht verwenden"), ("remarque", "a retiré son consentement"), ("notes", "dropped out"),
        ("study status", "withdrawn"), ("Status Teilnahme", "zurückgezogen"), ("状态", "退出"), ("statut", "retiré"),
    ],
)  # fmt: skip
def test_remarks_and_states_that_keep_out(column: str, cell: str) -> None:
    table = parse_subjects(f"subject,consent,{column}\nA,yes,{cell}\nB,yes,\n".encode())
    assert list(table.excluded) == ["A"]
    assert f"is '{cell}' (line 2)" in table.excluded["A"]


@pytest.mark.parametrize(
    "cell",
    [
        "do not use frame 3", "frames 3 to 5 must be deleted", "asked to remove glasses", "eye patch removed",
        "retired", "deleted the second take", "wants a picture sent", "戴眼镜", "please repeat",
    ],
)  # fmt: skip
def test_remarks_about_recordings(cell: str) -> None:
    assert not parse_subjects(f"subject,consent,notes\nA,yes,{cell}\n".encode()).excluded


@pytest.mark.parametrize("no", ["否", "нет", "Falsch", "όχι"])
def test_a_no_in_a_column_of_refusals_leaves_a_consent(no: str) -> None:
    assert not parse_subjects(f"subject,consent,withdrawn\nA,yes,{no}\n".encode()).excluded


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("gb18030", "subject,知情同意\nA,否\n"),
        ("shift_jis", "subject,consent,notes\nA,yes,撤回\n"),
        ("cp1251", "subject,Согласие\nA,нет\n"),
    ],
)
def test_consent_in_an_old_code_page_is_seen(page: str, text: str) -> None:
    with pytest.raises(InputError, match=rf"not UTF-8, and speaks of consent.*\({page}\).*Save it as UTF-8"):
        parse_subjects(text.encode(page))
    assert list(parse_subjects(text.encode()).excluded) == ["A"]


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("cp1254", "subject,rıza\nA,hayır\n"), ("cp1250", "subject,consimţământ\nA,nu\n"),
        ("cp1250", "subject,consent,notes\nA,yes,wycofał zgodę\n"), ("cp1257", "subject,piekrišana\nA,nē\n"),
        ("mac_roman", "subject,consent,notes\nA,yes,Einwilligung zurückgezogen\n"),
        ("cp437", "subject,consent,Bemerkung\nA,yes,möchte gelöscht werden\n"),
        ("cp850", "subject,consent,gelöscht\nA,yes,ja\n"), ("cp1251", "subject,consent,x\nA,yes,нет\n"),
    ],
)  # fmt: skip
def test_letters_of_another_code_page_are_no_western_text(page: str, text: str) -> None:
    with pytest.raises(InputError, match="not UTF-8.*Save it as UTF-8"):
        parse_subjects(text.encode(page))


@pytest.mark.parametrize(
    "text",
    [
        "sujet;âge;consentement;remarques\nA;3;yes;ça va, déjà vu à Gênes\n",
        "subject;Größe;notes\nA;n° 1;d’été – «où», 3 m², smörgås, coração\n",
    ],
)
def test_an_old_code_page_of_the_west_is_read(text: str) -> None:
    assert not parse_subjects(text.encode("cp1252")).excluded
