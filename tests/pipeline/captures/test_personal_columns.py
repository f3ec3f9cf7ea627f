"""Which columns of a table of subjects identify a person."""

from __future__ import annotations

import pytest

from mimicme.pipeline.captures.metadata import parse_subjects
from mimicme.pipeline.captures.personal_columns import is_personal

WRITTEN = (
    *("DateOfBirth", "PhoneNumber", "EmailAddress", "ZipCode", "FamilyName", "GivenName", "PatientName"),
    *(
        "PatientBirthDate",
        "StreetAddress",
        "name1",
        "phone1",
        "apellido1",
        "Tel1",
        "Geburtsort",
        "Geb.-Datum",
    ),
    *(
        "fecha_nac",
        "student_id",
        "MRN",
        "next_of_kin",
        "Ort",
        "E-Mail",
        "eMail",
        "SurName",
        "Zip-Code",
        "IDNumber",
    ),
    *(
        "patientMRN",
        "MotherMaidenName",
        "Straßenname",
        "Geb. Dat",
        "Fecha Nac.",
        "Née le",
        "XyzName",
        "StudentID",
    ),
)
TOGETHER = (
    *(
        "dateofbirth",
        "phonenumber",
        "emailaddress",
        "familyname",
        "givenname",
        "patientname",
        "patientbirthdate",
    ),
    *(
        "streetaddress",
        "studentid",
        "nextofkin",
        "gebdatum",
        "mobiltelefon",
        "privatadresse",
        "fechanacimiento",
    ),
    *("idnumber", "placeofbirth", "birthplace", "medicalrecordnumber"),
)


@pytest.mark.parametrize(
    "column",
    [
        *("name", "full_name", "e_mail", "date_of_birth", "id_number"),
        *("vorname", "nachname", "geburtsdatum", "telefon", "plz", "straße", "strasse"),
        *("prénom", "prenom", "date_de_naissance", "nom_de_famille"),
        *("apellidos", "dirección", "teléfono", "fecha_de_nacimiento"),
        *("nombre", "nombre_de_pila", "nombre_de_la_madre", "Nombre completo", "NombreDePila"),
        *("signature", "Unterschrift", "firma", "firma_consentimiento", "FirmaParticipante"),
        *WRITTEN,
        *TOGETHER,
        *(column.lower() for column in WRITTEN if column not in ("XyzName",)),
        *(column.upper() for column in TOGETHER),
    ],
)
def test_what_identifies_a_person(column: str) -> None:
    assert is_personal(column)


@pytest.mark.parametrize(
    "column",
    [
        *("age", "alter", "größe", "gerät", "site", "kamera", "expression", "device_id", "skin", "land"),
        *("nombre_de_frames", "nombre d'images", "Nombre de séquences", "NombreDeFrames", "nombre_scans"),
        *(
            "subject_id",
            "ParticipantID",
            "RecordID",
            "ScanDate",
            "scan_date",
            "Datum",
            "fecha",
            "BirthWeight",
        ),
        *(
            "frames",
            "number_of_frames",
            "NumberOfScans",
            "code",
            "nr",
            "iPhone",
            "microphone",
            "hotel",
            "effort",
        ),
        *(
            "sorte",
            "Aufnahmeort",
            "nominal",
            "place",
            "session2",
            "Größe (cm)",
            "BMI",
            "height_cm",
            "hand",
            "family",
        ),
        *(
            "nationality",
            "handedness",
            "student",
            "patient",
            "work",
            "private",
            "GlassesOn",
            "may_train",
            "SCANNER",
        ),
    ],
)
def test_what_does_not(column: str) -> None:
    assert not is_personal(column)


@pytest.mark.parametrize("column", WRITTEN)
def test_none_of_them_is_kept_of_a_table(column: str) -> None:
    table = parse_subjects(f"subject,{column},NombreDeFrames\nS1,Ada,12\n".encode())
    assert table.rows == {"S1": {"nombredeframes": "12"}}
    assert "can identify a person and will not enter a release" in " ".join(table.messages)
