"""Tables of what stands in a column beside `consent`, and whether it keeps out whose row it is."""

from __future__ import annotations

import pytest

from mimicme.pipeline.captures.metadata import parse_subjects


def _is_out(column: str, cell: str) -> bool:
    return "A" in parse_subjects(f'subject,consent,"{column}"\nA,yes,"{cell}"\n'.encode()).excluded


# a negated or withdrawn consent, in each language that a name of consent is known in
_NO_CONSENT = (
    *("미동의", "비동의", "동의 안함", "同意なし", "未签同意书", "同意书缺失", "无同意", "未授权", "不同意"),
    *("не согласен", "нет согласия"),
    *("без согласия", "согласие отсутствует", "не згоден", "оттеглено съгласие", "повучена сагласност", "rıza yok"),
    *("onam yok", "izin yok", "ei suostumusta", "suostumus peruttu", "nincs hozzájárulás", "không đồng ý"),
    *("đồng ý rút lại", "συγκατάθεση ανακλήθηκε", "persetujuan dicabut", "tidak setuju", "ถอนความยินยอม"),
    *("सहमति वापस ली", "لغو رضایت", "הסכמה בוטלה", "sutikimas atšauktas", "piekrišana atsaukta"),
    *("suglasnost opozvana", "saglasnost povučena", "samþykki afturkallað", "nesouhlas", "souhlas chybí"),
    *("bez souhlasu", "no assent", "ICF missing", "GDPR objection", "keine Einw.", "bildrechte nein"),
    *("consent removed", "einw_widerruf"),
)  # fmt: skip


@pytest.mark.parametrize("name", _NO_CONSENT)
def test_a_negated_consent_keeps_out_by_a_yes_and_not_by_a_no(name: str) -> None:
    assert _is_out(name, "yes") and not _is_out(name, "no")


@pytest.mark.parametrize(
    "name", ["nõusolek tagasi võetud", "souhlas xyz", "согласие xyz", "assent xyz", "rıza xyz"]
)
def test_a_word_nobody_knows_beside_a_consent_keeps_out_with_the_way_back(name: str) -> None:
    table = parse_subjects(f"subject,consent,{name}\nA,yes,yes\nB,yes,\n".encode())
    assert list(table.excluded) == ["A"] and "rename the column" in table.excluded["A"]


@pytest.mark.parametrize("name", ["未撤回", "не отозвано", "not_withdrawn"])
def test_of_a_denied_refusal_neither_answer_is_understood(name: str) -> None:
    assert _is_out(name, "yes") and _is_out(name, "no")


_OUT = {
    "delete participant": ("yes",), "delete profile": ("yes",), "do not publish images": ("yes",),
    "do not use photo": ("yes",), "do_not_share_scans": ("yes",), "to be deleted (participant request)": ("yes",),
    "data_deletion_requested_by_participant": ("yes",), "delete scans": ("yes",), "dropout": ("yes",),
    "retracted": ("yes",), "participant dropout": ("yes",), "data_retention": ("no longer", "1"),
    "study status": ("withdrawn", "no", "cancelled"), "status 2": ("no",), "scan_status": ("withdrawn",),
    "notes": (
        "withdrawn", "withdrew", "refused", "declined", "rescinded", "retracted", "exclude: withdrew",
        "has exercised her right to withdraw", "exercised right to withdraw", "did not consent",
        "consent form not signed", "consent, not signed", "consent pending", "consent: no", "not for publication",
        "must not be published", "do not publish photos of her face", "delete data", "delete participant's data",
        "Daten löschen", "Löschung beantragt", "erasure requested", "no longer wants to participate",
        "toestemming ingetrokken", "wycofał zgodę", "odvolal souhlas", "retiró su consentimiento", "退出",
        "lehnt ab", "lehnte die Teilnahme ab", "未签署同意书", "nekade", "avslog", "excluded", "expired",
        "hat abgebrochen",
        "will nicht mehr teilnehmen", "ne veut plus participer", "s'est retirée de l'étude", "она отозвала согласие",
        "informed of right to withdraw; withdrew", "not withdrawn; later withdrew consent", "she dropped out",
        "dropped out after session 1", "please delete scan 2, and delete all data", "declined to continue",
        "wants to withdraw", "participation declined", "pas de consentement", "brak zgody", "nessun consenso",
        "не дал согласия", "同意書なし", "동의하지 않음", "remove from dataset", "destroy data", "no publication",
        "stopped participating", "Einwilligung fehlt", "geen toestemming", "nicht unterschrieben", "abgelehnt",
    ),
}  # fmt: skip
_IN = {
    "smoking_status": ("no",), "marital_status": ("none",), "scan_status": ("cancelled", "none"),
    "state_of_skin": ("none",), "vaccination status": ("declined",), "dropouts": ("2",), "frame_dropouts": ("2",),
    "deleted frames": ("2",), "lip_retractor": ("yes",), "tooth_retraction_mm": ("2.3",),
    "icf_date": ("2020-03-01",), "gdpr_date": ("2020-03-01",), "dsgvo_datum": ("2020-03-01",),
    "assent_date": ("2020-03-01",), "ICF signed on": ("2020-03-01",), "einw_datum": ("2020-03-01",),
    "icf_version": ("2",), "data_retention": ("10 years",), "retention_period": ("10 Jahre",),
    "GDPR": ("yes",), "parental assent": ("yes",), "知情同意书": ("yes",), "açık rıza": ("yes",),
    "notes": (
        "scanner dropped out", "dropouts in scan 4", "please delete scan 2, blurred", "hair drops out of the view",
        "wants beard removed", "left study room at 12", "lips retracted", "has the right to withdraw",
        "informed of right to withdraw", "consent given, no glasses", "consent form no 12", "declined coffee",
        "consent signed; no issues", "einwilligung liegt vor, keine Brille", "the person refused to smile", "quite",
        "must be deleted: frame 3", "asked for eraser", "right eye deleted", "no consent needed",
        "no problem with consent", "consent obtained without delay", "study scan refused by software", "нет",
        "participant declined to remove glasses", "has not eaten", "no data for frame 2", "ohne Brille", "无眼镜",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("column", "cell"), [(name, cell) for name, cells in _OUT.items() for cell in cells])
def test_cells_that_keep_out(column: str, cell: str) -> None:
    assert _is_out(column, cell)


@pytest.mark.parametrize(("column", "cell"), [(name, cell) for name, cells in _IN.items() for cell in cells])
def test_cells_that_say_nothing_of_a_refusal(column: str, cell: str) -> None:
    assert not _is_out(column, cell)


def test_the_sentence_about_a_remark_gives_a_way_back() -> None:
    why = parse_subjects(b"subject,consent,notes\nA,yes,declined\n").excluded["A"]
    assert why.endswith("If that says no refusal, correct the cell or rename the column.")
